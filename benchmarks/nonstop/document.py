"""docs/nonstop.md: the figures and the SQL that was measured, written by command and never copied by hand."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.document import put_between
from benchmarks.nonstop import report
from benchmarks.nonstop.changes import CHANGES, Change, shown

DOCUMENT = Path(__file__).parents[2] / "docs" / "nonstop.md"
FIGURES = ("<!-- figures: python -m benchmarks.nonstop document RESULTS.json -->", "<!-- end of the figures -->")
CHANGE_MARKS = ("<!-- changes: python -m benchmarks.nonstop document -->", "<!-- end of the changes -->")
_WIDTH = 120
_PLOT = "images/nonstop.svg"
_SHOWN = "The longest stall that each change caused, with plain SQL and with whimbrel"


def rewrite(results: dict[str, Any] | None, file: Path = DOCUMENT) -> int:
    """Put the SQL of all changes, and the figures if there are some, between the marks of the document."""
    put_between(file, *CHANGE_MARKS, "\n".join(changes_of()))
    if results is not None:
        plot = [f"![{_SHOWN}]({_PLOT})", ""] if (file.parent / _PLOT).exists() else []
        put_between(file, *FIGURES, "\n".join([*plot, *figures_of(results)]))
    print(f"Written into {file}.")
    return 0


def figures_of(results: dict[str, Any]) -> list[str]:
    """Return the Markdown of all figures: a summary, and a table for each change."""
    lines = [
        f"Measured on {results['date'][:10]}, each change {results['repeats']} times unless *n* says otherwise. Of all",
        "repetitions, *stall* is the longest that was caused, *failed* the sum, *time* the median.",
        "",
        *report.summary(results),
        "",
        "```text",
        *report.heading(results),
    ]
    for change in results["changes"]:
        lines += ["", *report.table(change)]
    return [*lines, "```"]


def changes_of() -> list[str]:
    """Return the Markdown of all changes, with the SQL of those that are no variant of another."""
    return [line for change in CHANGES for line in _section(change)][:-1]


def _section(change: Change) -> Iterator[str]:
    yield from (f"### {change.title}", "", textwrap.fill(change.why, _WIDTH, break_on_hyphens=False), "")
    if change.sources:
        [same] = [each for each in CHANGES if each.name == change.sources]
        yield from (f"The SQL is that of [{same.title}](#{report.anchor(same.title)}).", "")
        return
    yield from ("Plain:", "", "```sql", change.plain.read_text(encoding="utf-8").rstrip(), "```", "")
    if change.expansion:
        yield from (f"With whimbrel, as `whimbrel create --expand {' '.join(change.expansion)}` wrote it:", "")
    else:
        yield from ("With whimbrel:", "")
    for name, text in shown(change):
        yield from ("```sql", f"-- {name}", text.rstrip(), "```", "")

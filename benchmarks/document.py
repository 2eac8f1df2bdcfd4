"""The figures in docs/performance.md, written by command so that nobody copies them by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import report, targets

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
# Each plot with what it shows, for those who cannot see it.
PLOTS = {
    "apply": "How long 100 and 1,000 small migrations take, for whimbrel, the floor, psql and other tools",
    "network": "How long 1,000 migrations and a run without any take over a slow network, with the round trips",
    "noop": "How long up takes when nothing is pending, and status",
    "large": "How long one large file takes: INSERTs, functions, COPY data",
    "memory": "How much memory a large file and 1,000 migrations take, in the server and in the client",
}
BEGIN = "<!-- figures: python -m benchmarks document RESULTS.json -->"
END = "<!-- end of the figures -->"


def rewrite(results: dict[str, Any], file: Path = DOCUMENT) -> int:
    """Put the figures of results between the two marks of the document."""
    put_between(file, BEGIN, END, "\n".join([*_plots(file.parent), *figures_of(results)]))
    print(f"Written into {file}.")
    return 0


def put_between(file: Path, begin: str, end: str, content: str) -> None:
    """Put the content between two marks of a file. Raises ValueError if the file lacks them."""
    text = file.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{file} lacks the marks {begin} and {end}")
    file.write_text(f"{before}{begin}\n\n{content}\n\n{end}{after}", encoding="utf-8", newline="\n")


def _plots(folder: Path) -> list[str]:
    """Return the lines that show the plots that were drawn."""
    lines: list[str] = []
    for name, text in PLOTS.items():
        path = f"images/performance-{name}.svg"
        if (folder / path).exists():
            lines += [f"![{text}]({path})", ""]
    return lines


def figures_of(results: dict[str, Any]) -> list[str]:
    """Return the Markdown of all figures: what they depend on, the targets, and a table for each case."""
    date = results["date"][:10]
    lines = [f"Measured on {date}, each command {results['repeats']} times unless *n* says otherwise.", ""]
    lines += ["| target | figure | |", "|---|---:|---|"]
    for verdict in targets.judge(results):
        figure = "" if verdict.is_reached is None else targets.figure_of(verdict)
        word = {True: "reached", False: "**not reached**", None: "not measured"}[verdict.is_reached]
        lines.append(f"| {verdict.target.name} | {figure} | {word} |")
    lines += ["", "```text", *report.heading(results)]
    for case in results["cases"]:
        lines += ["", *report.table(case)]
    return [*lines, "```"]

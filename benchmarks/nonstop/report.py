"""What was measured → a document for machines, and from that tables for people."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks import report
from benchmarks.contestants import Field
from benchmarks.nonstop import targets
from benchmarks.nonstop.contestants import Contestant
from benchmarks.nonstop.runner import Load, Measured, Sample
from benchmarks.runner import Server

FORMAT = 1


def begin(server: Server, rows: int, repeats: int, load: Load) -> dict[str, Any]:
    """Return a document without changes: what the figures depend on."""
    return {
        "nonstop": FORMAT,
        "rows": rows,
        "repeats": repeats,
        "clients": load.clients,
        "rate": load.rate,
        **report.describe_machine(Field(server.psql, None, []), server.read_settings()),
        "changes": [],
    }


def change_form(measured: Measured) -> dict[str, Any]:
    """Return a change with its samples and what they come to. Times are seconds."""
    return {
        "name": measured.change.name,
        "title": measured.change.title,
        "load_average": round(measured.load, 2),
        "contestants": [_contestant_form(name, samples) for name, samples in measured.samples.items()],
    }


def heading(document: dict[str, Any]) -> list[str]:
    """Return the lines that say what the figures depend on."""
    traffic = f"{document['rows']:,} rows, {document['clients']} clients, {document['rate']:g} transactions a second"
    return [traffic, *report.heading(document)[:2]]


def table(change: dict[str, Any]) -> list[str]:
    """Return the lines that show a change, a line for each contestant."""
    lines = [f"{change['name']}: {change['title']} (load {change['load_average']:.2f})"]
    lines.append(
        f"  {'':<9}{'n':>3}{'stall':>10}{'max':>10}{'quiet':>10}{'caused':>10}{'max':>10}{'slow':>7}{'failed':>8}"
        f"{'change':>10}{'tries':>7}{'waited':>9}"
    )
    for row in change["contestants"]:
        lines.append(
            f"  {row['name']:<9}{row['n']:>3}{show(row['stall']['median']):>10}{show(row['stall']['max']):>10}"
            f"{show(row['quiet']['max']):>10}{show(row['caused']['median']):>10}{show(row['caused']['max']):>10}"
            f"{row['slow']:>7,}{row['failed']:>8,}{show(row['seconds']['median']):>10}"
            f"{row['attempts']:>7}{show(row['waited']):>9}"
        )
        if row["errors"]:
            lines.append(f"  {'':<9}   failed with {', '.join(f'{n} × {code}' for code, n in row['errors'].items())}")
        if row["blockers"]:
            lines.append(f"  {'':<9}   waited for {', '.join(row['blockers'])}")
        lines += [f"  {'':<9}   not done: {_first_error(text)}" for text in row["failures"]]
    return lines


def summary(document: dict[str, Any]) -> list[str]:
    """Return the lines of a Markdown table with one line for each change: the longest of all repetitions."""
    lines = [
        "| change | psql: stall | whimbrel: stall | psql: failed | whimbrel: failed | psql: time | whimbrel: time | |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for change in document["changes"]:
        rows = {row["name"]: row for row in change["contestants"]}
        pair = [rows[name] for name in Contestant]
        cells = [
            f"[{change['title']}](#{anchor(change['title'])})",
            *("not done" if row["failures"] else show(row["caused"]["max"]) for row in pair),
            *(f"{row['failed']:,}" for row in pair),
            *(show(row["seconds"]["median"]) for row in pair),
            targets.WORDS[targets.judge(change).is_reached],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def merge(documents: Sequence[dict[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    """Return one document with the changes of all; of a change in several, the last counts."""
    found = {change["name"]: change for document in documents for change in document["changes"]}
    return {**documents[-1], "changes": [found[name] for name in order if name in found]}


def anchor(title: str) -> str:
    """Return the name that a heading has in the page."""
    return "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -").replace(" ", "-")


def show(seconds: float) -> str:
    """Return a time as a person reads it."""
    return (
        f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    )


def _first_error(text: str) -> str:
    lines = text.splitlines()
    return next((line for line in lines if "error: " in line.lower()), lines[-1])


def _contestant_form(contestant: Contestant, samples: Sequence[Sample]) -> dict[str, Any]:
    errors: Counter[str] = Counter()
    for sample in samples:
        errors.update(sample.during.errors)
    return {
        "name": contestant.value,
        "n": len(samples),
        "stall": _spread([sample.during.stall for sample in samples]),
        "quiet": _spread([sample.quiet.stall for sample in samples]),
        "caused": _spread([sample.caused for sample in samples]),
        "seconds": _spread([sample.seconds for sample in samples]),
        # Of all repetitions together.
        "transactions": sum(sample.during.transactions for sample in samples),
        "slow": sum(sample.during.slow for sample in samples),
        "failed": sum(sample.during.failed for sample in samples),
        "errors": dict(errors),
        "attempts": sum(sample.waits.attempts for sample in samples),
        "waited": round(max(sample.waits.waited for sample in samples), 3),
        "blockers": list(dict.fromkeys(name for sample in samples for name in sample.waits.blockers)),
        "failures": [sample.failure for sample in samples if sample.failure],
        "samples": [_sample_form(sample) for sample in samples],
    }


def _sample_form(sample: Sample) -> dict[str, Any]:
    return {
        "stall": round(sample.during.stall, 4),
        "quiet": round(sample.quiet.stall, 4),
        "caused": round(sample.caused, 4),
        "seconds": round(sample.seconds, 3),
        "quiet_seconds": round(sample.quiet_seconds, 3),
        "transactions": sample.during.transactions,
        "slow": sample.during.slow,
        "slow_when_quiet": sample.quiet.slow,
        "failed": sample.during.failed,
        "errors": sample.during.errors,
        "attempts": sample.waits.attempts,
        "waited": round(sample.waits.waited, 3),
        "backfill_pauses": sample.waits.backfill_pauses,
        "blockers": list(sample.waits.blockers),
        "failure": sample.failure,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 4), "max": round(max(values), 4)}

"""Outcomes → the table and the list of what went wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tests.faults.judgement import Fault, Outcome, Verdict


def write_table(outcomes: Sequence[Outcome]) -> str:
    """Return a table in Markdown: a row a scenario, a column a fault.

    A cell is how many points were tried; where not all converged, how many did, of how many.
    """
    faults = [fault.value for fault in Fault if any(each.fault == fault.value for each in outcomes)]
    cells: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for each in outcomes:
        for row in (each.scenario, "all"):
            cells[row, each.fault][each.verdict] += 1
            cells[row, "all"][each.verdict] += 1
    lines = [
        f"| scenario | {' | '.join(faults)} | all | needed a human |",
        f"|---|{'---:|' * (len(faults) + 2)}",
    ]
    rows = [*dict.fromkeys(each.scenario for each in outcomes), "all"]
    for row in rows:
        humans = cells[row, "all"][Verdict.HUMAN.value]
        columns = [_cell(cells[row, fault]) for fault in (*faults, "all")]
        lines.append(f"| {'**all**' if row == 'all' else row} | {' | '.join(columns)} | {humans} |")
    return "\n".join(lines)


def _cell(counts: Counter[str]) -> str:
    total = sum(counts.values())
    good = counts[Verdict.CONVERGED.value]
    if not total:
        return ""
    return str(total) if good == total else f"{good} of {total}"


def write_problems(outcomes: Iterable[Outcome], limit: int = 3) -> str:
    """Return what went wrong, a paragraph for each kind, with the first few places where it did."""
    kinds: dict[tuple[str, str, str, str], list[Outcome]] = defaultdict(list)
    for each in outcomes:
        if each.verdict != Verdict.CONVERGED.value:
            told = each.problems[0] if each.problems else ""
            kinds[each.verdict, each.scenario, each.fault, told[:160]].append(each)
    lines: list[str] = []
    for (verdict, scenario, fault, _), found in sorted(kinds.items()):
        lines.append(f"{verdict}: {scenario}, {fault}, {len(found)} times")
        lines += [f"    {each.side} {each.count} {each.at}" for each in found[:limit]]
        lines += [f"      {problem}" for problem in found[0].problems]
    return "\n".join(lines)


def write_summary(outcomes: Sequence[Outcome]) -> str:
    """Return the numbers of all verdicts in a line."""
    counts = Counter(each.verdict for each in outcomes)
    return f"{len(outcomes)} points: " + ", ".join(
        f"{counts[verdict.value]} {verdict.value}"
        for verdict in Verdict
        if counts[verdict.value] or verdict in (Verdict.CONVERGED, Verdict.HUMAN)
    )

"""What whimbrel is meant to reach, and whether a document of results says that it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The longest stall that a change may cause, in seconds, in any repetition.
MOST = 0.25
WORDS = {True: "reached", False: "**not reached**"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a change reached the target, and if not, why."""

    name: str
    is_reached: bool
    reasons: tuple[str, ...]


def judge(change: Mapping[str, Any]) -> Verdict:
    """Return whether whimbrel made the change, without a failed transaction and without a stall of MOST or longer."""
    [row] = [row for row in change["contestants"] if row["name"] == "whimbrel"]
    reasons: list[str] = []
    if row["failures"]:
        reasons.append(f"not done {len(row['failures'])} times of {row['n']}")
    if row["failed"]:
        reasons.append(f"{row['failed']} transactions failed")
    if row["caused"]["max"] >= MOST:
        reasons.append(f"a stall of {row['caused']['max']:.3f} s (less than {MOST} s)")
    return Verdict(change["name"], not reasons, tuple(reasons))


def lines(document: Mapping[str, Any]) -> list[str]:
    """Return a line for each change."""
    verdicts = [judge(change) for change in document["changes"]]
    return [f"{'reached' if v.is_reached else 'not reached':<14}{v.name}{_because(v)}" for v in verdicts]


def _because(verdict: Verdict) -> str:
    return f": {', '.join(verdict.reasons)}" if verdict.reasons else ""

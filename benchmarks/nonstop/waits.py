"""What a run of whimbrel told of its waiting, from the events that `--json` writes. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Waits:
    """`attempts` at a lock that gave way, and the seconds from a step's first wait for a lock to its end.

    Not every attempt is told: there may have been more. `backfill_pauses` are the pauses of backfills that were told.
    `blockers` are the sessions that stood in the way, by name.
    """

    attempts: int = 0
    waited: float = 0.0
    backfill_pauses: int = 0
    blockers: tuple[str, ...] = ()


def read_events(lines: Iterable[tuple[float, str]]) -> Waits:
    """Return what the events say, each with the time in seconds when it came; a line that is none is passed over."""
    attempts: dict[int, int] = {}
    since: dict[int, float] = {}
    backfill_pauses = 0
    waited = 0.0
    blockers: dict[str, None] = {}
    for moment, line in lines:
        event = _parse(line)
        match event.get("whimbrel"):
            case "lock_awaited":
                step, made = event["step"], event["attempt"] - (event["timeout_ms"] is None)
                since.setdefault(step, moment)
                attempts[step] = max(made, attempts.get(step, 0))
            case "step_finished" | "step_failed":
                waited += moment - since.pop(event["step"], moment)
            case "backfill_advanced":
                backfill_pauses += event["pause"] is not None
            case _:
                pass
        blockers |= {_name(blocker): None for blocker in event.get("blockers") or ()}
    return Waits(sum(attempts.values()), waited, backfill_pauses, tuple(blockers))


def add(one: Waits, other: Waits) -> Waits:
    """Return both together."""
    return Waits(
        one.attempts + other.attempts,
        one.waited + other.waited,
        one.backfill_pauses + other.backfill_pauses,
        tuple(dict.fromkeys((*one.blockers, *other.blockers))),
    )


def _parse(line: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return {}


def _name(blocker: dict[str, Any]) -> str:
    return "autovacuum" if blocker["is_autovacuum"] else blocker["application"] or f"process {blocker['pid']}"

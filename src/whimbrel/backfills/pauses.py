"""What a backfill makes way for between two batches, and for how long. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from whimbrel.durations import show_duration

# How often it is looked, in seconds.
LOOK_INTERVAL = 1.0
# A standby whose lag is not known as a time (it does not answer) counts as behind from here on.
BYTES_BEHIND = 128 * 1024 * 1024


class Reason(Enum):
    """Why a backfill pauses."""

    LAG = "a standby is behind"
    WAITERS = "other sessions wait for a lock on the table"
    AUTOVACUUM = "autovacuum works on the table"


# How long each may hold it up, in seconds, None for as long as it lasts. An autovacuum of a large table can take hours,
# one to prevent wraparound more; others may wait for a lock that this backfill has no part in.
LIMITS: Mapping[Reason, float | None] = {Reason.LAG: None, Reason.WAITERS: 60.0, Reason.AUTOVACUUM: 600.0}


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen at one look.

    `lag` is the longest replay lag of a standby in seconds, `behind` the most bytes that one has still to replay; both
    are 0 where there is none. `waiters` is the number of sessions that wait for a lock on the table.
    """

    lag: float = 0.0
    behind: int = 0
    waiters: int = 0
    is_autovacuumed: bool = False


def reasons_in(sight: Sight, max_lag: float) -> dict[Reason, str]:
    """Return why to pause, most important first, with what is told; `max_lag` is in seconds, 0 for any lag."""
    found: dict[Reason, str] = {}
    if max_lag and sight.lag > max_lag:
        found[Reason.LAG] = f"{Reason.LAG.value} by {show_duration(timedelta(seconds=sight.lag))}"
    elif max_lag and sight.behind > BYTES_BEHIND:
        found[Reason.LAG] = f"{Reason.LAG.value} by {sight.behind // (1024 * 1024):,} MB"
    if sight.waiters:
        found[Reason.WAITERS] = Reason.WAITERS.value
    if sight.is_autovacuumed:
        found[Reason.AUTOVACUUM] = Reason.AUTOVACUUM.value
    return found


class Patience:
    """Remembers since when there is a reason to pause; what lasts longer than its limit is not waited for any more.

    It is again when it has been gone for a look.
    """

    def __init__(self, max_lag: float) -> None:
        self._max_lag = max_lag
        self._since: dict[Reason, float] = {}
        # When to look again, on the clock that is passed.
        self._next = float("-inf")

    def is_due(self, now: float) -> bool:
        """Whether to look again; `now` in seconds on a clock that goes on only."""
        return now >= self._next

    def decide(self, sight: Sight, now: float) -> str | None:
        """Return why to pause up to the next look, None to go on."""
        self._next = now + LOOK_INTERVAL
        found = reasons_in(sight, self._max_lag)
        self._since = {reason: self._since.get(reason, now) for reason in found}
        for reason, text in found.items():
            limit = LIMITS[reason]
            if limit is None or now - self._since[reason] < limit:
                return text
        return None

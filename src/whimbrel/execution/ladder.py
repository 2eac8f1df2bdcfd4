"""One step's attempts at its locks: none behind an old transaction, each short, with pauses in between, and an end."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import timedelta

from whimbrel.database import Connection
from whimbrel.durations import seconds
from whimbrel.errors import WhimbrelError
from whimbrel.events import Blocker, Listener, LockAwaited
from whimbrel.execution.blockers import Holder, deadlock_timeout, find_holders, find_lockable
from whimbrel.execution.claims import Claims
from whimbrel.execution.retry import PAUSE, Attempt, Patience, choose_timeouts, pause_after
from whimbrel.execution.surrender import Surrender
from whimbrel.execution.task import Task

# How often it is looked whether those in the way are gone, in seconds.
_LOOK = 0.1
_SLOWEST_LOOK = 1.0
# How often it is told that nothing has changed.
_TELL = 5.0
# An attempt that was over sooner counts as one of so many seconds.
_SHORTEST = 0.05
# What displacing an autovacuum takes beyond deadlock_timeout, after which the server cancels it.
_DISPLACING = 0.5


def patience_of(task: Task, claims: Claims) -> Patience:
    """Return how patient a task is: by its annotations, by the configuration, or by what its text asks for."""
    annotations, config = task.outline.annotations, task.config
    configured = annotations.lock_timeout or config.lock_timeout
    timeouts = choose_timeouts(claims.nature) if configured == "auto" else (seconds(configured),)
    return Patience(timeouts, seconds(annotations.lock_budget or config.lock_budget))


class Ladder:
    """The attempts of one step, outside whose transactions everything is as it was before the step.

    `begin` returns when an attempt makes sense, `fail` when the next one may be thought of; both raise LockNotObtained
    when there is to be none.
    """

    def __init__(self, connection: Connection, task: Task, claims: Claims, emit: Listener) -> None:
        self._connection = connection
        self._task = task
        self._claims = claims
        self._emit = emit
        self._patience = patience_of(task, claims)
        self._started: float | None = None
        self._rung = 0
        self._made = 0
        self._begun = 0.0
        self._error: WhimbrelError | None = None
        # Since when each transaction was seen: its age is hidden from roles without pg_read_all_stats.
        self._seen: dict[str, float] = {}
        self._told: tuple[float, frozenset[int]] = (0.0, frozenset())
        self._displacing = frozenset[int]()
        # Tables with an autovacuum that were waited for, and not known from the text.
        self._found: dict[str, None] = {}
        self._known: Sequence[Blocker] = ()

    @property
    def is_blind(self) -> bool:
        """Whether those in the way are not known by looking who has the tables that the text tells.

        They can then be seen only during an attempt.
        """
        return not self._claims.locks or (self._made > 0 and not self._displacing and not self._seen)

    def count(self, begun: float) -> None:
        """Take note of an attempt that was made without asking, as one of a batch; `begun` is by time.monotonic()."""
        self._begun = begun
        self._made = 1

    def begin(self) -> Attempt:
        """Wait, without queueing, for those who have the tables for longer than an attempt; return the attempt."""
        since = time.monotonic()
        pause = _LOOK
        limit = self._rung
        while True:
            holders = self._look()
            self._refuse_wraparound(_distinct(holders))
            rung = self._free_rung(holders, limit)
            if rung is not None:
                break
            timeout = self._patience.timeout(limit)
            old = [holder for holder in holders if self._is_old(holder, timeout)]
            if not old:
                # Those of hidden age that are still there at the next look are as old.
                time.sleep(timeout)
                continue
            if self._left() <= 0:
                raise self._surrender(_distinct(old)).after(self._made, self._passed())
            self._tell(None, pause, _distinct(old))
            time.sleep(min(pause * random.uniform(0.5, 1.5), max(self._left(), 0.01)))  # noqa: S311
            pause = min(pause * 1.5, _SLOWEST_LOOK)
            if time.monotonic() - since > timeout * PAUSE:
                # Among many short transactions there is always one that is older than a short timeout.
                limit += 1
                since = time.monotonic()
        self._rung = rung
        self._begun = time.monotonic()
        self._made += 1
        return self._attempt(self._patience.timeout(rung), holders)

    def _free_rung(self, holders: Sequence[Holder], limit: int) -> int | None:
        """Return the first rung, up to a limit, whose attempt would meet nobody who is likely to outlast it."""
        for rung in range(self._rung, limit + 1):
            timeout = self._patience.timeout(rung)
            if not timeout or not self._patience.budget:
                return rung
            if not any(self._is_old(holder, timeout) or self._is_unknown(holder, timeout) for holder in holders):
                return rung
        return None

    def fail(self, error: WhimbrelError, seen: Sequence[Blocker] = ()) -> None:
        """Take note of an attempt that ended with `error`, and keep away for a while.

        `seen` are those for whom it was seen to wait.
        """
        lasted = max(time.monotonic() - self._begun, _SHORTEST)
        self._error = error
        holders = self._look()
        self._known = _distinct(holders) or list(seen) or self._known
        self._refuse_wraparound(self._known)
        self._found.update({each.relation: None for each in seen if each.is_autovacuum and each.relation})
        still = [each for each in self._known if each.is_autovacuum and each.pid in self._displacing]
        if still:
            raise self._surrender(still).before_vacuum()
        if self._left() < lasted * PAUSE:
            passed = self._passed() if self._patience.budget else self._patience.timeout(self._rung)
            raise self._surrender(self._known).after(self._made, passed)
        pause = pause_after(lasted, random.random())  # noqa: S311
        timeout = self._patience.timeout(self._rung)
        self._rung += 1
        self._told = (0.0, frozenset())
        self._tell(timeout, pause, _distinct(holders) or list(seen))
        time.sleep(min(pause, self._left()))

    def _look(self) -> list[Holder]:
        if not self._claims.locks:
            return []
        holders = find_holders(self._connection, self._claims.locks)
        now = time.monotonic()
        self._seen = {each.transaction: self._seen.get(each.transaction, now) for each in holders}
        return holders

    def _is_old(self, holder: Holder, timeout: float) -> bool:
        if holder.blocker.is_autovacuum:
            # It gives way.
            return False
        seen = time.monotonic() - self._seen[holder.transaction]
        age = holder.blocker.age.total_seconds() if holder.blocker.age is not None else 0.0
        return max(age, seen) >= timeout

    def _is_unknown(self, holder: Holder, timeout: float) -> bool:
        """Whether a transaction's age is hidden from this role, and it was not seen for long enough to tell."""
        seen = time.monotonic() - self._seen[holder.transaction]
        return holder.blocker.age is None and not holder.blocker.is_autovacuum and seen < timeout

    def _attempt(self, timeout: float, holders: Sequence[Holder]) -> Attempt:
        vacuums = [holder for holder in holders if holder.blocker.is_autovacuum]
        self._displacing = frozenset(holder.blocker.pid for holder in vacuums)
        wanted = {**self._found, **{holder.blocker.relation: None for holder in vacuums}}
        if not wanted or not timeout:
            return Attempt(timeout)
        displacing = deadlock_timeout(self._connection) + _DISPLACING
        tables = find_lockable(self._connection, wanted)
        # What this role may not lock by itself it can only queue for.
        return Attempt(timeout if len(tables) == len(wanted) else max(timeout, displacing), tables, displacing)

    def _passed(self) -> float:
        if self._started is None:
            self._started = time.monotonic()
        return time.monotonic() - self._started

    def _left(self) -> float:
        return self._patience.budget - self._passed()

    def _tell(self, timeout: float | None, pause: float, blockers: Sequence[Blocker]) -> None:
        now = time.monotonic()
        pids = frozenset(each.pid for each in blockers)
        if pids == self._told[1] and now - self._told[0] < _TELL:
            return
        self._told = (now, pids)
        tried = timedelta(seconds=timeout) if timeout is not None else None
        attempt = self._made if timeout is not None else self._made + 1
        left = timedelta(seconds=max(self._left(), 0.0))
        self._emit(LockAwaited(self._task.step, attempt, tried, timedelta(seconds=pause), left, tuple(blockers)))

    def _refuse_wraparound(self, blockers: Sequence[Blocker]) -> None:
        vacuums = [each for each in blockers if each.is_wraparound]
        if vacuums:
            raise self._surrender(vacuums).before_vacuum()

    def _surrender(self, blockers: Sequence[Blocker]) -> Surrender:
        return Surrender(self._task, self._claims, self._error, blockers)


def _distinct(holders: Sequence[Holder]) -> list[Blocker]:
    """Return the sessions, each with the lock that comes first."""
    found: dict[int | str, Blocker] = {}
    for holder in holders:
        found.setdefault(holder.blocker.pid or holder.transaction, holder.blocker)
    return list(found.values())

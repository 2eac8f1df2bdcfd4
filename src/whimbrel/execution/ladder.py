"""One step's attempts at its locks: none behind an old transaction, each short, with pauses in between, and an end."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import timedelta

from whimbrel.database import Connection
from whimbrel.durations import seconds, show_duration
from whimbrel.errors import LockNotObtained, WhimbrelError
from whimbrel.events import Blocker, Listener, LockAwaited
from whimbrel.execution.blockers import (
    Holder,
    advise,
    deadlock_timeout,
    find_holders,
    find_lockable,
    tell_blockers,
)
from whimbrel.execution.claims import Claims
from whimbrel.execution.retry import PAUSE, Attempt, Patience, choose_timeouts, pause_after
from whimbrel.execution.task import Task

# How often it is looked whether those in the way are gone, in seconds.
_LOOK = 0.1
_SLOWEST_LOOK = 1.0
# How often it is told that nothing has changed.
_TELL = 5.0
_VACUUM_PROGRESS = "SELECT * FROM pg_stat_progress_vacuum WHERE pid ="
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

    @property
    def is_foreseen(self) -> bool:
        """Whether the text tells which locks the step takes, so that it is known who stands in the way."""
        return bool(self._claims.locks)

    def count(self, begun: float) -> None:
        """Take note of an attempt that was made without asking, as one of a batch; `begun` is by time.monotonic()."""
        self._begun = begun
        self._made = 1

    def begin(self) -> Attempt:
        """Wait, without queueing, for those who have the tables for longer than an attempt; return the attempt."""
        since = time.monotonic()
        pause = _LOOK
        while True:
            timeout = self._patience.timeout(self._rung)
            holders = self._look()
            self._refuse_wraparound(_distinct(holders))
            old = [holder for holder in holders if self._is_old(holder, timeout)]
            if not timeout or not self._patience.budget:
                break
            if not old:
                if any(self._is_unknown(holder, timeout) for holder in holders):
                    # Those of its age that are still there at the next look are as old.
                    time.sleep(timeout)
                    continue
                break
            if self._left() <= 0:
                raise self._give_up(_distinct(old))
            self._tell(None, pause, _distinct(old))
            time.sleep(min(pause * random.uniform(0.5, 1.5), max(self._left(), 0.01)))  # noqa: S311
            pause = min(pause * 1.5, _SLOWEST_LOOK)
            if time.monotonic() - since > timeout * PAUSE:
                # Among many short transactions there is always one that is older than a short timeout.
                self._rung += 1
                since = time.monotonic()
        self._begun = time.monotonic()
        self._made += 1
        return self._attempt(timeout, holders)

    def fail(self, error: WhimbrelError, seen: Sequence[Blocker] = ()) -> None:
        """Take note of an attempt that ended with `error`, and keep away for a while.

        `seen` are those for whom it was seen to wait.
        """
        lasted = time.monotonic() - self._begun
        self._error = error
        timeout = self._patience.timeout(self._rung)
        holders = self._look()
        blockers = _distinct(holders) or list(seen)
        self._refuse_wraparound(blockers)
        self._found.update({each.relation: None for each in seen if each.is_autovacuum and each.relation})
        still = frozenset(each.pid for each in blockers if each.is_autovacuum) & self._displacing
        if still:
            raise self._stop_for_vacuum([each for each in blockers if each.pid in still])
        pause = pause_after(max(lasted, timeout), random.random())  # noqa: S311
        if self._left() < max(lasted, timeout) * PAUSE:
            raise self._give_up(blockers)
        self._rung += 1
        self._told = (0.0, frozenset())
        self._tell(timeout, pause, blockers)
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

    def _left(self) -> float:
        if self._started is None:
            self._started = time.monotonic()
        return self._patience.budget - (time.monotonic() - self._started)

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
            raise self._stop_for_vacuum(vacuums)

    def _stop_for_vacuum(self, vacuums: Sequence[Blocker]) -> LockNotObtained:
        is_sure = any(each.is_wraparound for each in vacuums)
        table = vacuums[0].relation
        what = "is vacuumed to prevent transaction ID wraparound" if is_sure else "is vacuumed and not let go"
        return self._error_of(
            f"table {table} {what}",
            vacuums,
            "Let it finish and run the command again: the server cancels such a vacuum for nobody."
            f"\n      How far it is: {_VACUUM_PROGRESS} {vacuums[0].pid};",
        )

    def _give_up(self, blockers: Sequence[Blocker]) -> LockNotObtained:
        where = f" on {' and '.join(self._tables())}" if self._tables() else ""
        limit = self._patience.budget or self._patience.timeout(self._rung)
        within = f" within {show_duration(timedelta(seconds=limit))}" if limit else ""
        if self._made and self._patience.budget:
            within += f", in {self._made} attempt{'' if self._made == 1 else 's'}"
        return self._error_of(f"lock{where} not obtained{within}", blockers, advise(blockers))

    def _tables(self) -> list[str]:
        return list(dict.fromkeys(lock.relation.replace('"', "") for lock in self._claims.locks))[:3]

    def _error_of(self, message: str, blockers: Sequence[Blocker], hint: str) -> LockNotObtained:
        script = self._task.step.script
        position = self._error.position if self._error is not None else None
        if position is None and self._claims.statement is not None:
            position = script.position(self._claims.statement)
        kept = "The migration was rolled back; everything is as it was."
        if not self._task.outline.is_transactional:
            kept = "The statements before this one are done and journalled; the next run goes on with this one."
        return LockNotObtained(
            message if position is not None else f"{script.path}: {message}",
            sqlstate=self._error.sqlstate if self._error is not None else "55P03",
            detail=tell_blockers(blockers) + kept,
            hint=hint,
            position=position,
            context=self._error.context if self._error is not None else None,
        )


def _distinct(holders: Sequence[Holder]) -> list[Blocker]:
    """Return the sessions, each with the lock that comes first."""
    found: dict[tuple[int, str], Blocker] = {}
    for holder in holders:
        found.setdefault((holder.blocker.pid, holder.transaction), holder.blocker)
    return list(found.values())

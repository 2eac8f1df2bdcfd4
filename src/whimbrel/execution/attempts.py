"""Transactional migrations that are tried again, one at a time, where they do not get their locks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from whimbrel.errors import WhimbrelError
from whimbrel.events import Blocker, Event, Listener, StepStarted
from whimbrel.execution import transaction
from whimbrel.execution.claims import Claims
from whimbrel.execution.guard import Guard
from whimbrel.execution.ladder import Ladder, patience_of
from whimbrel.execution.opening import Session
from whimbrel.execution.retry import RETRIED, Attempt
from whimbrel.execution.task import Task
from whimbrel.execution.watch import Watch
from whimbrel.migration import Direction
from whimbrel.plan import Step

Claimed: TypeAlias = tuple[Task, Claims]


def batches(tasks: Sequence[Task], claims: Sequence[Claims]) -> list[list[Claimed]]:
    """Put transactional tasks that follow each other together.

    An autocommit task stands alone, and so does one that locks a table which others use: its lock is held for one
    migration, and only that one is repeated.
    """
    found: list[list[Claimed]] = []
    for task, claimed in zip(tasks, claims, strict=True):
        if found and _is_shareable(task, claimed) and _is_shareable(*found[-1][-1]):
            found[-1].append((task, claimed))
        else:
            found.append([(task, claimed)])
    return found


def _is_shareable(task: Task, claims: Claims) -> bool:
    return task.outline.is_transactional and not claims.locks


def run(
    session: Session,
    batch: Sequence[Claimed],
    emit: Listener,
    on_finished: Callable[[Step], None],
    guard: Guard,
) -> tuple[Task, WhimbrelError] | None:
    """Run a batch as `transaction.run` does; what does not get its locks is tried again up to its budget."""
    left = list(batch)

    def finish(step: Step) -> None:
        left.pop(0)
        on_finished(step)

    telling = _Telling(emit)
    runs = _Runs(session, telling, finish, guard)
    while left:
        ladder = Ladder(session.connection, *left[0], telling.emit) if left[0][1].locks else None
        failure = runs.run(left[:1], ladder) if ladder is not None else runs.run(left)
        while failure is not None and failure[1].sqlstate in RETRIED:
            if ladder is None:
                ladder = Ladder(session.connection, *left[0], telling.emit)
                ladder.count(telling.begun)
            ladder.fail(failure[1], runs.blockers)
            failure = runs.run(left[:1], ladder)
        if failure is not None:
            return failure
    return None


class _Runs:
    """Runs a batch, or its first task as a ladder says; `blockers` are those for whom the last run was seen waiting."""

    def __init__(self, session: Session, telling: _Telling, on_finished: Callable[[Step], None], guard: Guard) -> None:
        self.blockers: tuple[Blocker, ...] = ()
        self._session = session
        self._telling = telling
        self._on_finished = on_finished
        self._guard = guard

    def run(self, chunk: Sequence[Claimed], ladder: Ladder | None = None) -> tuple[Task, WhimbrelError] | None:
        if ladder is None:
            tried = [(each[0], Attempt(patience_of(*each).timeout(0))) for each in chunk]
        else:
            tried = [(chunk[0][0], ladder.begin())]
        session, telling = self._session, self._telling
        # Who is in the way of a lock that the text does not tell can be seen only during the attempt.
        is_brief = ladder is not None and ladder.is_blind
        with Watch(session.reconnect, self._guard.process, chunk[0][0].step, telling.emit) as watch:
            watch.begin(is_brief=is_brief)
            telling.watch, telling.is_brief = watch, is_brief
            try:
                return transaction.run(session.connection, tried, telling.emit, self._on_finished, self._guard, watch)
            finally:
                self.blockers = watch.blockers
                telling.watch = None


class _Telling:
    """Tells once that a step has begun, however often it is tried."""

    def __init__(self, emit: Listener) -> None:
        self.watch: Watch | None = None
        self.is_brief = False
        # When the step under way began.
        self.begun = time.monotonic()
        self._emit = emit
        self._begun: set[tuple[Direction, int, str]] = set()

    def emit(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            self.begun = time.monotonic()
            if self.watch is not None:
                self.watch.step = event.step
                self.watch.begin(is_brief=self.is_brief)
            which = (event.step.direction, event.step.version, event.step.name)
            if which in self._begun:
                return
            self._begun.add(which)
        self._emit(event)

"""A run that locks each of its transactions: in rounds, planning again when another run comes between."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg

from whimbrel import database, history
from whimbrel.durations import seconds
from whimbrel.errors import ConfigError, ConnectionFailed, LockNotObtained, WhimbrelError
from whimbrel.events import Event, Listener, RunStarted, StepFailed, StepStarted, Warned
from whimbrel.execution import settlement
from whimbrel.execution.executor import Result, conclude, execute, notices
from whimbrel.execution.guard import Obstacle, TransactionGuard
from whimbrel.execution.opening import Session
from whimbrel.execution.preparation import Planner, has_changed, prepare_checked, stored_downs
from whimbrel.execution.task import Action, Task
from whimbrel.migration import Direction
from whimbrel.plan import Plan, State, Step, compare
from whimbrel.source import Source


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is to do; `confirmed` is the plan that a person agreed to, if one was asked."""

    verb: str
    action: Action
    planner: Planner
    confirmed: Plan | None


def run(session: Session, source: Source, work: Work, tasks: Sequence[Task], emit: Listener) -> Result:
    """Do the work with a lock for each transaction. `tasks` are the first look's.

    Each transaction begins only while nobody else holds the lock and the history is as this run knows it. Otherwise
    nothing behind it runs, and the rest is planned again from what the history then says. Where others have done
    everything the run ends well, with what it did itself.
    """
    _refuse_autocommit(tasks)
    session.look_for_pooler()
    _ensure_history(session, emit)
    started = time.monotonic()
    told = _Telling(session, work.verb, emit)
    guard = TransactionGuard(None, session.run)
    waiting = _waiting(session, emit)
    done: list[Task] = []
    result = Result(())
    while True:
        tasks = ()
        try:
            tasks = _plan_round(session, source, work, guard, told, result.remaining if done else None)
            with notices(session.connection, session.config, emit):
                result = execute(session, tasks, told.emit, guard)
            done += tasks[: len(result.finished)]
            tasks = tasks[len(result.finished) :]
            if result.obstacle is None:
                break
            if result.finished:
                waiting.begin_anew()
            if result.obstacle is Obstacle.HELD:
                waiting.pause()
        except (WhimbrelError, psycopg.Error) as error:
            # Between two rounds: no transaction is under way whose end would have to be looked for.
            if not told.is_started:
                raise
            result = replace(result, error=error if isinstance(error, WhimbrelError) else database.explain(error))
            tasks = ()
            break
    result = replace(result, finished=tuple(task.step for task in done), obstacle=None)
    everything = [*done, *tasks]
    if isinstance(result.error, ConnectionFailed) and tasks:
        result = settlement.settle(session, everything, result, emit, guard)
    return conclude(session.connection, everything, result, started, told.emit)


def _plan_round(
    session: Session,
    source: Source,
    work: Work,
    guard: TransactionGuard,
    told: _Telling,
    remaining: tuple[Step, ...] | None,
) -> tuple[Task, ...]:
    """Read the history, and return what is to be done as it is now; `remaining` is what an earlier round left."""
    found = session.read_history(with_newest=True)
    guard.newest = found.newest
    states = compare(source.migrations, found.applied, found.interruptions)
    plan = _plan(session, work, states, remaining)
    tasks = prepare_checked(session, plan, work.action, states)
    _refuse_autocommit(tasks)
    told.plan = plan
    told.warn()
    return tasks


def run_seeds(session: Session, tasks: Sequence[Task], emit: Listener) -> Result:
    """Run seed files with a lock for each; they do not depend on the history."""
    session.look_for_pooler()
    guard = TransactionGuard(None, session.run)
    waiting = _waiting(session, emit)
    done: tuple[Step, ...] = ()
    while True:
        with notices(session.connection, session.config, emit):
            result = execute(session, tasks[len(done) :], emit, guard)
        if result.finished:
            waiting.begin_anew()
        done += result.finished
        result = replace(result, finished=done)
        if result.obstacle is None:
            return result
        try:
            waiting.pause()
        except LockNotObtained as error:
            return replace(result, error=error, obstacle=None)


def _refuse_autocommit(tasks: Sequence[Task]) -> None:
    for task in tasks:
        if not task.outline.is_transactional:
            raise ConfigError(
                'a migration that cannot run in a transaction cannot run with lock = "transaction"',
                detail="Nothing would hold the lock between its statements.",
                hint=(
                    'Give the address that goes around the pooler, direct_url = "postgresql://…" or DIRECT_URL,'
                    ' and lock = "session" (--lock session).'
                ),
                position=task.outline.autocommit_at,
            )


def _ensure_history(session: Session, emit: Listener) -> None:
    if session.read_history().is_current:
        return
    with session.hold_lock(emit):
        if not session.read_history().is_current:
            history.ensure_history(session.connection, session.config)


def _waiting(session: Session, emit: Listener) -> database.Waiting:
    config = session.config
    return database.Waiting(session.connection, database.lock_key(config), seconds(config.lock_wait), emit)


def _plan(session: Session, work: Work, states: list[State], remaining: tuple[Step, ...] | None) -> Plan:
    """Plan the first round, or what is left: an up goes on with what is pending, others with their own plan's rest."""
    if remaining is not None and work.verb != "up":
        applied = {state.version for state in states if state.applied is not None}
        return Plan(
            tuple(step for step in remaining if (step.direction is Direction.DOWN) == (step.version in applied))
        )
    plan = work.planner(states, stored_downs(session, states))
    if work.confirmed is not None and plan != work.confirmed:
        raise has_changed(work.verb)
    return plan


class _Telling:
    """Tells that the run has started when its first step has, or has failed, and each warning once."""

    def __init__(self, session: Session, verb: str, listener: Listener) -> None:
        self.plan = Plan(())
        self._session = session
        self._verb = verb
        self._listener = listener
        self.is_started = False
        self._warnings: set[str] = set()

    def emit(self, event: Event) -> None:
        if isinstance(event, StepStarted | StepFailed) and not self.is_started:
            self.is_started = True
            self._listener(RunStarted(self._verb, self.plan, self._session.label, self._session.server_version))
        self._listener(event)

    def warn(self) -> None:
        for warning in self.plan.warnings:
            if warning not in self._warnings:
                self._warnings.add(warning)
                self._listener(Warned(warning))

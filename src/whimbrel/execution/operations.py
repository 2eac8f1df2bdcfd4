"""What can be done with a database's migrations: read their state, go up, go down, rehearse, seed."""

from __future__ import annotations

import time
from datetime import timedelta
from importlib.resources.abc import Traversable
from pathlib import Path

from whimbrel import history
from whimbrel.config import Config
from whimbrel.errors import ConnectionFailed, SourceError
from whimbrel.events import Listener, RunFinished, RunStarted, StepFailed, Warned, ignore
from whimbrel.execution.executor import Result, conclude, execute, notices
from whimbrel.execution.guard import SessionGuard
from whimbrel.execution.opening import Session
from whimbrel.execution.preparation import (
    Planner,
    has_changed,
    make_tasks,
    prepare_checked,
    read_states,
    stored_downs,
)
from whimbrel.execution.task import Action, Task
from whimbrel.migration import Direction, outline
from whimbrel.plan import (
    Plan,
    State,
    Step,
    compare,
    plan_down,
    plan_force,
    plan_redo,
    plan_up,
)
from whimbrel.source import Source, read_migrations, read_seeds
from whimbrel.statements import Script

__all__ = [
    "down",
    "down_planner",
    "force",
    "make_tasks",
    "open_source",
    "read_states",
    "redo",
    "redo_planner",
    "rehearse",
    "seed",
    "up",
    "up_planner",
]


def up(
    session: Session,
    source: Source,
    *,
    to: int | None = None,
    emit: Listener = ignore,
) -> Result:
    """Apply what is pending, up to and with version `to`. Takes no lock where nothing is pending."""
    return _run(session, source, "up", Action.UP, up_planner(session.config, to), emit)


def up_planner(config: Config, to: int | None) -> Planner:
    """Return the function that plans an up for some states."""

    def plan(states: list[State], stored: dict[int, Script]) -> Plan:
        del stored
        return plan_up(states, to, refuse_late=config.out_of_order == "refuse")

    return plan


def down(
    session: Session,
    source: Source,
    *,
    to: int | None = None,
    confirmed: Plan | None = None,
    emit: Listener = ignore,
) -> Result:
    """Undo the last migration, or everything above version `to`.

    `confirmed` is the plan that a person agreed to: if another one has come of it meanwhile, PlanError is raised and
    nothing is undone.
    """
    return _run(session, source, "down", Action.DOWN, down_planner(to), emit, confirmed)


def down_planner(to: int | None) -> Planner:
    """Return the function that plans a down for some states."""
    return lambda states, stored: plan_down(states, stored, to)


def redo(
    session: Session,
    source: Source,
    *,
    version: int | None = None,
    confirmed: Plan | None = None,
    emit: Listener = ignore,
) -> Result:
    """Undo a version, by default the last one, and apply it again; `confirmed` as for `down`."""
    return _run(session, source, "redo", Action.UP, redo_planner(version), emit, confirmed)


def redo_planner(version: int | None) -> Planner:
    """Return the function that plans a redo for some states."""
    return lambda states, stored: plan_redo(states, stored, version)


def force(session: Session, source: Source, version: int, *, emit: Listener = ignore) -> Result:
    """Run a version's up script again: its record is removed and written anew in the script's own transaction."""
    return _run(session, source, "force", Action.FORCE, lambda states, _: plan_force(states, version), emit)


def _run(
    session: Session,
    source: Source,
    verb: str,
    action: Action,
    planner: Planner,
    emit: Listener,
    confirmed: Plan | None = None,
) -> Result:
    plan, tasks = make_tasks(session, source, action, planner)
    if not tasks:
        for warning in plan.warnings:
            emit(Warned(warning))
        emit(RunFinished(0, 0, timedelta(0)))
        return Result(())
    session.refuse_replica()
    if session.locks_transactions:
        from whimbrel.execution import rounds

        return rounds.run(session, source, rounds.Work(verb, action, planner, confirmed), tasks, emit)
    with session.hold_lock(emit):
        # Somebody else may have done the work between the first look and the lock.
        before = session.read_history()
        if not before.is_current:
            history.ensure_history(session.connection, session.config)
        states = compare(source.migrations, before.applied, before.interruptions)
        current = planner(states, stored_downs(session, states))
        if confirmed is not None and current != confirmed:
            raise has_changed(verb)
        if current != plan:
            plan, tasks = current, prepare_checked(session, current, action, states)
        for warning in plan.warnings:
            emit(Warned(warning))
        if not tasks:
            emit(RunFinished(0, 0, timedelta(0)))
            return Result(())
        started = time.monotonic()
        emit(RunStarted(verb, plan, session.label, session.server_version))
        with notices(session.connection, session.config, emit):
            result = execute(session, tasks, emit, SessionGuard(session.process))
        if not isinstance(result.error, ConnectionFailed):
            return conclude(session.connection, tasks, result, started, emit)
    from whimbrel.execution import settlement

    result = settlement.settle(session, tasks, result, emit)
    return conclude(session.connection, tasks, result, started, emit)


def rehearse(session: Session, source: Source, *, to: int | None = None, emit: Listener = ignore) -> Result:
    """Run what is pending in one transaction and roll it back; nothing is written, not even the history tables.

    Stops before the first migration that cannot run in a transaction, and says so. The rows that the migrations would
    be recorded with are not tried.
    """
    plan, tasks = make_tasks(session, source, Action.UP, up_planner(session.config, to))
    for warning in plan.warnings:
        emit(Warned(warning))
    chosen: list[Task] = []
    for task in tasks:
        if not task.outline.is_transactional:
            emit(Warned(f"{task.step.script.path} cannot run in a transaction: the rehearsal ends before it"))
            break
        chosen.append(task)
    if not chosen:
        emit(RunFinished(0, len(plan.steps), timedelta(0)))
        return Result((), remaining=plan.steps)
    from whimbrel.execution import transaction

    session.refuse_replica()
    emit(RunStarted("rehearse", plan, session.label, session.server_version))
    finished: list[Step] = []
    start = time.monotonic()
    with session.hold_lock(emit), notices(session.connection, session.config, emit):
        session.pin_transaction()
        failure = transaction.rehearse(session.connection, chosen, emit, finished.append)
    result = Result(tuple(finished), remaining=plan.steps[len(chosen) :])
    if failure is not None:
        result = Result(tuple(finished), failure[0].step, plan.steps[len(finished) + 1 :], failure[1])
        emit(StepFailed(failure[0].step, failure[1]))
    emit(RunFinished(len(finished), len(plan.steps) - len(finished), timedelta(seconds=time.monotonic() - start)))
    return result


def seed(session: Session, directory: Path, *, emit: Listener = ignore) -> Result:
    """Run every .sql file of a directory in the order of their names, each in a transaction; nothing is recorded."""
    files = read_seeds(directory)
    session.read_history()
    session.refuse_replica()
    steps = [Step(Direction.UP, 0, name, script, None) for name, script in files]
    tasks: list[Task] = []
    for step in steps:
        found = outline(step.script, 0, session.config.history_name)
        if not found.is_transactional:
            raise SourceError("seed data has to run in a transaction", position=found.autocommit_at)
        tasks.append(Task(step, Action.SEED, found, session.config, session.run))
    plan = Plan(tuple(steps))
    emit(RunStarted("seed", plan, session.label, session.server_version))
    started = time.monotonic()
    if session.locks_transactions:
        from whimbrel.execution import rounds

        result = rounds.run_seeds(session, tasks, emit)
    else:
        with session.hold_lock(emit), notices(session.connection, session.config, emit):
            result = execute(session, tasks, emit, SessionGuard(session.process))
    return conclude(session.connection, tasks, result, started, emit)


def open_source(directory: Path | Traversable) -> Source:
    """Read a directory of migrations; an empty one is an error here."""
    source = read_migrations(directory)
    if not source.migrations:
        raise SourceError(
            f"directory {source.path} holds no migrations",
            hint="Make the first one: whimbrel create NAME",
        )
    return source

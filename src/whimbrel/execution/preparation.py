"""From a directory and a database's history to the tasks of a plan. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from whimbrel import history
from whimbrel.errors import PlanError, SourceError, Unsettled
from whimbrel.execution.executor import prepare
from whimbrel.execution.opening import Session
from whimbrel.execution.task import Action, Task
from whimbrel.migration import Direction
from whimbrel.plan import Plan, State, compare
from whimbrel.source import Source
from whimbrel.statements import GRAMMAR_VERSION, ParserError, Script
from whimbrel.statements.parser import check

Planner = Callable[[list[State], dict[int, Script]], Plan]


def read_states(session: Session, source: Source) -> list[State]:
    """Set a directory against a database's history. Changes nothing and takes no lock."""
    found = session.read_history()
    return compare(source.migrations, found.applied, found.interruptions)


def make_tasks(session: Session, source: Source, action: Action, planner: Planner) -> tuple[Plan, tuple[Task, ...]]:
    """Plan and read the scripts through, for a plan that is shown and not run. Changes nothing."""
    states = read_states(session, source)
    plan = planner(states, stored_downs(session, states))
    return plan, prepare_checked(session, plan, action, states)


def prepare_checked(session: Session, plan: Plan, action: Action, states: list[State]) -> tuple[Task, ...]:
    """Read the scripts of a plan through, and raise a WhimbrelError where one of them may not run."""
    tasks = prepare(plan, session.config, action, session.run)
    _refuse_regrouped(states, tasks)
    if any(task.step.direction is Direction.DOWN for task in tasks):
        _check_undoing(session, tasks)
    return tasks


def has_changed(verb: str) -> PlanError:
    """Return the error for a plan that is no longer the one that a person agreed to."""
    return PlanError(
        "the database has changed since this was confirmed",
        detail="Nothing was done.",
        hint=f"Look again: whimbrel {verb} --plan",
    )


def stored_downs(session: Session, states: list[State]) -> dict[int, Script]:
    """Return the down scripts that the history keeps of migrations whose down file is gone."""
    missing = [
        state.version
        for state in states
        if (state.migration is None or state.migration.down is None)
        and state.applied is not None
        and state.applied.has_down
    ]
    return history.read_down_scripts(session.connection, session.config, missing) if missing else {}


def _refuse_regrouped(states: list[State], tasks: tuple[Task, ...]) -> None:
    """Refuse to run in a transaction what was begun statement by statement: some of it is done."""
    begun = {state.version: state.interruption.statement for state in states if state.interruption is not None}
    for task in tasks:
        if task.step.version in begun and task.outline.is_transactional:
            raise Unsettled(
                f"{task.step.script.path}: was begun statement by statement, and would run in a transaction now",
                detail=f"It was interrupted at statement {begun[task.step.version]}; those before it are done.",
                hint='Restore the file, or put "-- whimbrel: transaction = off" at its top, and let it end.',
            )


def _check_undoing(session: Session, tasks: tuple[Task, ...]) -> None:
    """Refuse scripts that the grammar cannot read, or a down that there is not, before anything is undone."""
    for task in tasks:
        reason = task.outline.annotations.irreversible
        if reason is not None and task.step.direction is Direction.DOWN:
            raise PlanError(
                f"{task.step.script.path}: version {task.step.version} cannot be undone: {reason}",
                hint="Nothing was undone. Restore a backup, or write a new migration that goes forward.",
            )
        if session.connection.info.server_version // 10000 > GRAMMAR_VERSION:
            # The server may know syntax that the grammar here does not.
            continue
        for statement in task.statements():
            try:
                check(statement.sql)
            except ParserError as error:
                raise SourceError(
                    error.message,
                    detail="Nothing was undone.",
                    position=task.step.script.position(statement, error.index or 0),
                ) from None

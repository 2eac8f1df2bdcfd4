"""States and Plans → lines for a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from whimbrel.cli.documents import file_name, head
from whimbrel.cli.output import count, mark, paint, say, warn
from whimbrel.execution.task import Task
from whimbrel.plan import Plan, State, Step

if TYPE_CHECKING:
    from whimbrel.execution.destruction import Loss


def show_states(states: Sequence[State]) -> None:
    """Write one line a migration."""
    for state in states:
        remarks = list(_remarks(state))
        is_applied = state.applied is not None
        sign = mark("done") if is_applied else mark("pending")
        colour = "green" if is_applied else "yellow"
        doubtful = state.is_modified or state.is_missing or state.interruption
        say(f"{paint(sign, 'red' if doubtful else colour)} {file_name(state)} ({', '.join(remarks)})")


def _remarks(state: State) -> Sequence[str]:
    found = [state.condition.value]
    if state.is_modified:
        found.append("modified since")
    if state.is_reformatted:
        found.append("reformatted")
    if state.is_missing:
        found.append("file missing")
    if state.applied is not None and state.applied.is_by_hand:
        found.append("recorded by hand")
    if state.is_late:
        found.append("out of order")
    if state.interruption is not None:
        found.append(f"{state.interruption.direction.value} interrupted at statement {state.interruption.statement}")
    return found


def show_plan(plan: Plan, tasks: Sequence[Task], losses: Sequence[Loss]) -> None:
    """Write what would run: files, statements with their lines, in a transaction or not, and what would be lost."""
    for task in tasks:
        kind = "in one transaction" if task.outline.is_transactional else "statement by statement, no transaction"
        late = ", out of order" if task.step.is_late else ""
        say(f"{paint(file_label(task.step), 'bold')}  {paint(f'({kind}{late})', 'dim')}")
        for statement in task.statements():
            say(f"  {statement.line:>5}  {head(statement.sql)}")
        for loss in losses:
            if loss.version == task.step.version:
                say(f"  {paint('drops', 'red')}  {show_loss(loss)}")
    for warning in plan.warnings:
        warn(warning)
    if not tasks:
        say("Nothing to do.")


def show_loss(loss: Loss) -> str:
    """Return what would be lost: `presence.user_status (5 rows)`."""
    what = f"{loss.table}, column {loss.column}" if loss.column else loss.table
    if loss.rows is None:
        return f"{what} (rows not counted)"
    return f"{what} ({'about ' if loss.is_estimate else ''}{count(loss.rows, 'row')})"


def file_label(step: Step) -> str:
    """Return the file name of a step's script."""
    return PurePath(step.script.path).name

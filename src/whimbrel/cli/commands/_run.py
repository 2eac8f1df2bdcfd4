"""What the commands that run migrations have in common: open, run, tell, and pass the error on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from whimbrel.cli import output, render, tables
from whimbrel.cli.options import Invocation
from whimbrel.events import Listener
from whimbrel.execution.executor import Result
from whimbrel.execution.task import Task
from whimbrel.migration import Direction
from whimbrel.plan import Plan

if TYPE_CHECKING:
    from whimbrel.execution.destruction import Loss


def run(invocation: Invocation, operation: Callable[[Listener], Result], done: Callable[[Result], str]) -> Result:
    """Run an operation and tell its events, then the sentence that `done` makes of the result.

    Raises the result's error.
    """
    with render.reporter(as_json=invocation.as_json, is_quiet=invocation.is_quiet) as reporter:
        result = operation(reporter.handle)
    if result.error is not None:
        if not invocation.as_json and not invocation.is_quiet and (result.finished or result.remaining):
            behind = f", {len(result.remaining):,} not begun" if result.remaining else ""
            output.say(f"{len(result.finished):,} done before the error{behind}.")
        raise result.error
    if not invocation.as_json and not invocation.is_quiet:
        output.say(done(result))
    return result


def announce(invocation: Invocation, database: str, tasks: Sequence[Task], losses: Sequence[Loss]) -> None:
    """Say to a person what would be undone, and what would be lost with it."""
    undone = [task for task in tasks if task.step.direction is Direction.DOWN]
    if not undone or invocation.as_json or invocation.is_quiet:
        return
    names = ", ".join(tables.file_label(task.step) for task in undone)
    output.say(f"{database}: {output.count(len(undone), 'migration')} to undo: {names}")
    for loss in losses:
        output.say(f"  {output.paint('drops', 'red')}  {tables.show_loss(loss)}")


def show_plan(invocation: Invocation, plan: Plan, tasks: Sequence[Task], losses: Sequence[Loss] = ()) -> None:
    """Write a plan, for a person or as a document."""
    if invocation.as_json:
        from whimbrel.cli.documents import dump, plan_form

        output.say(dump(plan_form(plan, tasks, losses)))
    elif not invocation.is_quiet:
        tables.show_plan(plan, tasks, losses)

"""What the commands that run migrations have in common: open, run, tell, and pass the error on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from whimbrel.cli import render
from whimbrel.cli.options import Invocation
from whimbrel.events import Listener
from whimbrel.execution.executor import Result
from whimbrel.execution.loss import Loss
from whimbrel.execution.task import Task
from whimbrel.plan import Plan


def run(invocation: Invocation, operation: Callable[[Listener], Result], done: Callable[[Result], str]) -> Result:
    """Run an operation and tell its events, then the sentence that `done` makes of the result.

    Raises the result's error.
    """
    with render.reporter(as_json=invocation.as_json, is_quiet=invocation.is_quiet) as reporter:
        result = operation(reporter.handle)
    if result.error is not None:
        if not invocation.as_json and not invocation.is_quiet and len(result.finished) + len(result.remaining) > 0:
            behind = f", {render.count(len(result.remaining), 'further step')} not begun" if result.remaining else ""
            render.say(f"{render.count(len(result.finished), 'step')} finished before the error{behind}.")
        raise result.error
    if not invocation.as_json and not invocation.is_quiet:
        render.say(done(result))
    return result


def show_plan(invocation: Invocation, plan: Plan, tasks: Sequence[Task], losses: Sequence[Loss] = ()) -> None:
    """Write a plan, for a person or as a document."""
    if invocation.as_json:
        from whimbrel.cli.documents import dump, plan_form

        render.say(dump(plan_form(plan, tasks, losses)))
    elif not invocation.is_quiet:
        render.show_plan(plan, tasks, losses)

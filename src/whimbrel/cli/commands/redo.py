"""whimbrel redo"""

from __future__ import annotations

import click

from whimbrel.cli import usage
from whimbrel.cli.options import Invocation, common, confirm, runs


@click.command("redo", short_help="Undo a migration and apply it again.")
@click.argument("version", type=usage.version, required=False)
@click.option("--plan", "is_plan", is_flag=True, help="Show what would run, and change nothing.")
@click.option("--yes", "-y", "is_confirmed", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@runs
@common
def command(invocation: Invocation, version: int | None, is_plan: bool, is_confirmed: bool) -> None:
    """Undo a migration and apply it again: the last one, or VERSION.

    For the migration that you are writing. Its down and its up are two transactions. The tables that would be dropped
    are shown with their rows.

    \b
    Examples:
      whimbrel redo                the last migration
      whimbrel redo 12             version 12
    """
    from whimbrel.cli.commands._run import announce, run, show_plan
    from whimbrel.execution import operations
    from whimbrel.execution.destruction import find_losses
    from whimbrel.execution.opening import open_session
    from whimbrel.execution.task import Action

    source = operations.open_source(invocation.config.migrations)
    with open_session(invocation.config) as session:
        plan, tasks = operations.make_tasks(session, source, Action.UP, operations.redo_planner(version))
        with session.with_settings():
            losses = find_losses(session.connection, tasks)
        if is_plan:
            show_plan(invocation, plan, tasks, losses)
            return
        announce(invocation, session.label, tasks, losses)
        confirm("Undo the migration and apply it again?", is_confirmed=is_confirmed)
        run(
            invocation,
            lambda emit: operations.redo(session, source, version=version, confirmed=plan, emit=emit),
            lambda result: f"Version {result.finished[-1].version} is applied again.",
        )

"""whimbrel down"""

from __future__ import annotations

import click

from whimbrel.cli import output, usage
from whimbrel.cli.options import Invocation, common, confirm, runs


@click.command("down", short_help="Undo the last migration, or everything above VERSION.")
@click.argument("version", type=usage.version, required=False)
@click.option("--plan", "is_plan", is_flag=True, help="Show what would run, and change nothing.")
@click.option("--yes", "-y", "is_confirmed", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@runs
@common
def command(invocation: Invocation, version: int | None, is_plan: bool, is_confirmed: bool) -> None:
    """Undo the last migration, or everything above VERSION; VERSION itself stays.

    Migrations are undone in the reverse of the order in which they were applied. A migration without a down file stops
    the command before anything is undone. The tables that would be dropped are shown with their rows.

    \b
    Examples:
      whimbrel down                undo the last migration
      whimbrel down 1              undo everything above version 1
      whimbrel down 0              undo everything
      whimbrel down 1 --plan       show it, and change nothing
    """
    from whimbrel.cli.commands._run import announce, run, show_plan
    from whimbrel.execution import operations
    from whimbrel.execution.destruction import find_losses
    from whimbrel.execution.opening import open_session
    from whimbrel.execution.task import Action
    from whimbrel.source import read_migrations

    source = read_migrations(invocation.config.migrations)
    with open_session(invocation.config) as session:
        plan, tasks = operations.make_tasks(session, source, Action.DOWN, operations.down_planner(version))
        with session.with_settings():
            losses = find_losses(session.connection, tasks)
        if is_plan:
            show_plan(invocation, plan, tasks, losses)
            return
        if tasks:
            announce(invocation, session.label, tasks, losses)
            confirm(f"Undo {output.count(len(tasks), 'migration')}?", is_confirmed=is_confirmed)
        run(
            invocation,
            lambda emit: operations.down(session, source, to=version, confirmed=plan, emit=emit),
            lambda result: (
                f"Undid {output.count(len(result.finished), 'migration')}." if result.finished else "Nothing to undo."
            ),
        )

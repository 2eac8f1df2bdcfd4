"""whimbrel redo"""

from __future__ import annotations

import click

from whimbrel.cli.options import Invocation, common, confirm, runs


@click.command("redo")
@click.argument("version", type=click.IntRange(0), required=False)
@click.option("--yes", "-y", "is_confirmed", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@runs
@common
def command(invocation: Invocation, version: int | None, is_confirmed: bool) -> None:
    """Undo a migration and apply it again: the last one, or VERSION.

    For the migration that you are writing. Its down and its up are two transactions.

    \b
    Examples:
      whimbrel redo                the last migration
      whimbrel redo 12             version 12
    """
    from whimbrel.cli.commands._run import run
    from whimbrel.execution import operations
    from whimbrel.execution.opening import open_session

    source = operations.open_source(invocation.config.migrations)
    with open_session(invocation.config) as session:
        confirm("Undo the migration and apply it again?", is_confirmed=is_confirmed)
        run(
            invocation,
            lambda emit: operations.redo(session, source, version=version, emit=emit),
            lambda result: f"Version {result.finished[-1].version} is applied again.",
        )

"""whimbrel seed"""

from __future__ import annotations

import click

from whimbrel.cli import output
from whimbrel.cli.options import Invocation, common, runs


@click.command("seed", short_help="Run the seed files.")
@click.option("--seeds", metavar="DIR", help="The directory of the seed files.")
@runs
@common
def command(invocation: Invocation) -> None:
    """Run the seed files, in the order of their names, each in a transaction.

    Nothing is recorded: seed data is written so that running it twice changes nothing.

    \b
    Example:
      whimbrel seed --seeds database/seeds
    """
    from whimbrel.cli.commands._run import run
    from whimbrel.execution import operations
    from whimbrel.execution.opening import open_session

    with open_session(invocation.config) as session:
        run(
            invocation,
            lambda emit: operations.seed(session, invocation.config.seeds, emit=emit),
            lambda result: f"Ran {output.count(len(result.finished), 'seed file')}.",
        )

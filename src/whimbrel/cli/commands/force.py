"""whimbrel force"""

from __future__ import annotations

import click

from whimbrel.cli import usage
from whimbrel.cli.options import Invocation, common, runs


@click.command("force")
@click.argument("version", type=usage.version)
@runs
@common
def command(invocation: Invocation, version: int) -> None:
    """Run the up script of VERSION again, applied or not.

    Its record is removed, the script run, and the record written anew, in one transaction: if the script fails,
    everything stays as it was. It mends what was dropped by hand, and needs a script that can be run twice.

    \b
    Example:
      whimbrel force 2             the presence schema was dropped by hand: make it again
    """
    from whimbrel.cli.commands._run import run
    from whimbrel.execution import operations
    from whimbrel.execution.opening import open_session

    source = operations.open_source(invocation.config.migrations)
    with open_session(invocation.config) as session:
        run(
            invocation,
            lambda emit: operations.force(session, source, version, emit=emit),
            lambda result: f"Version {result.finished[-1].version} was run again.",
        )

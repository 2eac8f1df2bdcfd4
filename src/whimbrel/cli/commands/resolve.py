"""whimbrel resolve"""

from __future__ import annotations

import click

from whimbrel.cli import output, render, usage
from whimbrel.cli.options import Invocation, common, runs


@click.command("resolve", short_help="Say what became of an interrupted statement.")
@click.argument("version", type=usage.version)
@click.option("--done", "is_done", flag_value=True, default=None, help="The interrupted statement has done its work.")
@click.option("--retry", "is_done", flag_value=False, help="It has not: run it again.")
@runs
@common
def command(invocation: Invocation, version: int, is_done: bool | None) -> None:
    """Say what became of the statement at which VERSION was interrupted.

    Only for a migration that runs outside a transaction, and only for a statement whose outcome the catalog does not
    show; whimbrel settles the others by itself. Then run up again.

    \b
    Examples:
      whimbrel resolve 12 --done
      whimbrel resolve 12 --retry
    """
    from whimbrel.execution import corrections
    from whimbrel.execution.opening import open_session

    if is_done is None:
        raise click.UsageError("give --done or --retry")
    with (
        open_session(invocation.config) as session,
        render.reporter(as_json=invocation.as_json, is_quiet=invocation.is_quiet) as reporter,
    ):
        stopped = corrections.resolve(session, version, is_done=is_done, emit=reporter.handle)
    if invocation.as_json:
        from whimbrel.cli.documents import document, dump

        output.say(dump(document("resolved", migration=version, statement=stopped.statement, is_done=is_done)))
    elif not invocation.is_quiet:
        outcome = "counts as done" if is_done else "will be run again"
        output.say(
            f"Statement {stopped.statement} of version {version} {outcome}. Go on: whimbrel {stopped.direction.value}"
        )

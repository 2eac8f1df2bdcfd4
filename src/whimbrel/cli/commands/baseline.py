"""whimbrel baseline"""

from __future__ import annotations

import click

from whimbrel.cli import output, render, usage
from whimbrel.cli.options import Invocation, common, runs


@click.command("baseline", short_help="Record migrations as applied without running them.")
@click.argument("version", type=usage.version)
@runs
@common
def command(invocation: Invocation, version: int) -> None:
    """Record every migration up to VERSION as applied, without running it.

    For a database that was made in another way and already is what these migrations make.

    \b
    Example:
      whimbrel baseline 1          the database has the initial schema already
    """
    from whimbrel.execution import corrections, operations
    from whimbrel.execution.opening import open_session

    source = operations.open_source(invocation.config.migrations)
    with (
        open_session(invocation.config) as session,
        render.reporter(as_json=invocation.as_json, is_quiet=invocation.is_quiet) as reporter,
    ):
        migrations = corrections.baseline(session, source, version, emit=reporter.handle)
    if invocation.as_json:
        from whimbrel.cli.documents import document, dump, migration_form

        output.say(dump(document("baseline", recorded=[migration_form(each) for each in migrations])))
    elif not invocation.is_quiet:
        output.say(
            f"Recorded {output.count(len(migrations), 'migration')} as applied; nothing was run."
            if migrations
            else f"Nothing to record: everything up to version {version} is applied."
        )

"""whimbrel repair"""

from __future__ import annotations

import click

from whimbrel.cli import output, render
from whimbrel.cli.options import Invocation, common, runs


@click.command("repair")
@runs
@common
def command(invocation: Invocation) -> None:
    """Accept the files of applied migrations as they are now.

    Their checksums and down scripts are recorded anew; nothing is run. For a file that was changed on purpose and whose
    change is in the database already.

    \b
    Example:
      whimbrel status              says "modified since"
      whimbrel repair
    """
    from whimbrel.execution import corrections, operations
    from whimbrel.execution.opening import open_session

    source = operations.open_source(invocation.config.migrations)
    with (
        open_session(invocation.config) as session,
        render.reporter(as_json=invocation.as_json, is_quiet=invocation.is_quiet) as reporter,
    ):
        migrations = corrections.repair(session, source, emit=reporter.handle)
    if invocation.as_json:
        from whimbrel.cli.documents import document, dump, migration_form

        output.say(dump(document("repair", accepted=[migration_form(each) for each in migrations])))
    elif not invocation.is_quiet:
        for migration in migrations:
            output.say(f"{output.paint(output.mark('done'), 'green')} {migration.up.path}")
        output.say(f"Accepted {output.count(len(migrations), 'file')}." if migrations else "Nothing to repair.")

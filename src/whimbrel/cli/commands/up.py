"""whimbrel up"""

from __future__ import annotations

import click

from whimbrel.cli import output, usage
from whimbrel.cli.options import Invocation, common, runs


@click.command("up")
@click.option("--to", type=usage.version, help="Stop behind this version.")
@click.option("--plan", "is_plan", is_flag=True, help="Show what would run, and change nothing.")
@click.option("--rehearse", is_flag=True, help="Run it in one transaction and roll that back.")
@click.option("--create-database", is_flag=True, help="Create the database if it does not exist.")
@runs
@common
def command(invocation: Invocation, to: int | None, is_plan: bool, rehearse: bool, create_database: bool) -> None:
    """Apply what is pending.

    Each migration is committed together with its record, or not at all. After an error, or a kill, everything before
    the failed migration is applied, and running the same command again goes on from there.

    \b
    Examples:
      whimbrel up                  apply everything that is pending
      whimbrel up --plan           show it first: files, statements, transactions
      whimbrel up --rehearse       run it for real and roll back
      whimbrel up --to 12          stop behind version 12
    """
    from whimbrel.cli.commands._run import run, show_plan
    from whimbrel.execution import operations
    from whimbrel.execution.opening import open_session
    from whimbrel.execution.task import Action

    if is_plan and rehearse:
        raise click.UsageError("--plan and --rehearse exclude each other")
    source = operations.open_source(invocation.config.migrations)
    warn_of_ignored(invocation, source.ignored)
    with open_session(invocation.config, create_database=create_database) as session:
        if is_plan:
            planner = operations.up_planner(invocation.config, to)
            show_plan(invocation, *operations.make_tasks(session, source, Action.UP, planner))
        elif rehearse:
            run(
                invocation,
                lambda emit: operations.rehearse(session, source, to=to, emit=emit),
                lambda result: f"Rehearsed {output.count(len(result.finished), 'migration')}; nothing was changed.",
            )
        else:
            run(
                invocation,
                lambda emit: operations.up(session, source, to=to, emit=emit),
                lambda result: (
                    f"Applied {output.count(len(result.finished), 'migration')}."
                    if result.finished
                    else f"Nothing to do: everything{f' up to version {to}' if to is not None else ''} is applied."
                ),
            )


def warn_of_ignored(invocation: Invocation, ignored: tuple[str, ...]) -> None:
    """Name the .sql files that are no migrations, for a person."""
    if ignored and not (invocation.as_json or invocation.is_quiet):
        output.warn(f"not a migration by its name, and ignored: {', '.join(ignored)}")

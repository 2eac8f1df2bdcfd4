"""whimbrel cluster"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from whimbrel.cli import output
from whimbrel.cli.options import Invocation, common
from whimbrel.cli.usage import Group, number
from whimbrel.errors import ConfigError

if TYPE_CHECKING:
    from whimbrel.cluster import Embedded, Running


@click.group("cluster", cls=Group)
def command() -> None:
    """Start, stop and look at the embedded PostgreSQL.

    It is a real PostgreSQL, from a Python package or installed on the machine, in a directory of the project. Commands
    start it by themselves; it goes on running until it is stopped.

    \b
    Examples:
      whimbrel cluster status
      whimbrel cluster stop
      whimbrel cluster logs --lines 20
    """


@command.command("start")
@common
def start(invocation: Invocation) -> None:
    """Start the server, and create the database that the address names.

    \b
    Example:
      whimbrel cluster start
    """
    from whimbrel import cluster

    embedded = _embedded(invocation)
    running = cluster.start(embedded)
    cluster.ensure_database(running, embedded.dbname)
    _show(invocation, running, "Started" if running.started else "Already running:")


@command.command("stop")
@common
def stop(invocation: Invocation) -> None:
    """Stop the server. Sessions are ended, data stays.

    \b
    Example:
      whimbrel cluster stop
    """
    from whimbrel import cluster

    stopped = cluster.stop(_embedded(invocation))
    if invocation.as_json:
        from whimbrel.cli.documents import document, dump

        output.say(dump(document("cluster_stopped", was_running=stopped)))
    elif not invocation.is_quiet:
        output.say("Stopped." if stopped else "It was not running.")


@command.command("status")
@common
def status(invocation: Invocation) -> int:
    """Show whether the server runs, and how to reach it. Exits with 3 if it does not.

    \b
    Example:
      whimbrel cluster status
    """
    from whimbrel import cluster

    running = cluster.status(_embedded(invocation))
    if running is not None:
        _show(invocation, running, "Running:")
        return 0
    if invocation.as_json:
        from whimbrel.cli.documents import document, dump

        output.say(dump(document("cluster", is_running=False)))
    elif not invocation.is_quiet:
        output.say("Not running.")
    return 3


@command.command("logs")
@click.option("--lines", "-n", type=number, default="50", show_default=True, help="How many lines.")
@common
def logs(invocation: Invocation, lines: int) -> None:
    """Show the last lines of the server's log.

    \b
    Example:
      whimbrel cluster logs --lines 20
    """
    from whimbrel import cluster

    text = cluster.read_log(_embedded(invocation), lines)
    if invocation.as_json:
        from whimbrel.cli.documents import document, dump

        output.say(dump(document("cluster_log", lines=text.splitlines())))
    else:
        output.say(text)


def _embedded(invocation: Invocation) -> Embedded:
    from whimbrel import cluster

    database = invocation.config.database
    if database is None or not cluster.is_embedded(database):
        raise ConfigError(
            "the configured database is not the embedded PostgreSQL",
            detail=f"It comes from: {invocation.config.origins.get('database', 'libpq')}.",
            hint='Use an address of the form embedded:PATH, or the tools of your server, such as "docker logs".',
        )
    return cluster.parse_address(database, invocation.config.root)


def _show(invocation: Invocation, running: Running, word: str) -> None:
    if invocation.as_json:
        from whimbrel.cli.documents import document, dump

        form = document(
            "cluster",
            is_running=True,
            server_version=str(running.version),
            pid=running.pid,
            data=str(running.embedded.data),
            programs=str(running.bin),
            conninfo=running.conninfo(),
        )
        output.say(dump(form))
    elif not invocation.is_quiet:
        output.say(f"{word} PostgreSQL {running.version}, process {running.pid}, in {running.embedded.data}")
        output.say(f'Connect with: whimbrel psql, or: psql "{running.conninfo()}"')

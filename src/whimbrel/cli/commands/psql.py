"""whimbrel psql"""

from __future__ import annotations

import os
import sys

import click

from whimbrel.cli.options import Invocation, common
from whimbrel.errors import ConfigError


@click.command("psql", context_settings={"ignore_unknown_options": False})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@common
def command(invocation: Invocation, arguments: tuple[str, ...]) -> None:
    """Open psql on the configured database. What follows -- is passed on to psql.

    The password reaches psql through its environment and never stands in the process list.

    \b
    Examples:
      whimbrel psql
      whimbrel psql -- -c "SELECT count(*) FROM auth.users"
      whimbrel psql -- --file report.sql
    """
    from whimbrel import cluster, database
    from whimbrel.execution.opening import find_address

    address, _ = find_address(invocation.config)
    configured = invocation.config.address
    embedded = None
    if configured is not None and cluster.is_embedded(configured):
        embedded = cluster.parse_address(configured, invocation.config.root)
        cluster.ensure_database(cluster.start(embedded), embedded.dbname)
    program = cluster.find_program(embedded, "psql")
    if program is None:
        raise ConfigError("psql is not installed", hint="Debian: apt install postgresql-client")
    conninfo, password = database.split_password(address)
    environment = dict(os.environ)
    if password is not None:
        environment["PGPASSWORD"] = password
    # psql takes the place of this process: its terminal, its signals and its exit code are psql's own.
    sys.stdout.flush()
    os.execve(program, ["psql", "--dbname", conninfo, *arguments], environment)  # noqa: S606

"""Echo's database, filled, and a copy of it for each measurement."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.measurement import CommandFailed, Surroundings, read_values
from benchmarks.runner import Server
from whimbrel import cluster

WHIMBREL = (sys.executable, "-m", "whimbrel")
MIGRATIONS = Path(__file__).parents[2] / "migrations" / "postgres"
# Before the migrations that only build indexes: rows come faster without them.
_BASELINE = "2"
_TEMPLATE, _COPY = "echo", "echo_copy"
_FOLDER = Path(__file__).parent


def fill(server: Server, rows: int) -> None:
    """Make Echo's database by its migrations, with rows in messages.messages and what the changes need besides."""
    cluster.ensure_database(server.running, _TEMPLATE)
    conninfo = server.running.conninfo(_TEMPLATE)
    _migrate(server, conninfo, "--to", _BASELINE)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SELECT set_config('nonstop.rows', %s, false)", [str(rows)])
        for name in ("columns.sql", "rows.sql"):
            connection.execute((_FOLDER / name).read_bytes())
    _migrate(server, conninfo)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        # Nothing that autovacuum would want to do is left.
        connection.execute("VACUUM (FREEZE, ANALYZE)")


@contextmanager
def copied(server: Server) -> Generator[str]:
    """Yield the conninfo of a copy of Echo's database; it is dropped at the end."""
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_COPY))
    # File by file: through the WAL, the other strategy, a large database takes several times as long.
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
        sql.Identifier(_COPY), sql.Identifier(_TEMPLATE)
    )
    with psycopg.connect(server.running.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(create)
        connection.execute("CHECKPOINT")
        yield server.running.conninfo(_COPY)
        connection.execute(drop)


def is_there(conninfo: str, check: Path) -> bool:
    """Return whether the query in a file is true."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        row = connection.execute(check.read_bytes()).fetchone()
    return row is not None and row[0] is True


def _migrate(server: Server, conninfo: str, *options: str) -> None:
    # Away from this project's own configuration, which names another database.
    surroundings = Surroundings(server.folder, {}, read_values(conninfo))
    done = subprocess.run(
        [*WHIMBREL, "up", "--quiet", "--database", conninfo, "--migrations", str(MIGRATIONS), *options],
        cwd=surroundings.folder,
        env=surroundings.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CommandFailed(f"Echo's migrations ended with {done.returncode}:\n{done.stderr}")

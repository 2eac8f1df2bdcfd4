"""A project whose database holds a table to be walked, slowly if need be; and a server of the tests' own."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from ..acceptance.programs import Project
from ..acceptance.servers import TcpServer, tcp_server
from ..conftest import Server

Connection = psycopg.Connection[TupleRow]

# Each row is counted, so that one that was met twice is seen.
STATEMENT = "UPDATE t SET n = n + 1, done = true WHERE NOT done"
# Some two milliseconds a row.
SLOW = "UPDATE t SET n = n + 1, done = pg_sleep(0.002) IS NOT NULL WHERE NOT done"


def make_table(connection: Connection, rows: int) -> None:
    """Make the table t with ids from 1 on."""
    connection.execute("CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, done boolean DEFAULT false)")
    connection.execute("INSERT INTO t (id) SELECT generate_series(1, %s)", [rows])


def counts(connection: Connection) -> list[tuple[object, ...]]:
    """Return how often rows were changed, with how many were so often."""
    return connection.execute("SELECT n, count(*) FROM t GROUP BY n ORDER BY n").fetchall()


def done(connection: Connection) -> int:
    """Return how many rows are done."""
    row = connection.execute("SELECT count(*) FROM t WHERE done").fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def project(tmp_path: Path, dsn: str) -> Project:
    """Give an empty project on a fresh database."""
    (tmp_path / "whimbrel.toml").touch()
    return Project(tmp_path, dsn)


@pytest.fixture(scope="module")
def own_server(server: Server) -> Generator[TcpServer]:
    """Give a server that a test may stop, start and configure."""
    with tcp_server(server.version) as found:
        yield found

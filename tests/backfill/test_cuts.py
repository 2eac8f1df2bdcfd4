"""The connection is cut at an exact message: whatever was committed is known, and no row is changed twice."""

from __future__ import annotations

import random
from pathlib import Path

import psycopg
import pytest

import whimbrel
from tests.faults.bench import socket_folder
from tests.faults.proxy import Blow, Point, Proxy, Seen, Side
from whimbrel.errors import ConnectionFailed

from ..acceptance.programs import eventually
from .conftest import STATEMENT, Connection, counts, make_table

# Of some hundreds of points; another choice in each run.
SAMPLE = 30


def through(folder: Path, dsn: str, point: Point | None) -> Seen:
    """Run a backfill through a proxy that cuts the connection at a point."""
    with Proxy(folder, dsn, point, Blow.CUT) as proxy:
        try:
            with psycopg.connect(proxy.dsn, autocommit=True) as connection:
                whimbrel.backfill(STATEMENT, connection, batch=4)
        except (ConnectionFailed, psycopg.OperationalError):
            # psycopg's own where the settings of a connection that was given are looked at, before or behind it all.
            assert point is not None
    (folder / ".s.PGSQL.5432").unlink()
    return proxy.seen


@pytest.mark.parametrize("side", [Side.FRONTEND, Side.BACKEND])
def test_cut_at_any_message_it_goes_on_and_changes_no_row_twice(dsn: str, connection: Connection, side: Side) -> None:
    make_table(connection, 18)
    with socket_folder() as folder:
        seen = through(folder, dsn, None)
        assert counts(connection) == [(1, 18)]
        messages = len(seen.frontend if side is Side.FRONTEND else seen.backend)
        assert messages > 60
        for count in sorted(random.sample(range(1, messages), SAMPLE // 2)):
            connection.execute("UPDATE t SET n = 0, done = false")
            connection.execute("DELETE FROM schema_migrations_backfill")
            through(folder, dsn, Point(side.value, count))
            eventually(lambda: is_alone(connection))
            row = connection.execute("SELECT coalesce(sum(changed), 0) FROM schema_migrations_backfill").fetchone()
            assert row == connection.execute("SELECT count(*) FROM t WHERE done").fetchone(), f"{side} {count}"
            assert {changes for changes, _ in counts(connection)} <= {0, 1}, f"{side} {count}"
            whimbrel.backfill(STATEMENT, dsn, batch=4)
            assert counts(connection) == [(1, 18)], f"{side} {count}"


def is_alone(connection: Connection) -> bool:
    """Whether the server has noticed that the other is gone."""
    row = connection.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ).fetchone()
    return row is None

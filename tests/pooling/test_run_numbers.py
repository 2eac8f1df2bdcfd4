"""Each row of the log has the number of its run, by which a run knows its own."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project, applied, eventually, value
from tests.execution.proxy import Proxy
from whimbrel.config import config_from
from whimbrel.errors import ConnectionFailed
from whimbrel.execution import operations
from whimbrel.execution.opening import open_session
from whimbrel.source import read_migrations

from .test_locks import advisory_locks


@pytest.mark.parametrize("arguments", [["up"], ["down", "1", "--yes"], ["force", "1"], ["baseline", "3"]])
def test_a_log_without_numbers_is_brought_up_to_date(
    project: Project, connection: psycopg.Connection[TupleRow], arguments: list[str]
) -> None:
    """By the first command that changes something; the old rows stay without one."""
    project.three_tables()
    project.succeed("up", "--to", "2")
    project.migration(1, "CREATE TABLE IF NOT EXISTS t1 (id int);\n")
    project.succeed("repair")
    connection.execute("ALTER TABLE schema_migrations_log DROP COLUMN run")
    before = value(connection, "SELECT count(*) FROM schema_migrations_log")
    assert "pending" in project.succeed("status")
    assert "m2" in project.succeed("history")

    project.succeed(*arguments)

    assert value(connection, "SELECT count(*) FROM schema_migrations_log WHERE run IS NULL") == before
    assert value(connection, "SELECT count(*) FROM schema_migrations_log WHERE run IS NOT NULL") == 1
    comment = (
        "SELECT col_description('schema_migrations_log'::regclass, attnum) FROM pg_attribute WHERE attname = 'run'"
    )
    assert "The run that made the attempt" in str(value(connection, comment))


def test_a_failure_has_the_number_of_its_run(project: Project, connection: psycopg.Connection[TupleRow]) -> None:
    project.three_tables()
    project.migration(3, "SELECT 1/0;")

    project.fail(1, "up")
    project.fail(1, "up")

    rows = connection.execute(
        "SELECT array_agg(version ORDER BY id) FROM schema_migrations_log GROUP BY run ORDER BY min(id)"
    ).fetchall()
    assert [row[0] for row in rows] == [[1, 2, 3], [3]]


def test_what_another_run_committed_is_not_taken_for_ones_own(
    project: Project, connection: psycopg.Connection[TupleRow], dsn: str
) -> None:
    """The connection is cut before anything was committed; another run does the work before this one looks."""
    project.three_tables()
    project.migration(1, "CREATE TABLE t1 (); SELECT pg_sleep(600);")
    others: list[int] = []
    with tempfile.TemporaryDirectory() as folder, Proxy(Path(folder), dsn, b"pg_sleep(600)") as proxy:

        def cut() -> None:
            proxy.held.wait(30)
            proxy.cut()

        thread = threading.Thread(target=cut)
        thread.start()
        with open_session(config_from({"database": proxy.dsn})) as session:
            reconnect = session.reconnect
            assert reconnect is not None

            def reconnect_late() -> psycopg.Connection[TupleRow]:
                eventually(lambda: advisory_locks(connection) == 0)
                project.migration(1, "CREATE TABLE t1 ();")
                project.succeed("up", "--to", "2")
                others.extend(applied(connection))
                return reconnect()

            session.reconnect = reconnect_late
            result = operations.up(session, read_migrations(project.migrations))
        thread.join()

    assert others == [1, 2]
    assert isinstance(result.error, ConnectionFailed)
    assert result.error.detail == "1_m1 was not committed: nothing of it remains."
    assert result.finished == ()

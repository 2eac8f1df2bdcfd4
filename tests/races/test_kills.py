"""A run that is killed with SIGKILL: its lock goes, and a second run that begins at once ends what it had begun."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import TupleRow

from ..acceptance.programs import Project, applied, eventually, finish, is_running, sessions, value
from .crowd import deadlocks
from .killed import BUILD, CASES, Case, holder, kill, second, start_in, waiting

Connection = psycopg.Connection[TupleRow]

# The server looks twice a second whether its client is still there; the rest is for a slow machine.
NOTICED = 20.0


@pytest.fixture(autouse=True)
def newer(connection: Connection) -> None:
    """Leave out PostgreSQL 13, which does not look whether a client is still there."""
    if connection.info.server_version < 140000:
        pytest.skip("client_connection_check_interval came with PostgreSQL 14")


def test_in_a_long_statement_it_frees_the_lock(project: Project, connection: Connection) -> None:
    project.migration(1, "CREATE TABLE a (); SELECT pg_sleep(600);\n")
    process = project.start("up")
    eventually(lambda: is_running(connection, "pg_sleep(600)"))
    assert holder(connection) is not None

    kill(process)

    eventually(lambda: holder(connection) is None, NOTICED)
    assert sessions(connection) == 0
    assert value(connection, "SELECT to_regclass('a')") is None
    project.migration(1, "CREATE TABLE a ();\n")
    project.succeed("up", "--lock-wait", "0")


def test_while_it_waits_for_a_table_it_frees_the_lock(
    project: Project, connection: Connection, other: Connection
) -> None:
    connection.execute("CREATE TABLE busy (id int)")
    project.migration(1, "ALTER TABLE busy ADD COLUMN more int;\n")
    with other.transaction():
        other.execute("SELECT FROM busy")
        process = project.start("up", "--lock-timeout", "1h")
        eventually(lambda: waiting(connection) == 1)
        assert holder(connection) is not None

        kill(process)

        eventually(lambda: holder(connection) is None, NOTICED)
        # Nor does anybody queue behind it any more.
        assert waiting(connection) == 0
    assert applied(connection) == []
    project.succeed("up", "--lock-wait", "0")


def test_in_a_build_that_waits_for_a_writer_it_frees_the_lock(
    project: Project, connection: Connection, other: Connection
) -> None:
    process = start_in(project, BUILD, connection, other)

    kill(process)

    # The writer is still there.
    eventually(lambda: holder(connection) is None, NOTICED)
    other.execute("COMMIT")
    assert "interrupted at statement 1" in project.succeed("status")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_second_run_that_begins_at_once_ends_what_the_killed_one_had_begun(
    project: Project, connection: Connection, other: Connection, case: Case
) -> None:
    """While the orphaned session is still at work, and whoever it waited for still there."""
    first = start_in(project, case, connection, other)
    orphan = holder(connection)
    again, begin = second(project, "--lock-wait", "5min")

    kill(first)
    begin()

    eventually(lambda: holder(connection) not in (None, orphan))
    # By now it settles what it found: it waits for the same open transaction, or is done already.
    if value(connection, "SELECT to_regclass('brake') IS NOT NULL"):
        connection.execute("DELETE FROM brake")
    other.execute("COMMIT")
    done = finish(again)

    assert (done.code, done.err) == (0, ""), done
    assert value(connection, case.after) is True
    assert applied(connection) == [1, 2]
    rows = connection.execute(
        "SELECT action, outcome, count(*) FROM schema_migrations_log WHERE version = 2 GROUP BY 1, 2"
    ).fetchall()
    assert rows == [("up", "succeeded", 1)]
    assert value(connection, "SELECT count(*) FROM schema_migrations_journal") == 0
    eventually(lambda: sessions(connection) == 0)
    assert deadlocks(connection) == 0
    assert project.succeed("up") == "Nothing to do: everything is applied.\n"

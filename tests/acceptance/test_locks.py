"""Somebody else is in the way: exit code 5, everything as before, and the message says who it is."""

from __future__ import annotations

from collections.abc import Generator

import psycopg
import pytest
from psycopg.rows import TupleRow

from whimbrel.config import config_from
from whimbrel.database import lock_key

from .programs import Project, applied, eventually, finish, is_running, sessions, tables

Connection = psycopg.Connection[TupleRow]


@pytest.fixture
def other(dsn: str) -> Generator[Connection]:
    """Give the connection of somebody else, who says who that is."""
    with psycopg.connect(dsn, autocommit=True, application_name="deploy of app 7") as connection:
        yield connection


def test_another_run_is_named(project: Project, connection: Connection, other: Connection) -> None:
    project.three_tables()
    key = lock_key(config_from({}))
    other.execute("SELECT pg_advisory_lock(%s)", [key])
    commands = (("up",), ("baseline", "1"), ("force", "1"), ("repair",))
    for command in commands:
        done = project.run(*command, "--lock-wait", "0")
        assert (done.code, done.out) == (5, "")
        first, detail, hint, way_out = done.err.splitlines()
        assert first == f"error: another run holds the lock (process {other.info.backend_pid})"
        assert detail.startswith("Detail: It is deploy of app 7 from local socket, connected since ")
        assert hint == "Hint: Wait for it and run the command again, or give it more time: --lock-wait 10min"
        terminate = f"SELECT pg_terminate_backend({other.info.backend_pid});"
        assert way_out == f"      If its client is gone for good: {terminate}"
    assert (applied(connection), sessions(connection)) == ([], 0)
    # Looking needs no lock, and neither does a run that has nothing to do.
    assert project.succeed("status").count("pending") == 3
    project.succeed("up", "--plan")
    other.execute("SELECT pg_advisory_unlock(%s)", [key])
    project.succeed("up")
    other.execute("SELECT pg_advisory_lock(%s)", [key])
    assert project.succeed("up", "--lock-wait", "0") == "Nothing to do: everything is applied.\n"


def test_a_run_that_waits_says_for_whom_and_goes_on(
    project: Project, connection: Connection, other: Connection
) -> None:
    project.three_tables()
    key = lock_key(config_from({}))
    other.execute("SELECT pg_advisory_lock(%s)", [key])
    process = project.start("up", "--lock-wait", "1min")
    eventually(lambda: sessions(connection) > 0)
    other.execute("SELECT pg_sleep(0.6), pg_advisory_unlock(%s)", [key])
    done = finish(process)
    assert (done.code, done.err) == (0, "")
    assert f"waiting for deploy of app 7 (process {other.info.backend_pid}, local socket)" in done.out
    assert applied(connection) == [1, 2, 3]


def test_five_runs_at_once_apply_everything_once(project: Project, connection: Connection) -> None:
    project.three_tables()
    processes = [project.start("up") for _ in range(5)]
    done = [finish(process) for process in processes]
    assert [each.code for each in done] == [0] * 5, done
    assert sum("Applied 3 migrations." in each.out for each in done) == 1
    assert sum("Nothing to do" in each.out for each in done) == 4
    assert applied(connection) == [1, 2, 3]


def test_a_table_that_somebody_else_has_locked(project: Project, connection: Connection, other: Connection) -> None:
    connection.execute("CREATE TABLE busy (id int)")
    project.three_tables()
    project.migration(2, "CREATE TABLE t2 (id int);\nALTER TABLE busy ADD COLUMN more int;\n")
    with other.transaction():
        other.execute("SELECT FROM busy")
        done = project.run("up", "--lock-timeout", "200ms", "--lock-budget", "0")
        assert done.code == 5
        first, source, caret, detail, hint, way_out = done.err.splitlines()
        assert first == "error: migrations/000002_m2.up.sql:2:1: lock on busy not obtained within 200 ms"
        assert (source, caret) == ("    ALTER TABLE busy ADD COLUMN more int;", "    ^")
        process = other.info.backend_pid
        assert detail.startswith(f"Detail: In the way: deploy of app 7 (process {process}, local socket), idle in tran")
        assert detail.endswith(": SELECT FROM busy. The migration was rolled back; everything is as it was.")
        assert hint.startswith("Hint: Run the command again when they are done, or give it more time: --lock-budget")
        assert way_out == f"      To end the first one: SELECT pg_terminate_backend({process});"
        assert (applied(connection), tables(connection)) == ([1], ["busy", "t1"])
    project.succeed("up", "--lock-timeout", "200ms")
    assert applied(connection) == [1, 2, 3]


def test_an_annotation_gives_a_file_its_own_lock_timeout(
    project: Project, connection: Connection, other: Connection
) -> None:
    connection.execute("CREATE TABLE busy (id int)")
    project.migration(1, "-- whimbrel: lock_timeout = 100ms\nALTER TABLE busy ADD COLUMN more int;\n")
    with other.transaction():
        other.execute("SELECT FROM busy")
        done = project.run("up", "--lock-timeout", "1h", "--lock-budget", "0")
        assert (done.code, "not obtained within 100 ms" in done.err) == (5, True)


def test_a_rehearsal_makes_one_brief_attempt(project: Project, connection: Connection, other: Connection) -> None:
    connection.execute("CREATE TABLE busy (id int)")
    project.migration(1, "ALTER TABLE busy ADD COLUMN more int;\n")
    with other.transaction():
        other.execute("SELECT FROM busy")
        done = project.run("up", "--rehearse")
    assert (done.code, "canceling statement due to lock timeout" in done.err) == (5, True)


def test_a_rehearsal_waits_for_as_long_as_it_is_told(
    project: Project, connection: Connection, other: Connection
) -> None:
    connection.execute("CREATE TABLE busy (id int)")
    project.migration(1, "ALTER TABLE busy ADD COLUMN more int;\n")
    with other.transaction():
        other.execute("SELECT FROM busy")
        process = project.start("up", "--rehearse", "--lock-timeout", "300s")
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ '^ALTER'"
            " AND clock_timestamp() - query_start > interval '1.5 s'"
        )
        eventually(lambda: connection.execute(waits).fetchone() == (1,))
    assert finish(process).code == 0


def test_a_statement_that_takes_too_long_is_cancelled(project: Project, connection: Connection) -> None:
    project.migration(1, "CREATE TABLE t1 (id int);\nSELECT pg_sleep(60);\n")
    assert project.fail(1, "up", "--statement-timeout", "200ms") == (
        "error: migrations/000001_m1.up.sql:2:1: canceling statement due to statement timeout\n"
        "    SELECT pg_sleep(60);\n"
        "    ^\n"
    )
    assert tables(connection) == []


def test_a_history_table_that_somebody_else_has_locked(
    project: Project, connection: Connection, other: Connection
) -> None:
    project.three_tables()
    project.succeed("up", "--to", "1")
    with other.transaction():
        other.execute("LOCK TABLE schema_migrations")
        assert project.run("up", "--lock-timeout", "200ms").code == 5
    assert applied(connection) == [1]


def test_an_index_is_built_concurrently_while_others_wait_for_the_lock(
    project: Project, connection: Connection, other: Connection
) -> None:
    """Waiting inside pg_advisory_lock would hold a snapshot, and the two would wait for each other for ever."""
    connection.execute("CREATE TABLE busy (id int)")
    project.migration(1, "CREATE INDEX CONCURRENTLY busy_id ON busy (id);\n")
    with other.transaction():
        other.execute("INSERT INTO busy VALUES (1)")
        first = project.start("up")
        eventually(lambda: is_running(connection, "CREATE INDEX CONCURRENTLY"))
        second = project.start("up")
        eventually(lambda: sessions(connection) == 2)
    assert (finish(first).code, finish(second).code) == (0, 0)
    assert applied(connection) == [1]

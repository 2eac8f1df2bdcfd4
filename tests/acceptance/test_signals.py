"""SIGINT and SIGTERM at bad moments: rolled back, exit 130 or 143, nobody left behind, and the next run goes on."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Generator

import psycopg
import pytest
from psycopg.rows import TupleRow

from whimbrel.config import config_from
from whimbrel.database import lock_key

from .programs import Done, Project, applied, eventually, finish, interrupt, is_running, sessions, tables, value

Connection = psycopg.Connection[TupleRow]
SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def other(dsn: str) -> Generator[Connection]:
    """Give the connection of somebody else, who works in the same database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def is_interrupted(done: Done, signum: signal.Signals) -> bool:
    """Say whether a run ended as an interrupted one has to, without a word too many."""
    return done.code == 128 + signum and done.err == (
        f"error: interrupted by {signum.name}\nDetail: The running statement was cancelled. Run the same command again:"
        " it goes on behind what is committed.\n"
    )


@pytest.mark.parametrize("signum", SIGNALS)
def test_in_the_middle_of_a_statement(project: Project, connection: Connection, signum: signal.Signals) -> None:
    project.three_tables()
    project.migration(2, "CREATE TABLE t2 (id int);\nSELECT pg_sleep(60);\n")
    process = project.start("up")
    eventually(lambda: is_running(connection, "pg_sleep(60)"))
    time.sleep(0.3)
    start = time.monotonic()
    done = interrupt(process, signum)
    assert time.monotonic() - start < 5
    assert is_interrupted(done, signum), done
    assert done.out.endswith("✗ 000002_m2.up.sql\n1 done before the error, 1 not begun.\n")
    assert (applied(connection), tables(connection)) == ([1], ["t1"])
    eventually(lambda: sessions(connection) == 0, 5)
    history = project.succeed("history")
    assert "✗" in history.splitlines()[0]
    assert history.splitlines()[1] == f"    interrupted: interrupted by {signum.name}"
    project.migration(2, "CREATE TABLE t2 (id int);\n")
    project.succeed("up")
    assert applied(connection) == [1, 2, 3]


def test_a_second_and_a_third_signal_change_nothing(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.migration(2, "SELECT pg_sleep(60);\n")
    process = project.start("up")
    eventually(lambda: is_running(connection, "pg_sleep(60)"))
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        process.send_signal(signum)
    done = finish(process)
    # Python tells of signals that come together in the order of their numbers.
    assert is_interrupted(done, signal.SIGTERM) or is_interrupted(done, signal.SIGINT), done
    assert applied(connection) == [1]
    eventually(lambda: sessions(connection) == 0, 5)


def test_in_the_middle_of_copy_data(project: Project, connection: Connection, other: Connection) -> None:
    rows = "".join(f"{number}\n" for number in range(200_000))
    project.migration(1, f"CREATE TABLE t1 (id int);\nCOPY t1 FROM stdin;\n{rows}\\.\nSELECT pg_sleep(60);\n")
    process = project.start("up")
    eventually(lambda: is_running(connection, "COPY") or is_running(connection, "pg_sleep"))
    assert is_interrupted(interrupt(process, signal.SIGTERM), signal.SIGTERM)
    assert tables(connection) == []
    eventually(lambda: sessions(connection) == 0, 5)


def test_in_a_down(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.migration(3, "CREATE TABLE t3 (id int);\n", "DROP TABLE t3;\nSELECT pg_sleep(60);\n")
    project.succeed("up")
    process = project.start("down", "0", "--yes")
    eventually(lambda: is_running(connection, "pg_sleep(60)"))
    assert is_interrupted(interrupt(process, signal.SIGINT), signal.SIGINT)
    assert (applied(connection), tables(connection)) == ([1, 2, 3], ["t1", "t2", "t3"])


def test_in_a_rehearsal(project: Project, connection: Connection) -> None:
    project.migration(1, "CREATE TABLE t1 (id int);\nSELECT pg_sleep(60);\n")
    process = project.start("up", "--rehearse")
    eventually(lambda: is_running(connection, "pg_sleep(60)"))
    assert is_interrupted(interrupt(process, signal.SIGINT), signal.SIGINT)
    assert tables(connection) == []
    eventually(lambda: sessions(connection) == 0, 5)


def test_while_it_waits_for_a_tables_lock(project: Project, connection: Connection, other: Connection) -> None:
    connection.execute("CREATE TABLE busy (id int)")
    project.migration(1, "ALTER TABLE busy ADD COLUMN more int;\n")
    with other.transaction():
        other.execute("LOCK TABLE busy")
        process = project.start("up", "--lock-timeout", "1min")
        eventually(lambda: is_running(connection, "ALTER TABLE busy"))
        assert is_interrupted(interrupt(process, signal.SIGTERM), signal.SIGTERM)
    assert applied(connection) == []


def test_while_it_waits_for_another_run(project: Project, connection: Connection, other: Connection) -> None:
    project.three_tables()
    other.execute("SELECT pg_advisory_lock(%s)", [lock_key(config_from({}))])
    process = project.start("up")
    eventually(lambda: sessions(connection) > 0)
    time.sleep(0.5)
    done = interrupt(process, signal.SIGTERM)
    assert (done.code, done.err.splitlines()[0]) == (143, "error: interrupted by SIGTERM")
    assert "Traceback" not in done.err
    assert applied(connection) == []
    eventually(lambda: sessions(connection) == 0, 5)
    # The lock is the other's still, and nobody holds it after that.
    assert other.execute("SELECT pg_advisory_unlock(%s)", [lock_key(config_from({}))]).fetchone() == (True,)
    project.succeed("up")


def test_while_it_connects_to_a_server_that_never_answers(project: Project) -> None:
    project.three_tables()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port: int = silent.getsockname()[1]
        process = project.start("up", "--database", f"host=127.0.0.1 port={port}")
        client, _ = silent.accept()
        with client:
            start = time.monotonic()
            done = interrupt(process, signal.SIGINT)
    assert time.monotonic() - start < 3
    assert (done.code, done.err.splitlines()[0]) == (130, "error: interrupted by SIGINT")


def test_before_python_has_got_to_it(project: Project, connection: Connection) -> None:
    """However early a signal comes, there is no traceback and nothing is done."""
    project.three_tables()
    for delay in (0.12, 0.2, 0.28, 0.36):
        process = project.start("up", "--rehearse")
        time.sleep(delay)
        done = interrupt(process, signal.SIGTERM)
        assert done.code in (0, 143, -signal.SIGTERM)
        assert "Traceback" not in done.err
    assert tables(connection) == []


def test_an_index_that_was_being_built_concurrently(
    project: Project, connection: Connection, other: Connection
) -> None:
    connection.execute("CREATE TABLE busy (id int)")
    connection.execute("INSERT INTO busy VALUES (1)")
    project.migration(1, "CREATE INDEX CONCURRENTLY busy_id ON busy (id);\n", "DROP INDEX CONCURRENTLY busy_id;\n")
    with other.transaction():
        other.execute("INSERT INTO busy VALUES (2)")
        process = project.start("up")
        eventually(lambda: is_running(connection, "CREATE INDEX CONCURRENTLY"))
        done = interrupt(process, signal.SIGTERM)
        assert (done.code, done.err.splitlines()[0]) == (143, "error: interrupted by SIGTERM"), done
    eventually(lambda: sessions(connection) == 0, 5)
    assert applied(connection) == []
    assert project.run("status", "--check").code == 4
    assert "(pending, up interrupted at statement 1)" in project.succeed("status")
    project.succeed("up")
    assert applied(connection) == [1]
    assert value(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'busy_id'::regclass") is True


def test_a_kill_leaves_nothing_but_the_committed(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.migration(2, "CREATE TABLE t2 (id int);\nSELECT pg_sleep(60);\n")
    process = project.start("up")
    eventually(lambda: is_running(connection, "pg_sleep(60)"))
    process.kill()
    assert finish(process).code == -signal.SIGKILL
    # The server looks every half second whether its client is there still.
    eventually(lambda: sessions(connection) == 0, 10)
    assert (applied(connection), tables(connection)) == ([1], ["t1"])


def test_what_was_committed_before_the_signal_is_told_as_done(project: Project, connection: Connection) -> None:
    """The client sleeps while the server commits the first migration and begins the second."""
    project.three_tables()
    project.migration(1, "CREATE TABLE t1 (id int);\nSELECT pg_sleep(0.5);\n")
    project.migration(2, "SELECT pg_sleep(60);\n")
    process = project.start("up")
    eventually(lambda: is_running(connection, "pg_sleep(0.5)"))
    process.send_signal(signal.SIGSTOP)
    eventually(lambda: is_running(connection, "pg_sleep(60)"))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    done = finish(process)
    assert applied(connection) == [1]
    assert is_interrupted(done, signal.SIGTERM), done
    assert "✓ 000001_m1.up.sql" in done.out
    assert done.out.endswith("✗ 000002_m2.up.sql\n1 done before the error, 1 not begun.\n")
    assert " 2 m2 " in project.succeed("history").splitlines()[0]

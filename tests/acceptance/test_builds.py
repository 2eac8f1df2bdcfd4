"""Indexes built concurrently beside others: what is shown meanwhile, how long others are waited for, what is left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.rows import TupleRow

from whimbrel.config import config_from
from whimbrel.events import Event, StatementRunning
from whimbrel.execution import operations
from whimbrel.execution.opening import Session
from whimbrel.source import read_migrations

from .programs import Project, eventually, finish, interrupt, is_running, sessions, value
from .terminals import terminal

Connection = psycopg.Connection[TupleRow]
BUILD = "CREATE INDEX CONCURRENTLY orders_note ON orders (note);\n"
SLOW = """\
CREATE FUNCTION slow(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
$$BEGIN PERFORM pg_sleep(0.001); RETURN $1; END$$;
"""
WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


@pytest.fixture
def orders(project: Project) -> Project:
    """Give a project with a table, whose second migration builds an index."""
    project.migration(
        1,
        "CREATE TABLE orders (id int, note text);\nINSERT INTO orders SELECT n, n FROM generate_series(1, 1000) AS n;\n"
        + SLOW,
    )
    project.succeed("up")
    project.migration(2, BUILD)
    return project


@contextmanager
def writer(project: Project) -> Generator[Connection]:
    """Hold a transaction open that has written to the table."""
    assert project.database is not None
    with psycopg.connect(project.database, application_name="psql") as holder:
        holder.execute("UPDATE orders SET note = 'a secret' WHERE id = 7")
        yield holder


@contextmanager
def snapshot(project: Project) -> Generator[Connection]:
    """Hold a snapshot, and no lock on the table: a build waits for it, to drop its index nobody has to."""
    assert project.database is not None
    with psycopg.connect(project.database, application_name="report") as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT 1")
        yield holder


def indexes(connection: Connection) -> list[tuple[str, bool]]:
    """Return the table's indexes, and whether they are valid."""
    rows = connection.execute(
        "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'orders'::regclass ORDER BY 1"
    )
    return [(str(name), bool(is_valid)) for name, is_valid in rows]


def journal(connection: Connection) -> int:
    """Return how many statements are journalled."""
    count = value(connection, "SELECT count(*) FROM schema_migrations_journal")
    assert isinstance(count, int)
    return count


def is_waiting(connection: Connection) -> Callable[[], bool]:
    return lambda: connection.execute(WAITING.encode()).fetchone() is not None


# What is shown


def test_a_build_that_waits_for_a_writer_names_it_and_goes_on_when_it_ends(orders: Project) -> None:
    with writer(orders) as holder, terminal(orders, "up", variables={"COLUMNS": "160"}) as screen:
        screen.wait_for("waiting for writers before build")
        screen.wait_for(
            f"  waiting for psql (process {holder.info.backend_pid}, local socket), idle in transaction for "
        )
        screen.wait_for(": UPDATE orders SET note = '…' WHERE id = 7")
        holder.commit()
        assert screen.end() == 0
    assert "a secret" not in screen.text
    assert screen.plain.endswith("Applied 1 migration.\n")


def test_the_same_without_a_terminal_is_a_line(orders: Project) -> None:
    with writer(orders) as holder:
        pid = holder.info.backend_pid
        process = orders.start("up")
        assert process.stdout is not None
        line = ""
        while "waiting" not in line:
            line = process.stdout.readline()
            assert line
        holder.rollback()
        done = finish(process)
    start, _, end = line.rstrip("\n").partition(f"psql (process {pid}, local socket), ")
    assert start.startswith("  000002_m2.up.sql has been running for ")
    assert start.endswith(" s, waiting for writers before build: ")
    assert end.startswith("idle in transaction for ")
    assert end.endswith(": UPDATE orders SET note = '…' WHERE id = 7")
    assert (done.code, done.err) == (0, "")


def test_a_long_build_shows_its_phase_and_how_far_it_is(orders: Project, connection: Connection) -> None:
    connection.execute("INSERT INTO orders SELECT n, repeat('x', 100) FROM generate_series(1, 1500) AS n")
    orders.migration(2, "CREATE INDEX CONCURRENTLY orders_note ON orders (slow(note));\n")
    with terminal(orders, "up") as screen:
        screen.wait_for("  building index: scanning table  ━")
        screen.wait_for("%, about ")
        screen.wait_for(" s left")
        assert screen.end() == 0


def test_what_has_no_encoding_for_it_is_shown_in_plain_characters(orders: Project, connection: Connection) -> None:
    connection.execute("INSERT INTO orders SELECT n, repeat('x', 100) FROM generate_series(1, 1500) AS n")
    orders.migration(2, "SELECT 1;\n")
    orders.migration(3, "CREATE INDEX CONCURRENTLY orders_note ON orders (slow(note));\n", name="größe")
    with terminal(orders, "up", variables={"PYTHONIOENCODING": "ascii", "COLUMNS": "40"}) as screen:
        screen.wait_for("building index: scanning table  #")
        assert screen.end() == 0
    assert screen.text.isascii()


def test_a_watching_session_that_is_terminated_does_not_disturb_the_run(
    orders: Project, connection: Connection
) -> None:
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'whimbrel: watch'"
    )
    with writer(orders) as holder:
        process = orders.start("up")
        eventually(lambda: connection.execute(query.encode()).fetchone() is not None)
        assert process.stdout is not None
        while "cannot be shown any more" not in process.stdout.readline():
            assert process.poll() is None
        holder.rollback()
        done = finish(process)
    assert (done.code, done.err) == (0, "")
    assert indexes(connection) == [("orders_note", True)]


def test_a_connection_that_was_given_is_not_doubled(orders: Project, connection: Connection) -> None:
    """Nobody here knows how it was made; the time is told alone."""
    assert orders.database is not None
    events: list[Event] = []
    with writer(orders) as holder, psycopg.connect(orders.database, autocommit=True) as given:

        def listen(event: Event) -> None:
            events.append(event)
            if isinstance(event, StatementRunning):
                holder.rollback()

        config = config_from({"database": orders.database, "lock_budget": "1ms"})
        session = Session(given, config, "here", "18")
        result = operations.up(session, read_migrations(orders.migrations), emit=listen)
        assert sessions(connection) <= 1
    assert result.error is None
    (running,) = [event for event in events if isinstance(event, StatementRunning)]
    assert (running.sql, running.phase, running.blockers) == (BUILD.strip(";\n"), None, ())


# The budget


def test_when_the_budget_is_over_the_index_that_is_left_is_named(orders: Project, connection: Connection) -> None:
    """The writer keeps it from being dropped, too."""
    with writer(orders) as holder:
        error = orders.fail(5, "up", "--lock-budget", "1s")
        process = holder.info.backend_pid
        assert indexes(connection) == [("orders_note", False)]
        assert journal(connection) == 1
    lines = error.splitlines()
    assert lines[0].startswith("error: migrations/000002_m2.up.sql:1:1: waited ")
    assert lines[0].endswith(" s for other transactions, and gave up")
    (detail,) = [line for line in lines if line.startswith("Detail: ")]
    assert f"In the way: psql (process {process}, local socket), idle in transaction for " in detail
    assert detail.endswith(
        "The statement was cancelled. An invalid index was left: public.orders_note. No query uses it, and it costs"
        " writes until it is gone. The next run removes it; by hand: DROP INDEX CONCURRENTLY public.orders_note;"
    )
    assert f"To end the first one: SELECT pg_terminate_backend({process});" in error
    orders.succeed("up")
    assert indexes(connection) == [("orders_note", True)]


def test_when_the_budget_is_over_nothing_is_left_where_that_can_be(orders: Project, connection: Connection) -> None:
    with snapshot(orders) as holder:
        orders.migration(2, f"-- whimbrel: lock_budget = 1s\n{BUILD}")
        error = orders.fail(5, "up")
        assert f"In the way: report (process {holder.info.backend_pid}, local socket), idle in transaction" in error
        assert "The invalid index that it left was dropped: public.orders_note." in error
        assert (indexes(connection), journal(connection)) == ([], 0)
    orders.succeed("up")


def test_a_budget_of_nothing_is_no_bound(orders: Project, connection: Connection) -> None:
    with writer(orders) as holder:
        process = orders.start("up", "--lock-budget", "0", "--json")
        assert process.stdout is not None
        seen = 0
        while seen < 2:
            line = process.stdout.readline()
            assert line
            seen += '"statement_running"' in line
        holder.rollback()
        assert finish(process).code == 0
    assert indexes(connection) == [("orders_note", True)]


def test_a_build_that_works_uses_nothing_of_the_budget(orders: Project, connection: Connection) -> None:
    connection.execute("INSERT INTO orders SELECT n, n FROM generate_series(1, 1000) AS n")
    orders.migration(2, "CREATE INDEX CONCURRENTLY orders_note ON orders (slow(note));\n")
    assert '"statement_running"' in orders.succeed("up", "--lock-budget", "1ms", "--json")
    assert indexes(connection) == [("orders_note", True)]


def test_dropping_and_reindexing_and_detaching_have_the_budget_too(orders: Project, connection: Connection) -> None:
    connection.execute(
        "CREATE INDEX orders_note ON orders (note); CREATE TABLE p (n int) PARTITION BY LIST (n);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)"
    )
    with writer(orders) as holder:
        holder.execute("SELECT FROM p")
        orders.migration(2, "ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY;\n")
        error = orders.fail(5, "up", "--lock-budget", "1s")
        assert "The detach is pending: no rows go to the partition any more. The next run finishes it." in error
    orders.succeed("up")
    with writer(orders):
        orders.migration(3, "REINDEX INDEX CONCURRENTLY orders_note;\n")
        error = orders.fail(5, "up", "--lock-budget", "1s")
        assert "An invalid index was left: public.orders_note_ccnew." in error
    orders.succeed("up")
    assert indexes(connection) == [("orders_note", True)]
    with writer(orders):
        orders.migration(4, "DROP INDEX CONCURRENTLY orders_note;\n")
        error = orders.fail(5, "up", "--lock-budget", "1s")
        assert (
            "The index is invalid by now: no query uses it, and it costs writes until the next run drops it." in error
        )
    orders.succeed("up")
    assert indexes(connection) == []


def test_the_next_run_shows_for_whom_the_clearing_up_waits(orders: Project, connection: Connection) -> None:
    """The budget holds for that as well."""
    with writer(orders) as holder:
        orders.fail(5, "up", "--lock-budget", "1s")
        done = orders.run("up", "--lock-budget", "1s", "--json")
        assert done.code == 5
        assert '"sql": "DROP INDEX CONCURRENTLY IF EXISTS public.orders_note"' in done.out
        assert f'"pid": {holder.info.backend_pid}' in done.out
    orders.succeed("up")
    assert indexes(connection) == [("orders_note", True)]


# What a failure leaves


def test_a_build_that_finds_duplicates_leaves_no_invalid_index(orders: Project, connection: Connection) -> None:
    orders.migration(2, BUILD.replace("INDEX", "UNIQUE INDEX", 1))
    connection.execute("INSERT INTO orders VALUES (0, '7')")
    error = orders.fail(1, "up")
    assert 'could not create unique index "orders_note"' in error
    assert (
        "Detail: Key (note)=(7) is duplicated. The invalid index that it left was dropped: public.orders_note."
    ) in error
    assert (indexes(connection), journal(connection)) == ([], 0)
    assert "interrupted" not in orders.succeed("status")
    connection.execute("DELETE FROM orders WHERE id = 0")
    orders.succeed("up")
    assert indexes(connection) == [("orders_note", True)]


def test_a_build_without_a_name_that_fails_leaves_none_either(orders: Project, connection: Connection) -> None:
    """And spares those that were there before it."""
    for _ in range(2):
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY ON orders ((id / 2))")
    orders.migration(2, "CREATE UNIQUE INDEX CONCURRENTLY ON orders ((id / 3));\n")
    assert "dropped: public.orders_expr_idx2." in orders.fail(1, "up")
    assert indexes(connection) == [("orders_expr_idx", False), ("orders_expr_idx1", False)]
    assert journal(connection) == 0


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
def test_a_build_that_somebody_cancels_leaves_no_invalid_index(
    orders: Project, connection: Connection, how: str
) -> None:
    timeout = "-- whimbrel: statement_timeout = 3s\n" if how == "timeout" else ""
    orders.migration(2, timeout + BUILD)
    with snapshot(orders):
        process = orders.start("up")
        eventually(is_waiting(connection))
        if how == "cancelled":
            connection.execute(f"SELECT pg_cancel_backend(pid) FROM ({WAITING}) AS waiting".encode())
        done = finish(process)
        assert done.code == 1
        assert "canceling statement due to " in done.err
        assert "The invalid index that it left was dropped: public.orders_note." in done.err
        assert (indexes(connection), journal(connection)) == ([], 0)
    orders.succeed("up")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_interrupted_leaves_no_invalid_index_where_that_can_be(
    orders: Project, connection: Connection, signum: signal.Signals
) -> None:
    with snapshot(orders):
        process = orders.start("up")
        eventually(is_waiting(connection))
        done = interrupt(process, signum)
        assert done.code == 128 + signum
        assert "The invalid index that it left was dropped: public.orders_note." in done.err
        assert (indexes(connection), journal(connection)) == ([], 0)
    orders.succeed("up")


def test_a_build_that_is_interrupted_behind_a_writer_says_what_is_left(orders: Project, connection: Connection) -> None:
    with writer(orders):
        process = orders.start("up")
        eventually(is_waiting(connection))
        done = interrupt(process, signal.SIGINT)
        assert done.code == 130
        assert "An invalid index was left: public.orders_note." in done.err
    assert "interrupted at statement 1" in orders.succeed("status")
    orders.succeed("up")
    assert indexes(connection) == [("orders_note", True)]


def test_a_second_signal_ends_the_clearing_up(orders: Project, connection: Connection) -> None:
    with writer(orders):
        process = orders.start("up")
        eventually(is_waiting(connection))
        process.send_signal(signal.SIGINT)
        eventually(lambda: is_running(connection, "DROP INDEX CONCURRENTLY"))
        process.send_signal(signal.SIGINT)
        done = finish(process)
        assert done.code == 130
        assert "Traceback" not in done.err
    eventually(lambda: sessions(connection) == 0)
    orders.succeed("up")
    assert indexes(connection) == [("orders_note", True)]


def test_a_reindex_that_fails_drops_its_copies_and_no_others(orders: Project, connection: Connection) -> None:
    connection.execute("CREATE INDEX orders_note ON orders (note); CREATE INDEX orders_id_ccnew ON orders (id)")
    connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_id_ccnew'::regclass")
    orders.migration(2, "REINDEX INDEX CONCURRENTLY orders_note;\n")
    with snapshot(orders):
        error = orders.fail(5, "up", "--lock-budget", "1s")
        assert "The invalid index that it left was dropped: public.orders_note_ccnew." in error
        assert indexes(connection) == [("orders_id_ccnew", False), ("orders_note", True)]
        assert journal(connection) == 0


def test_an_index_that_was_invalid_before_is_not_dropped(orders: Project, connection: Connection) -> None:
    """It is said how to, with its schema and quoted."""
    connection.execute('CREATE SCHEMA "Shop"; CREATE TABLE "Shop".orders AS TABLE orders')
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute('CREATE UNIQUE INDEX CONCURRENTLY "By Note" ON "Shop".orders ((id / 2))')
    orders.migration(2, 'CREATE INDEX CONCURRENTLY IF NOT EXISTS "By Note" ON "Shop".orders (note);\n')
    for _ in range(2):
        error = orders.fail(1, "up")
        assert 'DROP INDEX CONCURRENTLY "Shop"."By Note";' in error
        assert value(connection, INVALID) == 1
    connection.execute('DROP INDEX CONCURRENTLY "Shop"."By Note"')
    orders.succeed("up")


def test_what_a_build_leaves_is_not_dropped_while_somebody_works_on_the_table(
    orders: Project, connection: Connection
) -> None:
    """It may be theirs; the next run looks again."""
    orders.migration(2, BUILD.replace("INDEX", "UNIQUE INDEX", 1))
    connection.execute("INSERT INTO orders SELECT n, 'double' FROM generate_series(1, 2) AS n")
    assert orders.database is not None
    lock = b"LOCK TABLE orders IN SHARE UPDATE EXCLUSIVE MODE"
    with psycopg.connect(orders.database, application_name="nightly") as other:
        with writer(orders) as holder:
            process = orders.start("up")
            eventually(is_waiting(connection))
            queued = threading.Thread(target=other.execute, args=[lock])
            queued.start()
            eventually(lambda: is_running(connection, lock.decode()))
            holder.rollback()
            done = finish(process)
        queued.join()
        assert done.code == 1
        assert "An invalid index was left: public.orders_note." in done.err
        assert indexes(connection) == [("orders_note", False)]
    connection.execute("DELETE FROM orders WHERE note = 'double'")
    orders.succeed("up")
    assert indexes(connection) == [("orders_note", True)]

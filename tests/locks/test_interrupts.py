"""SIGINT, SIGTERM and SIGKILL where a run stands on the ladder: it ends quickly, and no lock stays behind."""

from __future__ import annotations

import signal

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project, eventually, value

from .remains import assert_untouched, columns, log
from .sampler import DISPLACING, STRONG
from .sessions import holding
from .vacuums import begin_vacuum, workers
from .watched import Run, watching

Connection = psycopg.Connection[TupleRow]
ALTER = "ALTER TABLE busy ADD COLUMN more int;\n"
HIDDEN = f"DO $$ BEGIN EXECUTE '{ALTER.strip()}'; END $$;\n"
# Far below what the run would wait without the signal.
QUICKLY = 20.0
SIGNALS = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])


def await_queued(connection: Connection, mode: str) -> None:
    """Wait until somebody queues for the table."""
    query = f"SELECT count(*) FROM pg_locks WHERE relation = 'busy'::regclass AND mode = '{mode}' AND NOT granted"
    eventually(lambda: value(connection, query) == 1)


def assert_ends(run: Run, signum: signal.Signals) -> None:
    """Send the signal; the run has to end soon, with its exit code and one sentence."""
    run.signal(signum)
    ended = run.finish(QUICKLY)
    assert ended.code == 128 + signum
    assert ended.error["message"] == f"interrupted by {signum.name}"
    assert ended.err.startswith(f"error: interrupted by {signum.name}\n")
    assert len(ended.of("error")) == 1


@SIGNALS
def test_while_it_only_looks(
    project: Project, connection: Connection, dsn: str, busy: str, signum: signal.Signals
) -> None:
    project.three_tables()
    project.migration(2, ALTER)
    with holding(dsn, "SELECT FROM busy"), watching(project, "up") as run:
        run.next("lock_awaited")
        assert_ends(run, signum)
        assert_untouched(connection, versions=(1,))
    assert log(connection)[0] == (1, "up", "succeeded", None)
    project.succeed("up")
    assert columns(connection, busy) == ["id", "more"]


@SIGNALS
def test_while_it_pauses_between_two_attempts(
    project: Project, connection: Connection, dsn: str, busy: str, signum: signal.Signals
) -> None:
    """After an attempt of three seconds the pause is thirty."""
    project.migration(1, HIDDEN)
    with holding(dsn, "SELECT FROM busy"), watching(project, "up", "--lock-timeout", "3s") as run:
        assert run.next("lock_awaited")["pause_ms"] >= 30_000
        assert_ends(run, signum)
        assert_untouched(connection)


@SIGNALS
@pytest.mark.parametrize("lock", ["session", "transaction"])
def test_while_an_attempt_waits(
    project: Project, connection: Connection, dsn: str, busy: str, signum: signal.Signals, lock: str
) -> None:
    project.migration(1, f"CREATE TABLE t1 (id int);\n{HIDDEN}")
    with (
        holding(dsn, "SELECT FROM busy"),
        watching(project, "up", "--lock-timeout", "10min", "--lock", lock) as run,
    ):
        await_queued(connection, STRONG)
        assert_ends(run, signum)
        assert_untouched(connection)
        assert value(connection, "SELECT to_regclass('t1')") is None


@SIGNALS
def test_while_an_autovacuum_is_made_to_give_way(
    vacuumed: Connection, vacuumed_project: Project, role: str, signum: signal.Signals
) -> None:
    """Here the server takes a minute before it cancels the vacuum; the vacuum goes on."""
    vacuumed.execute(f"ALTER DATABASE {vacuumed.info.dbname} SET deadlock_timeout = '1min'".encode())
    begin_vacuum(vacuumed, "busy", owner=role)
    before = workers(vacuumed, "busy")
    vacuumed_project.migration(1, ALTER)
    with watching(vacuumed_project, "up") as run:
        await_queued(vacuumed, DISPLACING)
        assert_ends(run, signum)
    assert workers(vacuumed, "busy") == before
    assert_untouched(vacuumed)


@pytest.mark.parametrize("is_pausing", [True, False], ids=["pause", "attempt"])
def test_a_killed_run_leaves_no_lock(
    project: Project, connection: Connection, dsn: str, busy: str, is_pausing: bool
) -> None:
    """The server finds out that the client is gone, and the table is free although the blocker still is there."""
    project.migration(1, HIDDEN)
    # On PostgreSQL 13, which does not look whether the client is there, the attempt ends by itself.
    timeout = "1s" if is_pausing else "5s"
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up", "--lock-timeout", timeout) as run:
        if is_pausing:
            run.next("lock_awaited")
        else:
            await_queued(connection, STRONG)
        run.signal(signal.SIGKILL)
        assert run.process.wait(QUICKLY) == -signal.SIGKILL
        assert_untouched(connection)
        locks = (
            f"SELECT array_agg(DISTINCT pid) FROM pg_locks WHERE relation = 'busy'::regclass AND pid <> {holder.pid}"
        )
        assert value(connection, locks) is None
        connection.execute("SET lock_timeout = '1ms'")
        connection.execute("SELECT FROM busy")
    project.succeed("up")
    assert columns(connection, busy) == ["id", "more"]
    assert log(connection) == [(1, "up", "succeeded", None)]

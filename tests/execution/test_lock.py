"""Several runs at once: one works, the others wait without standing in its way."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import psycopg
import pytest

from whimbrel import database
from whimbrel.config import config_from
from whimbrel.errors import LockNotObtained
from whimbrel.events import LockHeld

from .conftest import Project

FILES = {
    "1_a.up.sql": "CREATE TABLE a (n int); INSERT INTO a SELECT generate_series(1, 1000);",
    "2_b.up.sql": "CREATE INDEX CONCURRENTLY a_n ON a (n);",
    "3_c.up.sql": "INSERT INTO a VALUES (0);",
}


def command(project: Project, *arguments: str) -> list[str]:
    """Return the command line of an up in a process of its own."""
    where = ["--database", project.dsn, "--migrations", str(project.folder)]
    return [sys.executable, "-m", "whimbrel", "up", *where, *arguments]


def test_eight_runs_at_once_apply_each_migration_once(project: Project) -> None:
    """Among them a concurrent index build, which a blocked waiter would deadlock."""
    project.write(FILES)

    processes = [
        subprocess.Popen(command(project), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(8)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in processes]

    assert [process.returncode for process in processes] == [0] * 8, outputs
    assert project.applied() == [1, 2, 3]
    assert project.value("SELECT count(*) FROM a WHERE n = 0") == 1
    assert project.value("SELECT count(*) FROM schema_migrations_log") == 3
    assert sum("✓ 1_a.up.sql" in output for output in outputs) == 1


def test_a_run_that_does_not_get_the_lock_in_time_names_the_holder(project: Project) -> None:
    """Nothing is changed by it."""
    project.write(FILES)
    project.settings["lock_wait"] = "0"
    with psycopg.connect(project.dsn, autocommit=True, application_name="the other one") as holder:
        pid = holder.info.backend_pid
        holder.execute("SELECT pg_advisory_lock(%s)", [database.lock_key(config_from({}))])

        with pytest.raises(LockNotObtained) as caught:
            project.up()

    assert caught.value.message == f"another run holds the lock (process {pid})"
    assert caught.value.detail is not None
    assert caught.value.detail.startswith("It is the other one from local socket")
    assert project.applied() == []


def test_a_run_waits_for_the_lock_and_shows_who_holds_it(project: Project) -> None:
    """And then does what is left."""
    project.write(FILES)
    holder = psycopg.connect(project.dsn, autocommit=True)
    holder.execute("SELECT pg_advisory_lock(%s)", [database.lock_key(config_from({}))])
    seen = threading.Event()
    thread = threading.Thread(target=lambda: (seen.wait(30), holder.close()))
    thread.start()

    with (
        project.session() as session,
        database.hold_lock(
            session.connection,
            database.lock_key(session.config),
            30,
            lambda event: seen.set() if isinstance(event, LockHeld) else None,
        ) as waited,
    ):
        assert waited
    thread.join()
    assert seen.is_set()


def test_no_lock_is_taken_where_nothing_is_pending(project: Project) -> None:
    """A long migration elsewhere keeps no up-to-date application from starting."""
    project.write(FILES)
    project.up()
    project.settings["lock_wait"] = "0"
    with psycopg.connect(project.dsn, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [database.lock_key(config_from({}))])

        assert project.up().finished == ()


def test_the_lock_is_given_back_after_success_and_after_failure(project: Project) -> None:
    """Also where a migration took and kept advisory locks of its own."""
    project.write({"1_a.up.sql": "SELECT pg_advisory_lock(5);", "2_b.up.sql": "SELECT 1/0;"})
    key = database.lock_key(config_from({}))

    with project.session() as session:
        from whimbrel.execution import operations

        operations.up(session, project.source())
        with psycopg.connect(project.dsn, autocommit=True) as other:
            assert other.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone() == (True,)


def test_a_killed_run_frees_the_lock_and_leaves_nothing(project: Project) -> None:
    """Its statement is cancelled by the server, which looks whether the client is still there."""
    if project.connection.info.server_version < 140000:
        pytest.skip("client_connection_check_interval came with PostgreSQL 14")
    project.write({"1_a.up.sql": "CREATE TABLE a ();", "2_b.up.sql": "CREATE TABLE b (); SELECT pg_sleep(600);"})
    process = subprocess.Popen(command(project), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sleeping = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"
    )
    while project.value(sleeping) != 1:
        time.sleep(0.02)
    process.kill()
    process.wait()
    project.write({"2_b.up.sql": "CREATE TABLE b ();"})

    result = project.up()

    assert result.error is None
    assert project.applied() == [1, 2]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("ALTER ROLE a PASSWORD 'it''s secret' VALID UNTIL 'x'", "ALTER ROLE a PASSWORD '…' VALID UNTIL '…'"),
        (r"SELECT E'sec\'ret', e'a''b'", "SELECT '…', '…'"),
        ("DO $body$ BEGIN secret 'x'; END $body$", "DO '…'"),
        ("SELECT 'cut off sec", "SELECT '…'"),
        ("SELECT $$cut off sec", "SELECT '…'"),
        ("SELECT a FROM b", "SELECT a FROM b"),
    ],
)
def test_the_texts_in_a_holders_query_are_not_shown(query: str, shown: str) -> None:
    assert database.hide_texts(query) == shown

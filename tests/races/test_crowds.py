"""Two, eight and thirty replicas of an application that migrate one empty database at their start-up."""

from __future__ import annotations

import threading

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from ..acceptance.programs import Project, eventually, is_running
from .crowd import deadlocks, gather, run_at_once
from .killed import waiting

Connection = psycopg.Connection[TupleRow]


@pytest.mark.parametrize("concurrent", [False, True], ids=["in transactions", "with a concurrent build"])
@pytest.mark.parametrize("processes", [2, 8, 30])
def test_each_migration_is_applied_once_and_every_run_ends_well(
    project: Project, connection: Connection, processes: int, concurrent: bool
) -> None:
    """There is no history table yet when they all look for it."""
    outcome = gather(project, connection, processes, concurrent=concurrent)

    assert outcome.codes == {0: processes}, outcome.done
    assert outcome.applied_once, outcome
    assert (outcome.deadlocks, outcome.invalid_indexes) == (0, 0)
    assert [each.err for each in outcome.done if each.err] == []
    assert sum("Applied 4 migrations." in each.out for each in outcome.done) == 1
    assert sum("Nothing to do" in each.out for each in outcome.done) == processes - 1


def test_a_deadlock_would_be_counted(connection: Connection, other: Connection, dsn: str) -> None:
    """The deadlock is the one that waiting inside pg_advisory_lock leads to, so the zero above means something."""
    connection.execute("CREATE TABLE a (n int)")
    connection.execute("SELECT pg_advisory_lock(1)")
    with psycopg.connect(dsn, autocommit=True) as waiter:

        def wait() -> None:
            try:
                waiter.execute("SELECT pg_advisory_lock(1)")
            except psycopg.errors.DeadlockDetected:
                victims.append("waiter")

        victims: list[str] = []
        thread = threading.Thread(target=wait)
        thread.start()
        eventually(lambda: is_running(other, "SELECT pg_advisory_lock(1)"))
        eventually(lambda: waiting(other) == 1)
        try:
            connection.execute("CREATE INDEX CONCURRENTLY i ON a (n)")
        except psycopg.errors.DeadlockDetected:
            victims.append("build")
        connection.execute("SELECT pg_advisory_unlock_all()")
        thread.join()
    connection.close()

    assert len(victims) == 1
    eventually(lambda: deadlocks(other) == 1)


def test_a_missing_database_is_created_by_one_of_many(project: Project, dsn: str) -> None:
    """All of them may ask for it."""
    project.three_tables()
    missing = dsn.replace("throwaway_", "created_by_one_")
    commands = [("up", "--create-database", "--database", missing)] * 8
    try:
        done = run_at_once(project, commands)
        assert [each.code for each in done] == [0] * 8, done
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            name = conninfo_to_dict(missing)["dbname"]
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())

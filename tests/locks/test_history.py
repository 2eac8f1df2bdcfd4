"""What the history knows of a migration that was tried several times: how it ended, once."""

from __future__ import annotations

import json
from datetime import datetime

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project, value

from .remains import log
from .sessions import holding
from .watched import watching

Connection = psycopg.Connection[TupleRow]
ALTER = "ALTER TABLE busy ADD COLUMN more int;\n"
HIDDEN = f"DO $$ BEGIN EXECUTE '{ALTER.strip()}'; END $$;\n"


@pytest.mark.parametrize("lock", ["session", "transaction"])
@pytest.mark.parametrize("migration", [ALTER, HIDDEN], ids=["seen", "hidden"])
def test_one_success_whose_time_is_that_of_the_last_attempt(
    project: Project, connection: Connection, dsn: str, busy: str, migration: str, lock: str
) -> None:
    project.migration(1, migration)
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up", "--lock", lock) as run:
        run.next("lock_awaited")
        freed = value(connection, "SELECT clock_timestamp()")
        assert isinstance(freed, datetime)
        holder.end()
        ended = run.finish()
    assert ended.code == 0
    assert log(connection) == [(1, "up", "succeeded", None)]
    begun, took = connection.execute(
        "SELECT l.started_at, m.duration_ms FROM schema_migrations_log AS l JOIN schema_migrations AS m USING (version)"
    ).fetchall()[0]
    # Attempts before were rolled back, and the time that they waited with them.
    assert begun > freed
    assert took == pytest.approx(ended.of("step_finished")[0]["duration_ms"], abs=1000)
    assert len(project.succeed("history").splitlines()) == 1


def test_one_failure_with_what_was_in_the_way(project: Project, connection: Connection, dsn: str, busy: str) -> None:
    """Both runs are in the log, each with a number of its own."""
    project.migration(1, ALTER)
    with holding(dsn, "SELECT FROM busy", application="report of app 7"):
        project.fail(5, "up", "--lock-budget", "1s")
        project.fail(5, "up", "--lock-budget", "1s")
    assert log(connection) == [(1, "up", "failed", "55P03")] * 2
    assert value(connection, "SELECT count(DISTINCT run) FROM schema_migrations_log") == 2
    attempts = json.loads(project.succeed("history", "--json"))["attempts"]
    assert {each["sqlstate"] for each in attempts} == {"55P03"}
    assert all("busy" in each["message"] for each in attempts)
    waited = connection.execute("SELECT finished_at - started_at FROM schema_migrations_log").fetchall()
    # From the first look at the table up to the end of the budget.
    assert all(each[0].total_seconds() >= 0.5 for each in waited), waited
    project.succeed("up")
    assert log(connection)[-1] == (1, "up", "succeeded", None)


def test_nothing_is_written_while_it_is_tried(project: Project, connection: Connection, dsn: str, busy: str) -> None:
    """Neither a row nor a mark: a run that dies on the ladder has never been."""
    project.migration(1, HIDDEN)
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up") as run:
        for _ in range(3):
            run.next("lock_awaited")
            assert log(connection) == []
            assert value(connection, "SELECT count(*) FROM schema_migrations") == 0
            assert "pending" in project.succeed("status")
        holder.end()
        assert run.finish().code == 0


def test_a_victim_of_another_error_is_not_tried_again(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    """A statement timeout, or an error of the file, is none of a lock."""
    project.migration(1, "DO $$ BEGIN RAISE lock_not_available USING MESSAGE = 'the shop is open'; END $$;\n")
    done = project.run("up", "--lock-budget", "1s")
    assert done.code == 5
    assert "the shop is open" in done.err
    assert log(connection) == [(1, "up", "failed", "55P03")]
    project.migration(1, "SELECT 1 / 0;\n")
    with watching(project, "up") as run:
        ended = run.finish()
    assert (ended.code, ended.of("lock_awaited")) == (1, [])
    assert log(connection)[-1] == (1, "up", "failed", "22012")

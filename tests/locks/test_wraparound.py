"""A vacuum to prevent transaction ID wraparound is at work on the table: it does not give way, and it should not."""

from __future__ import annotations

import psycopg
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project

from .conftest import OWNER
from .remains import assert_untouched, columns, log
from .sampler import STRONG, sampling
from .vacuums import begin_wraparound_vacuum, workers
from .watched import watching

Connection = psycopg.Connection[TupleRow]
ALTER = "ALTER TABLE busy ADD COLUMN more int;\n"


def test_the_run_stops_at_once_and_says_why(vacuumed_project: Project, vacuumed: Connection, role: str) -> None:
    """Whoever may not see the worker's query is told what can be known."""
    begin_wraparound_vacuum(vacuumed, "busy", owner=role)
    before = workers(vacuumed, "busy")
    vacuumed_project.migration(1, "CREATE TABLE t1 (id int);\n")
    vacuumed_project.migration(2, ALTER)
    vacuumed_project.migration(3, "CREATE TABLE t3 (id int);\n")
    # A role from whom the query is hidden may need its budget; with the default the test would not end.
    budget = ("--lock-budget", "5s") if role == OWNER else ()
    with sampling(vacuumed.info.dsn, "busy") as sampler:
        done = vacuumed_project.run("up", *budget)
    assert done.code == 5, done
    assert f"process {before[0]}" in done.err
    assert ("wraparound" if role == "superuser" else "vacuum") in done.err
    assert "pg_terminate_backend" not in done.err
    assert done.err.startswith("error: migrations/000002_m2.up.sql:1:1: ")
    assert workers(vacuumed, "busy") == before
    assert_untouched(vacuumed, versions=(1,))
    assert log(vacuumed) == [(1, "up", "succeeded", None), (2, "up", "failed", "55P03")]
    # Readers were not held up for it; whoever knows what it is does not even try.
    assert sampler.waits_for_vacuum[STRONG] == 0
    if role == "superuser":
        assert dict(sampler.waits) == {}
        assert "wraparound" in done.err.splitlines()[0]


def test_stopping_at_once_means_no_pause(vacuumed: Connection, vacuumed_project: Project, role: str) -> None:
    if role == OWNER:
        # What it is is seen from the time that it does not give way.
        return
    begin_wraparound_vacuum(vacuumed, "busy", owner=role)
    vacuumed_project.migration(1, ALTER)
    with watching(vacuumed_project, "up") as run:
        ended = run.finish()
    assert ended.code == 5
    assert ended.of("lock_awaited") == []
    assert "finish" in f"{ended.error['detail']} {ended.error['hint']}"


def test_it_is_found_where_the_text_does_not_tell_the_table(
    vacuumed_project: Project, vacuumed: Connection, role: str
) -> None:
    begin_wraparound_vacuum(vacuumed, "busy", owner=role)
    before = workers(vacuumed, "busy")
    vacuumed_project.migration(1, f"DO $$ BEGIN EXECUTE '{ALTER.strip()}'; END $$;\n")
    done = vacuumed_project.run("up", "--lock-budget", "5s")
    assert done.code == 5, done
    assert f"process {before[0]}" in done.err
    assert ("wraparound" if role == "superuser" else "vacuum") in done.err
    assert "pg_terminate_backend" not in done.err
    assert workers(vacuumed, "busy") == before
    assert_untouched(vacuumed)


def test_what_it_does_not_hinder_is_applied(vacuumed_project: Project, vacuumed: Connection, role: str) -> None:
    begin_wraparound_vacuum(vacuumed, "busy", owner=role)
    vacuumed_project.migration(1, "INSERT INTO busy VALUES (0);\nCREATE VIEW v AS SELECT id FROM busy;\n")
    vacuumed_project.succeed("up")
    assert columns(vacuumed, "v") == ["id"]

"""An autovacuum is at work on the table: it gives way, and nobody else waits for that."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project, applied, value

from .remains import columns, log
from .sampler import DISPLACING, STRONG, sampling
from .sessions import holding
from .vacuums import begin_vacuum, workers
from .watched import watching

Connection = psycopg.Connection[TupleRow]
ALTER = "ALTER TABLE busy ADD COLUMN more int;\n"


@pytest.mark.parametrize(
    "migration",
    [
        ALTER,
        "CREATE INDEX busy_id ON busy (id);\n",
        "DROP TABLE busy;\n",
        "CREATE TABLE t1 (id int);\nINSERT INTO t1 SELECT id FROM busy;\nTRUNCATE busy;\n",
        "ALTER TABLE busy ADD CHECK (id > 0) NOT VALID;\n",
    ],
    ids=["alter", "index", "drop", "truncate", "check"],
)
def test_it_gives_way_and_no_reader_waits_for_that(
    vacuumed_project: Project, vacuumed: Connection, role: str, migration: str
) -> None:
    """A lock that readers and writers go on beside is waited for first; by then the vacuum is gone."""
    begin_vacuum(vacuumed, "busy", owner=role)
    before = workers(vacuumed, "busy")
    vacuumed_project.migration(1, migration)
    with sampling(vacuumed.info.dsn, "busy") as sampler, watching(vacuumed_project, "up") as run:
        ended = run.finish()
    assert sampler.waits_for_vacuum[STRONG] == 0
    assert sampler.waits_for_vacuum[DISPLACING] > 0
    assert (ended.code, ended.err) == (0, "")
    assert applied(vacuumed) == [1]
    assert log(vacuumed) == [(1, "up", "succeeded", None)]
    if "DROP" not in migration:
        assert not set(before) & set(workers(vacuumed, "busy"))


def test_writers_go_on_while_it_gives_way(vacuumed_project: Project, vacuumed: Connection, role: str) -> None:
    begin_vacuum(vacuumed, "busy", owner=role)
    vacuumed_project.migration(1, ALTER)
    queued = (
        f"SELECT count(*) FROM pg_locks WHERE relation = 'busy'::regclass AND mode = '{DISPLACING}' AND NOT granted"
    )
    with watching(vacuumed_project, "up") as run:
        written = 0
        vacuumed.execute("SET lock_timeout = '1ms'")
        while run.process.poll() is None:
            if value(vacuumed, queued):
                # Between the two looks it may have got the lock, and what it waits for then is the stronger one.
                with vacuumed.transaction(force_rollback=True):
                    vacuumed.execute("SAVEPOINT a")
                    try:
                        vacuumed.execute("INSERT INTO busy VALUES (0)")
                        written += 1
                    except psycopg.errors.LockNotAvailable:
                        assert not value_after_rollback(vacuumed, queued)
        assert run.finish().code == 0
    assert written > 10


def value_after_rollback(connection: Connection, query: str) -> object:
    """Return what a query has after what failed was undone."""
    connection.execute("ROLLBACK TO SAVEPOINT a")
    return value(connection, query)


def test_two_tables_with_an_autovacuum_each(vacuumed_project: Project, vacuumed: Connection, role: str) -> None:
    for table in ("busy", "other"):
        begin_vacuum(vacuumed, table, owner=role)
    vacuumed_project.migration(1, f"{ALTER}ALTER TABLE other ADD COLUMN more int;\n")
    with sampling(vacuumed.info.dsn, "busy") as first, sampling(vacuumed.info.dsn, "other") as second:
        vacuumed_project.succeed("up")
    assert (first.waits_for_vacuum[STRONG], second.waits_for_vacuum[STRONG]) == (0, 0)
    assert columns(vacuumed, "busy")[-1] == columns(vacuumed, "other")[-1] == "more"


def test_a_lock_that_the_text_does_not_tell(vacuumed_project: Project, vacuumed: Connection, role: str) -> None:
    """The first attempt runs into the vacuum, but not for longer than it may; what was in the way is then known."""
    begin_vacuum(vacuumed, "busy", owner=role)
    vacuumed_project.migration(1, f"DO $$ BEGIN EXECUTE '{ALTER.strip()}'; END $$;\n")
    with watching(vacuumed_project, "up", "--lock-timeout", "400ms") as run:
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    for look in ended.of("lock_awaited"):
        assert look["timeout_ms"] == 400
        assert [each["is_autovacuum"] for each in look["blockers"]] in ([True], [])
    assert columns(vacuumed, "busy")[-1] == "more"


def test_beside_a_long_reader_it_is_left_at_work(vacuumed_project: Project, vacuumed: Connection, role: str) -> None:
    """It would have been stopped for nothing: the table is not free without it either."""
    begin_vacuum(vacuumed, "busy", owner=role)
    before = workers(vacuumed, "busy")
    vacuumed_project.migration(1, ALTER)
    with (
        holding(vacuumed.info.dsn, "SELECT FROM busy LIMIT 1") as reader,
        sampling(vacuumed.info.dsn, "busy") as sampler,
        watching(vacuumed_project, "up") as run,
    ):
        run.next("lock_awaited")
        sampler.look_on()
        sampler.stop()
        assert (dict(sampler.waits), workers(vacuumed, "busy")) == ({}, before)
        reader.end()
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert columns(vacuumed, "busy")[-1] == "more"


def test_what_an_autovacuum_does_not_hinder_leaves_it_at_work(
    vacuumed_project: Project, vacuumed: Connection, role: str
) -> None:
    begin_vacuum(vacuumed, "busy", owner=role)
    before = workers(vacuumed, "busy")
    vacuumed_project.migration(1, "INSERT INTO busy VALUES (0);\nCREATE TABLE t1 (id int);\n")
    vacuumed_project.succeed("up")
    assert workers(vacuumed, "busy") == before


def test_a_fixed_timeout_below_the_deadlock_timeout_is_enough(
    vacuumed_project: Project, vacuumed: Connection, role: str
) -> None:
    """The server sends an autovacuum away only after deadlock_timeout, by default one second."""
    begin_vacuum(vacuumed, "busy", owner=role)
    vacuumed_project.migration(1, ALTER)
    vacuumed_project.succeed("up", "--lock-timeout", "200ms", "--lock-budget", "20s")
    assert columns(vacuumed, "busy")[-1] == "more"

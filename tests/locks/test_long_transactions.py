"""A transaction that has the table for long: nobody queues behind it, and the migration comes when it has ended."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project, applied, eventually, value
from tests.conftest import Server

from .conftest import OWNER
from .remains import assert_untouched, columns, is_free, log
from .sampler import sampling
from .sessions import APPLICATION, holding
from .watched import Document, Run, watching

Connection = psycopg.Connection[TupleRow]
ALTER = "ALTER TABLE busy ADD COLUMN more int;\n"


def await_look(run: Run) -> Document:
    """Wait until the run tells that it only looks, and return what it told."""
    look = run.next("lock_awaited")
    assert (look["attempt"], look["timeout_ms"]) == (1, None)
    return look


@pytest.mark.parametrize(
    ("statement", "busy_with", "mode", "state"),
    [
        ("SELECT FROM busy", "SELECT pg_sleep(3600)", "AccessShareLock", "active"),
        ("SELECT FROM busy", None, "AccessShareLock", "idle in transaction"),
        ("INSERT INTO busy VALUES (11)", "SELECT pg_sleep(3600)", "RowExclusiveLock", "active"),
        ("SELECT FROM busy WHERE id = 1 FOR UPDATE", None, "RowShareLock", "idle in transaction"),
    ],
    ids=["reader", "idle reader", "writer", "row lock"],
)
def test_nobody_queues_behind_a_long_transaction(
    project: Project,
    connection: Connection,
    dsn: str,
    busy: str,
    statement: str,
    busy_with: str | None,
    mode: str,
    state: str,
) -> None:
    project.migration(1, ALTER)
    with (
        holding(dsn, statement, busy_with=busy_with) as holder,
        sampling(dsn, busy) as sampler,
        watching(project, "up") as run,
    ):
        (blocker,) = await_look(run)["blockers"]
        assert (blocker["pid"], blocker["application"]) == (holder.pid, APPLICATION)
        assert (blocker["state"], blocker["mode"]) == (state, mode)
        assert blocker["relation"].removeprefix("public.") == busy
        assert blocker["age_seconds"] > 0
        assert (blocker["is_autovacuum"], blocker["is_wraparound"]) == (False, False)
        sampler.look_on()
        sampler.stop()
        assert (dict(sampler.waits), sampler.refused) == ({}, 0)
        assert columns(connection, busy) == ["id"]
        holder.end()
        ended = run.finish()
    assert (ended.code, ended.err, ended.steps) == (0, "", [1])
    assert columns(connection, busy) == ["id", "more"]
    assert log(connection) == [(1, "up", "succeeded", None)]
    eventually(lambda: is_free(connection))


def test_nobody_queues_for_a_role_that_may_not_see_how_old_a_transaction_is(
    tmp_path: Path, vacuumed: Connection
) -> None:
    """It sees that the transaction is there; that it stays there is learnt by looking twice, and not by queueing."""
    vacuumed.execute(f"CREATE TABLE busy (id int); ALTER TABLE busy OWNER TO {OWNER}".encode())
    superuser = vacuumed.info.dsn
    project = Project(tmp_path, f"{superuser.replace(f'user={vacuumed.info.user}', '')} user={OWNER}")
    project.migration(1, ALTER)
    with (
        holding(superuser, "SELECT FROM busy") as holder,
        sampling(superuser, "busy") as sampler,
        watching(project, "up") as run,
    ):
        (blocker,) = run.next("lock_awaited")["blockers"]
        sampler.look_on()
        sampler.stop()
        assert (dict(sampler.waits), sampler.refused) == ({}, 0)
        assert (blocker["pid"], blocker["application"], blocker["age_seconds"]) == (holder.pid, APPLICATION, None)
        holder.end()
        assert run.finish().code == 0


def test_the_transaction_in_the_way_is_not_disturbed(project: Project, connection: Connection, dsn: str) -> None:
    """A writer that goes on writing to the table commits, and its rows are there."""
    connection.execute("CREATE TABLE busy (id int)")
    project.migration(1, ALTER)
    with holding(dsn, "INSERT INTO busy VALUES (1)") as writer, watching(project, "up") as run:
        await_look(run)
        for number in (2, 3):
            writer.connection.execute("INSERT INTO busy VALUES (%s)", [number])
        writer.connection.execute("COMMIT")
        assert run.finish().code == 0
    assert value(connection, "SELECT array_agg(id ORDER BY id) FROM busy WHERE more IS NULL") == [1, 2, 3]


@pytest.mark.parametrize(
    ("held", "migration"),
    [
        ("SELECT FROM busy", "CREATE INDEX ON busy (id);\n"),
        ("SELECT FROM busy FOR UPDATE", "CREATE TRIGGER t BEFORE INSERT ON busy EXECUTE FUNCTION pass();\n"),
        ("INSERT INTO busy VALUES (11)", "ALTER TABLE busy VALIDATE CONSTRAINT positive;\n"),
        ("INSERT INTO busy VALUES (11)", "ALTER TABLE busy SET (fillfactor = 90);\n"),
        ("INSERT INTO busy VALUES (11)", "INSERT INTO busy VALUES (12);\n"),
        ("LOCK TABLE busy", "CREATE TABLE another (id int);\n"),
    ],
)
def test_who_is_in_nobodys_way_is_not_waited_for(
    project: Project, connection: Connection, dsn: str, busy: str, held: str, migration: str
) -> None:
    """The first attempt is made at once, and succeeds, while the other transaction is open."""
    connection.execute(
        """
        ALTER TABLE busy ADD CONSTRAINT positive CHECK (id > 0) NOT VALID;
        CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        """
    )
    project.migration(1, migration)
    with holding(dsn, held), watching(project, "up") as run:
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert ended.of("lock_awaited") == []
    assert applied(connection) == [1]


def test_a_lock_on_writers_waits_for_a_writer_only(project: Project, connection: Connection, dsn: str) -> None:
    connection.execute("CREATE TABLE busy (id int); CREATE TABLE other (id int)")
    project.migration(1, "CREATE INDEX busy_id ON busy (id);\n")
    with (
        holding(dsn, "SELECT FROM busy", application="reader"),
        holding(dsn, "INSERT INTO busy VALUES (1)", application="writer") as writer,
        holding(dsn, "INSERT INTO other VALUES (1)", application="elsewhere"),
        watching(project, "up") as run,
    ):
        assert [each["application"] for each in await_look(run)["blockers"]] == ["writer"]
        writer.end()
        assert run.finish().code == 0


@pytest.mark.parametrize(
    "migration",
    [
        "CREATE TABLE child (id int REFERENCES busy);\n",
        "INSERT INTO busy VALUES (12);\nCREATE TABLE child (id int, FOREIGN KEY (id) REFERENCES busy);\n",
        "CREATE TABLE part PARTITION OF parts FOR VALUES IN (2);\n",
        "CREATE TABLE child () INHERITS (busy);\nUPDATE child SET id = 1;\nALTER TABLE child INHERIT parts_like;\n",
    ],
    ids=["references", "foreign key", "partition", "inherits"],
)
def test_nobody_queues_for_a_new_table_that_belongs_to_an_old_one(
    project: Project, connection: Connection, dsn: str, migration: str
) -> None:
    """It locks the old one: for a partition against readers, for a foreign key against writers."""
    connection.execute(
        """
        CREATE TABLE busy (id int PRIMARY KEY);
        CREATE TABLE parts (id int) PARTITION BY LIST (id);
        CREATE TABLE part1 PARTITION OF parts FOR VALUES IN (1);
        CREATE TABLE parts_like (id int);
        """
    )
    project.migration(1, migration)
    held = "LOCK TABLE busy, parts, parts_like IN SHARE ROW EXCLUSIVE MODE"
    with (
        holding(dsn, held) as holder,
        sampling(dsn, "busy") as first,
        sampling(dsn, "parts") as second,
        watching(project, "up") as run,
    ):
        assert await_look(run)["blockers"][0]["pid"] == holder.pid
        second.look_on()
        for sampler in (first, second):
            sampler.stop()
            assert (dict(sampler.waits), sampler.refused) == ({}, 0)
        holder.end()
        assert run.finish().code == 0


def test_a_dump_is_let_finish(project: Project, server: Server, connection: Connection, dsn: str) -> None:
    """It is a real pg_dump whose reader takes its time."""
    connection.execute("CREATE TABLE busy (id int, filler text)")
    connection.execute("INSERT INTO busy SELECT n, repeat('x', 1000) FROM generate_series(1, 1000) AS n")
    project.migration(1, ALTER)
    program = server.running.bin / "pg_dump"
    with subprocess.Popen([str(program), "--dbname", dsn], stdout=subprocess.PIPE) as dump:
        eventually(
            lambda: bool(
                value(
                    connection,
                    "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                    " WHERE application_name = 'pg_dump' AND query LIKE 'COPY%' AND relation = 'busy'::regclass",
                )
            )
        )
        with sampling(dsn, "busy") as sampler, watching(project, "up") as run:
            assert [each["application"] for each in await_look(run)["blockers"]] == ["pg_dump"]
            sampler.look_on()
            sampler.stop()
            assert (dict(sampler.waits), sampler.refused) == ({}, 0)
            assert_is_waiting(connection)
            out, _ = dump.communicate(timeout=60)
            ended = run.finish()
    assert dump.returncode == 0
    assert out.count(b"x" * 1000) == 1000
    assert (ended.code, ended.err) == (0, "")
    assert columns(connection, "busy") == ["id", "filler", "more"]


def assert_is_waiting(connection: Connection) -> None:
    """Assert that nothing was changed so far, and that the run that waits has no transaction open."""
    assert columns(connection, "busy") == ["id", "filler"]
    assert applied(connection) == []
    eventually(
        lambda: (
            value(
                connection,
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE application_name LIKE 'whimbrel%' AND datname = current_database() AND state = 'idle'",
            )
            == 1
        )
    )


def test_a_run_that_only_looks_leaves_nothing_when_it_gives_up(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    project.migration(1, ALTER)
    with holding(dsn, "SELECT FROM busy"), watching(project, "up", "--lock-budget", "1s") as run:
        ended = run.finish()
        assert ended.code == 5
        assert {look["timeout_ms"] for look in ended.of("lock_awaited")} == {None}
        assert_untouched(connection)

"""The budget is used up: exit code 5, everything as before, and the message says who it was and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project, eventually, tables, value

from .remains import assert_untouched, columns, log
from .sessions import holding
from .watched import watching

Connection = psycopg.Connection[TupleRow]
ALTER = "ALTER TABLE busy ADD COLUMN more int;\n"


def test_an_idle_transaction_that_never_ends_is_named(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    project.migration(1, f"CREATE TABLE t1 (id int);\n{ALTER}")
    with holding(dsn, "SELECT id FROM busy WHERE id::text = 'a secret'", application="report of app 7") as idle:
        done = project.run("up", "--lock-budget", "3s")
        assert done.code == 5, done
        assert_untouched(connection)
        assert tables(connection) == ["busy"]
    first = done.err.splitlines()[0]
    assert first.startswith("error: migrations/000001_m1.up.sql:2:1: "), done.err
    assert "    ALTER TABLE busy ADD COLUMN more int;\n    ^\n" in done.err
    assert "everything is as it was" in done.err
    assert f"process {idle.pid}" in done.err
    assert "report of app 7" in done.err
    assert "idle in transaction" in done.err
    # Its age: it had been open before the run began, and that lasted three seconds.
    assert re.search(r"\b([3-9]|\d\d)\.\d s\b", done.err), done.err
    assert "SELECT id FROM busy WHERE id::text = " in done.err
    assert f"pg_terminate_backend({idle.pid})" in done.err
    assert "--lock-budget" in done.err
    assert "secret" not in done.err + done.out
    assert "000001_m1.up.sql" in done.out
    assert "report of app 7" in done.out
    project.succeed("up")
    assert columns(connection, busy) == ["id", "more"]
    assert log(connection) == [(1, "up", "failed", "55P03"), (1, "up", "succeeded", None)]


def test_the_error_document_says_the_same(project: Project, connection: Connection, dsn: str, busy: str) -> None:
    project.migration(1, ALTER)
    with holding(dsn, "SELECT FROM busy") as idle, watching(project, "up", "--lock-budget", "1s") as run:
        ended = run.finish()
    assert ended.code == 5
    error = ended.error
    assert (error["exit_code"], error["sqlstate"]) == (5, "55P03")
    assert error["position"] == {"file": "migrations/000001_m1.up.sql", "line": 1, "column": 1}
    assert str(idle.pid) in error["detail"]
    assert f"pg_terminate_backend({idle.pid})" in error["hint"]
    assert ended.kinds[-3:] == ["step_failed", "run_finished", "error"]
    assert ended.of("run_finished")[0]["remaining"] == 1


def test_several_blockers_are_all_named_the_oldest_first(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    project.migration(1, ALTER)
    with (
        holding(dsn, "SELECT FROM busy", application="first") as first,
        holding(dsn, "SELECT FROM busy", application="second") as second,
        holding(dsn, "INSERT INTO busy VALUES (11)", application="third") as third,
        watching(project, "up", "--lock-budget", "1s") as run,
    ):
        ended = run.finish()
    pids = [first.pid, second.pid, third.pid]
    for look in ended.of("lock_awaited"):
        assert [each["pid"] for each in look["blockers"]] == pids
    places = [ended.error["detail"].find(f"process {pid}") for pid in pids]
    assert -1 not in places
    assert places == sorted(places)


def test_a_session_with_several_locks_is_named_once(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    """It has the table for reading and for writing, as most transactions that write have, and one of its indexes."""
    connection.execute("CREATE TABLE child (id int REFERENCES busy)")
    project.migration(1, f"{ALTER}DROP TABLE child;\n")
    with (
        holding(dsn, "SELECT FROM busy", "UPDATE busy SET id = id", "SELECT FROM child") as holder,
        watching(project, "up", "--lock-budget", "1s") as run,
    ):
        ended = run.finish()
    assert ended.code == 5
    for look in ended.of("lock_awaited"):
        assert [each["pid"] for each in look["blockers"]] == [holder.pid]
    assert ended.error["detail"].count(f"process {holder.pid}") == 1


def test_a_role_without_rights_is_told_what_it_may_see(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    """Somebody else's query and state are hidden from it; the process and its application's name are not."""
    role = f"plain_{connection.info.dbname}"
    connection.execute(f"CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}".encode())
    connection.execute(f"ALTER TABLE busy OWNER TO {role}".encode())
    project.migration(1, ALTER)
    plain = Project(project.root, f"{dsn.replace('user=postgres', '')} user={role}")
    try:
        with holding(dsn, "SELECT FROM busy") as idle:
            done = plain.run("up", "--lock-budget", "1s")
            assert done.code == 5, done
            assert f"process {idle.pid}" in done.err
            # pg_stat_activity gives it instead of the query.
            assert "insufficient privilege" not in done.err + done.out
            assert_untouched(connection)
        plain.succeed("up")
    finally:
        connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}".encode())


def test_blockers_that_come_and_go_are_no_reason_to_give_up(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    """One may be gone between an attempt and the look at who it was."""
    project.migration(1, f"DO $$ BEGIN EXECUTE '{ALTER.strip()}'; END $$;\n")
    with watching(project, "up") as run:
        for _ in range(6):
            with holding(dsn, "SELECT FROM busy"):
                pass
        assert run.finish().code == 0
    assert columns(connection, busy) == ["id", "more"]


def test_a_prepared_transaction_has_no_process_and_is_named_all_the_same(tmp_path: Path, vacuumed: Connection) -> None:
    """It belongs to no session; its locks stay over a restart of the server."""
    vacuumed.execute("CREATE TABLE busy (id int)")
    vacuumed.execute("BEGIN; INSERT INTO busy VALUES (1); PREPARE TRANSACTION 'order 7'")
    project = Project(tmp_path, vacuumed.info.dsn)
    project.migration(1, ALTER)
    try:
        done = project.run("up", "--lock-budget", "1s")
        assert done.code == 5, done
        assert "prepared" in done.err
        assert "order 7" in done.err
        assert "pg_terminate_backend" not in done.err
        assert_untouched(vacuumed)
    finally:
        vacuumed.execute("ROLLBACK PREPARED 'order 7'")
    project.succeed("up")


def test_a_parallel_query_is_one_session(project: Project, connection: Connection, dsn: str) -> None:
    """Its workers hold the lock as well; it is its leader who can be ended."""
    connection.execute("CREATE TABLE busy (id int); INSERT INTO busy VALUES (1)")
    project.migration(1, ALTER)
    forced = f"SET {'debug_parallel_query' if connection.info.server_version >= 160000 else 'force_parallel_mode'} = on"
    workers = "SELECT count(*) FROM pg_stat_activity WHERE leader_pid IS NOT NULL AND datname = current_database()"
    with holding(dsn, forced, busy_with="SELECT pg_sleep(3600) FROM busy") as holder:
        eventually(lambda: value(connection, workers) == 1)
        with watching(project, "up", "--lock-budget", "1s") as run:
            ended = run.finish()
        assert ended.code == 5
        assert [each["pid"] for each in ended.of("lock_awaited")[0]["blockers"]] == [holder.pid]
        assert f"pg_terminate_backend({holder.pid})" in ended.error["hint"]

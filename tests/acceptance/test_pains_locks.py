"""What users of other tools complained about: locks, and what a run holds open beside its work."""

from __future__ import annotations

import psycopg
from psycopg.rows import TupleRow

from .programs import Project, eventually, finish, is_running, sessions, value

Connection = psycopg.Connection[TupleRow]


def test_a_concurrent_build_is_not_waited_for_by_a_session_of_ones_own(
    project: Project, connection: Connection, dsn: str
) -> None:
    """There is one session, and no transaction is open beside the build."""
    connection.execute("CREATE TABLE busy (id int)")
    project.migration(1, "CREATE INDEX CONCURRENTLY busy_id ON busy (id);\n")
    with psycopg.connect(dsn, autocommit=True) as writer:
        writer.execute("BEGIN; INSERT INTO busy VALUES (1)")
        process = project.start("up")
        eventually(lambda: is_running(connection, "CREATE INDEX CONCURRENTLY"))
        assert sessions(connection) == 1
        # What it waits for is the writer, and nobody else.
        eventually(
            lambda: (
                value(connection, "SELECT pg_blocking_pids(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'")
                == [writer.info.backend_pid]
            )
        )
        writer.execute("COMMIT")
    assert finish(process).code == 0


def test_tenants_in_one_database_do_not_wait_for_each_other(project: Project, connection: Connection) -> None:
    """The lock is that of one history."""
    project.write("one/1_x.up.sql", "CREATE TABLE one.x ();\nSELECT pg_sleep(600);\n")
    project.write("two/1_x.up.sql", "CREATE TABLE two.x ();\n")
    histories = {
        name: ("--migrations", name, "--history-table", f"{name}.schema_migrations") for name in ("one", "two")
    }
    process = project.start("up", *histories["one"])
    eventually(lambda: is_running(connection, "pg_sleep(600)"))

    project.succeed("up", "--lock-wait", "0", *histories["two"])

    assert value(connection, "SELECT to_regclass('two.x') IS NOT NULL") is True
    process.terminate()
    assert finish(process).code == 143

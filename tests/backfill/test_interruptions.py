"""A backfill that is killed, interrupted, or loses its server: the next goes on behind the last committed batch."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import psycopg
import pytest

from ..acceptance.programs import Project, eventually, finish, interrupt, sessions
from ..acceptance.servers import TcpServer
from .conftest import SLOW, STATEMENT, Connection, counts, done, make_table

# Batches of some 20 ms.
WORDS = ("backfill", "fill.sql", "--batch", "10")
MIGRATION = f"-- whimbrel: backfill = t batch = 10\n{SLOW};\n"


def test_killed_at_any_instant_it_goes_on_and_meets_no_row_twice(project: Project, connection: Connection) -> None:
    make_table(connection, 600)
    project.write("fill.sql", f"{SLOW};\n")
    for part in (1, 2, 3, 4):
        goal = part * 100 + random.randrange(50)  # noqa: S311
        process = project.start(*WORDS)
        eventually(lambda goal=goal: done(connection) >= goal)
        process.kill()
        finish(process)
        assert {changes for changes, _ in counts(connection)} == {0, 1}
    before = done(connection)
    assert before < 600
    out = project.succeed(*WORDS)
    assert out.splitlines()[-1].startswith("Done: 600 rows of public.t changed in 60 batches")
    assert counts(connection) == [(1, 600)]
    row = connection.execute(
        "SELECT walk, walked, changed, batches, finished_at IS NOT NULL FROM schema_migrations_backfill"
    )
    assert row.fetchall() == [(1, 600, 600, 60, True)]


def test_cursor_and_rows_are_committed_together(project: Project, connection: Connection) -> None:
    make_table(connection, 300)
    project.write("fill.sql", f"{SLOW};\n")
    process = project.start(*WORDS)
    eventually(lambda: done(connection) >= 100)
    process.kill()
    finish(process)
    eventually(lambda: sessions(connection) == 0)
    assert connection.execute("SELECT changed, (cursor)[1]::bigint FROM schema_migrations_backfill").fetchone() == (
        done(connection),
        done(connection),
    )


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_rolls_the_batch_under_way_back(
    project: Project, connection: Connection, signum: signal.Signals
) -> None:
    make_table(connection, 1000)
    project.write("fill.sql", f"{SLOW};\n")
    process = project.start(*WORDS)
    eventually(lambda: done(connection) >= 50)
    ended = interrupt(process, signum)
    assert ended.code == 128 + signum
    assert ended.err == (
        f"error: interrupted by {signum.name}\nDetail: The running statement was cancelled. Run the same command again:"
        " it goes on behind what is committed.\n"
    )
    eventually(lambda: sessions(connection) == 0, 5)
    assert 50 <= done(connection) < 1000
    assert done(connection) % 10 == 0


def test_a_signal_while_it_waits_for_a_row(project: Project, connection: Connection, dsn: str) -> None:
    make_table(connection, 100)
    project.write("fill.sql", f"{STATEMENT};\n")
    with psycopg.connect(dsn) as other:
        other.execute("UPDATE t SET n = n WHERE id = 1")
        process = project.start("backfill", "fill.sql")
        eventually(lambda: sessions(connection) > 0)
        ended = interrupt(process, signal.SIGTERM)
        assert (ended.code, "Traceback" in ended.err) == (143, False)
        other.rollback()
    assert done(connection) == 0


def test_a_changed_statement_is_refused_and_nothing_done(project: Project, connection: Connection) -> None:
    make_table(connection, 600)
    project.write("fill.sql", f"{SLOW};\n")
    process = project.start(*WORDS)
    eventually(lambda: done(connection) >= 50)
    interrupt(process, signal.SIGTERM)
    before = done(connection)
    project.write("fill.sql", f"{STATEMENT};\n")
    told = project.fail(4, *WORDS)
    assert "fill.sql:1:1: statement of the backfill was changed after it had been begun" in told
    assert f"interrupted: {before:,} of about 600 rows of public.t are done" in told
    assert "DELETE FROM public.schema_migrations_backfill WHERE id = 1;" in told
    assert done(connection) == before
    connection.execute("DELETE FROM schema_migrations_backfill WHERE id = 1")
    project.succeed(*WORDS)
    assert counts(connection) == [(1, 600)]


def test_another_key_than_it_was_begun_with_is_refused(project: Project, connection: Connection) -> None:
    make_table(connection, 600)
    connection.execute("ALTER TABLE t ADD COLUMN other bigint NOT NULL UNIQUE GENERATED ALWAYS AS (-id) STORED")
    project.write("fill.sql", f"{SLOW};\n")
    process = project.start(*WORDS)
    eventually(lambda: done(connection) >= 50)
    interrupt(process, signal.SIGTERM)
    assert "key of the backfill was changed" in project.fail(4, *WORDS, "--by", "other")
    project.succeed(*WORDS)
    assert counts(connection) == [(1, 600)]


def test_one_that_has_done_nothing_may_be_another_one(project: Project, connection: Connection) -> None:
    make_table(connection, 10)
    project.write("fill.sql", "UPDATE t SET n = n / 0, done = true WHERE NOT done;\n")
    assert "division by zero" in project.fail(1, *WORDS)
    project.write("fill.sql", f"{STATEMENT};\n")
    project.succeed(*WORDS)
    assert counts(connection) == [(1, 10)]


def test_two_of_the_same_do_not_run_beside_each_other(project: Project, connection: Connection) -> None:
    make_table(connection, 600)
    project.write("fill.sql", f"{SLOW};\n")
    process = project.start(*WORDS)
    eventually(lambda: done(connection) >= 50)
    assert "another run holds the lock" in project.fail(5, *WORDS, "--lock-wait", "0")
    # The lock is its own: migrations go on.
    project.migration(1, "CREATE TABLE other (id int);\n")
    project.succeed("up")
    assert finish(process).code == 0
    assert counts(connection) == [(1, 600)]


# ----------------------------------------------------------------------------------------------- without its server


def on(server: TcpServer, root: Path) -> Project:
    (root / "whimbrel.toml").touch()
    server.admin("DROP DATABASE IF EXISTS filled WITH (FORCE)")
    server.admin("CREATE DATABASE filled")
    return Project(root, server.conninfo("filled"))


def test_it_survives_a_restart_of_the_server(own_server: TcpServer, tmp_path: Path) -> None:
    project = on(own_server, tmp_path)
    address = own_server.conninfo("filled")
    with psycopg.connect(address, autocommit=True) as connection:
        make_table(connection, 1000)
        project.write("fill.sql", f"{SLOW};\n")
        process = project.start(*WORDS)
        eventually(lambda: done(connection) >= 100)
    own_server.stop()
    own_server.start()
    ended = finish(process)
    assert (ended.code, ended.err) == (0, "")
    assert "trying to connect again" in ended.out
    assert "connected again: it goes on at the cursor" in ended.out
    with psycopg.connect(address, autocommit=True) as connection:
        assert counts(connection) == [(1, 1000)]


def test_it_gives_up_when_the_server_stays_away(own_server: TcpServer, tmp_path: Path) -> None:
    project = on(own_server, tmp_path)
    with psycopg.connect(own_server.conninfo("filled"), autocommit=True) as connection:
        make_table(connection, 1000)
        project.write("fill.sql", f"{SLOW};\n")
        process = project.start(*WORDS, "--lock-budget", "1s")
        eventually(lambda: done(connection) >= 50)
    own_server.stop()
    ended = finish(process)
    own_server.start()
    assert ended.code == 8
    assert "cannot connect" in ended.err


def test_a_migration_that_lost_its_server_goes_on_at_the_cursor(own_server: TcpServer, tmp_path: Path) -> None:
    project = on(own_server, tmp_path)
    address = own_server.conninfo("filled")
    with psycopg.connect(address, autocommit=True) as connection:
        make_table(connection, 1000)
        project.migration(1, MIGRATION)
        process = project.start("up")
        eventually(lambda: done(connection) >= 100)
    own_server.stop()
    own_server.start()
    ended = finish(process)
    assert ended.code == 8
    assert "Run the same command again" in ended.err
    with psycopg.connect(address, autocommit=True) as connection:
        assert 100 <= done(connection) < 1000
        project.succeed("up")
        assert counts(connection) == [(1, 1000)]


def test_a_migration_that_is_killed_goes_on_at_the_cursor(project: Project, connection: Connection) -> None:
    make_table(connection, 600)
    project.migration(1, f"CREATE TABLE before ();\n{MIGRATION}CREATE TABLE behind ();\n")
    for goal in (100, 300):
        process = project.start("up")
        eventually(lambda goal=goal: done(connection) >= goal)
        process.kill()
        finish(process)
        assert "up interrupted at statement 2" in project.succeed("status")
    project.succeed("up")
    assert counts(connection) == [(1, 600)]
    assert connection.execute("SELECT version, statement, batches FROM schema_migrations_backfill").fetchall() == [
        (1, 2, 60)
    ]
    assert connection.execute("SELECT count(*) FROM schema_migrations_journal").fetchone() == (0,)


def test_sessions_that_are_ended_in_the_middle_cost_no_row_and_no_second_change(
    project: Project, connection: Connection
) -> None:
    make_table(connection, 1000)
    project.write("fill.sql", f"{SLOW};\n")
    process = project.start(*WORDS)
    for goal in (100, 250, 400, 550):
        eventually(lambda goal=goal: done(connection) >= goal)
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name ~ '^whimbrel: backfill'"
        )
    ended = finish(process)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("connected again") == 4
    assert counts(connection) == [(1, 1000)]
    assert connection.execute("SELECT changed, batches FROM schema_migrations_backfill").fetchone() == (1000, 100)

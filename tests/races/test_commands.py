"""Different commands at the same instant: one after the other, each on what the one before it left."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import TupleRow

from whimbrel import read_status

from ..acceptance.programs import Project, applied, eventually, finish, sessions, tables
from .crowd import deadlocks, run_at_once

Connection = psycopg.Connection[TupleRow]

# A down that was agreed to, or planned, while another run changed the database: it is told, and nothing was undone.
CHANGED = "error: the database has changed since this was confirmed"


def write(project: Project) -> None:
    """Write three migrations whose tables say which of them are applied."""
    project.three_tables()
    project.migration(3, "CREATE TABLE t3 (id int);\nCREATE INDEX t3_id ON t3 (id);\n", "DROP TABLE t3;\n")


def is_whole(connection: Connection) -> bool:
    """Whether the tables are those of the recorded migrations."""
    return tables(connection) == [f"t{version}" for version in applied(connection)]


def count_undone(connection: Connection) -> int:
    """Return how many downs have succeeded, as the log says."""
    row = connection.execute(
        "SELECT count(*) FROM schema_migrations_log WHERE action = 'down' AND outcome = 'succeeded'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_up_and_down_at_once_leave_what_the_history_says(project: Project, connection: Connection) -> None:
    write(project)
    project.succeed("up", "--to", "2")
    for _ in range(2):
        done = run_at_once(project, [("up",), ("down", "--yes"), ("up",), ("down", "--yes")])

        for each in done:
            assert each.code == 0 or each.err.startswith(CHANGED), done
        assert is_whole(connection)
    eventually(lambda: sessions(connection) == 0)
    assert deadlocks(connection) == 0
    project.succeed("up")
    assert applied(connection) == [1, 2, 3]


def test_many_downs_at_once_each_undo_one_or_nothing(project: Project, connection: Connection) -> None:
    """What is undone is what its command has shown."""
    write(project)
    project.succeed("up")

    done = run_at_once(project, [("down", "--yes")] * 6)

    for each in done:
        assert each.code == 0 or each.err.startswith(CHANGED), done
    undone = sum("Undid 1 migration." in each.out for each in done)
    assert count_undone(connection) == undone >= 1
    assert len(applied(connection)) == 3 - undone
    assert is_whole(connection)


def test_up_and_redo_at_once_end_with_everything_applied(project: Project, connection: Connection) -> None:
    write(project)
    project.succeed("up", "--to", "2")

    done = run_at_once(project, [("up",), ("redo", "--yes"), ("up",), ("redo", "--yes")])

    for each in done:
        assert each.code == 0 or each.err.startswith(CHANGED), done
    assert applied(connection) == [1, 2, 3]
    assert is_whole(connection)
    eventually(lambda: sessions(connection) == 0)
    assert deadlocks(connection) == 0


@pytest.mark.parametrize("concurrent", [False, True], ids=["in transactions", "with a concurrent build"])
def test_status_never_fails_and_never_sees_a_half(
    project: Project, connection: Connection, dsn: str, concurrent: bool
) -> None:
    """Also on an empty database, where the history tables come up while it looks."""
    write(project)
    if concurrent:
        project.migration(2, "CREATE INDEX CONCURRENTLY t1_id ON t1 (id);\n", "DROP INDEX CONCURRENTLY t1_id;\n")
    looks: list[list[bool]] = []

    def look_meanwhile(*arguments: str) -> None:
        process = project.start(*arguments)
        while process.poll() is None:
            looks.append([state.applied is not None for state in read_status(project.migrations, dsn)])
        # As a person does.
        assert project.succeed("status").count(".up.sql") == 3
        assert finish(process).code == 0

    look_meanwhile("up")
    look_meanwhile("down", "0", "--yes")
    look_meanwhile("up")

    # They are applied from the front and undone from the back.
    assert [look for look in looks if look != sorted(look, reverse=True)] == []
    assert [False] * 3 in looks
    assert len(looks) >= 3
    assert applied(connection) == [1, 2, 3]

"""Two tables, locked in one order by an application and in the other by a migration: the migration gives way."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project, eventually, value

from .remains import columns, log
from .sessions import Holder, holding
from .watched import watching

Connection = psycopg.Connection[TupleRow]
BOTH = "ALTER TABLE a ADD COLUMN more int;\nALTER TABLE b ADD COLUMN more int;\n"
# The server finds the locks of a DO block only when it runs: it is begun although somebody has b.
HIDDEN = f"DO $$ BEGIN EXECUTE '{BOTH.strip()}'; END $$;\n"
WAITS_FOR_B = """
    SELECT count(*)
    FROM pg_locks AS w
    JOIN pg_locks AS h ON h.pid = w.pid AND h.relation = 'a'::regclass AND h.granted
    WHERE w.relation = 'b'::regclass AND NOT w.granted AND h.mode = 'AccessExclusiveLock'
"""


@pytest.fixture(autouse=True)
def two_tables(connection: Connection) -> None:
    connection.execute("CREATE TABLE a (id int); CREATE TABLE b (id int); INSERT INTO a VALUES (1)")


def end_well(holder: Holder) -> None:
    """Let the application's transaction write to a as well, and commit; it must not see an error."""
    holder.begin("UPDATE a SET id = 3")
    assert holder.collect() is None
    holder.connection.execute("COMMIT")
    holder.is_open = False


def assert_both_succeeded(connection: Connection) -> None:
    """Assert that the application's rows are there, and the migration's columns."""
    assert value(connection, "SELECT (SELECT min(id) FROM a) + (SELECT min(id) FROM b)") == 5
    assert columns(connection, "a") == columns(connection, "b") == ["id", "more"]
    assert log(connection) == [(1, "up", "succeeded", None)]


def test_it_is_not_begun_while_somebody_has_one_of_the_tables(
    project: Project, connection: Connection, dsn: str
) -> None:
    project.migration(1, BOTH)
    with holding(dsn, "INSERT INTO b VALUES (2)") as holder, watching(project, "up") as run:
        run.next("lock_awaited")
        end_well(holder)
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert_both_succeeded(connection)


def test_it_gives_way_before_the_server_looks_for_a_deadlock(
    project: Project, connection: Connection, dsn: str
) -> None:
    """Each waits for the other: the run's timeout is shorter than the deadlock_timeout of either."""
    project.migration(1, HIDDEN)
    with (
        holding(dsn, "INSERT INTO b VALUES (2)") as holder,
        watching(project, "up", "--lock-timeout", "300ms") as run,
    ):
        eventually(lambda: value(connection, WAITS_FOR_B) == 1)
        end_well(holder)
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.of("lock_awaited")) >= 1
    assert_both_succeeded(connection)


def test_on_the_ladder_the_application_never_gets_an_error(project: Project, connection: Connection, dsn: str) -> None:
    """The transaction asks for the other table while an attempt waits, where it catches one, or behind it."""
    project.migration(1, HIDDEN)
    with holding(dsn, "INSERT INTO b VALUES (2)") as holder, watching(project, "up") as run:
        eventually(lambda: value(connection, WAITS_FOR_B) == 1)
        end_well(holder)
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert_both_succeeded(connection)


def test_as_the_victim_of_a_deadlock_it_is_tried_again(project: Project, connection: Connection, dsn: str) -> None:
    """Its timeout is so long that the server finds the deadlock first, in the session that looks for one first."""
    connection.execute(f"ALTER DATABASE {connection.info.dbname} SET deadlock_timeout = '100ms'".encode())
    project.migration(1, HIDDEN)
    with (
        holding(dsn, "INSERT INTO b VALUES (2)", "SET deadlock_timeout = '1min'") as holder,
        watching(project, "up", "--lock-timeout", "500ms") as run,
    ):
        eventually(lambda: value(connection, WAITS_FOR_B) == 1)
        end_well(holder)
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.of("lock_awaited")) == 1
    assert_both_succeeded(connection)


def test_without_a_budget_the_victim_of_a_deadlock_is_not_tried_again(
    project: Project, connection: Connection, dsn: str
) -> None:
    project.migration(1, HIDDEN)
    with (
        holding(dsn, "INSERT INTO b VALUES (2)", "SET deadlock_timeout = '1min'") as holder,
        watching(project, "up", "--lock-timeout", "30s", "--lock-budget", "0") as run,
    ):
        eventually(lambda: value(connection, WAITS_FOR_B) == 1)
        end_well(holder)
        ended = run.finish()
    assert ended.code == 5
    assert ended.error["sqlstate"] == "40P01"
    assert columns(connection, "a") == columns(connection, "b") == ["id"]
    assert log(connection) == [(1, "up", "failed", "40P01")]

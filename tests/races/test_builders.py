"""Somebody else builds an index on the same table while an interrupted build is settled; roles see little of another.

pg_stat_progress_create_index shows another role's rows without their contents to a role without pg_read_all_stats.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from ..acceptance.programs import Project, applied, eventually, finish, value
from .crowd import deadlocks
from .killed import holder, kill

Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True)
class Roles:
    """Two ordinary roles that both own the table `a`, through a third."""

    project: Project
    colleague: Connection


@pytest.fixture
def roles(project: Project, connection: Connection, dsn: str) -> Generator[Roles]:
    """Give a project that works as one role, and the connection of another."""
    name = str(value(connection, "SELECT current_database()"))
    owners, mine, hers = (sql.Identifier(f"{kind}_{name}") for kind in ("owners", "mine", "hers"))
    connection.execute(sql.SQL("CREATE ROLE {}").format(owners))
    for role in (mine, hers):
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE {}").format(role, owners))
    connection.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(owners))
    connection.execute("CREATE TABLE a (n int); INSERT INTO a SELECT generate_series(1, 100)")
    connection.execute(sql.SQL("ALTER TABLE a OWNER TO {}").format(owners))
    try:
        address = make_conninfo(dsn, user=f"mine_{name}")
        with psycopg.connect(
            make_conninfo(dsn, user=f"hers_{name}"), autocommit=True, application_name="by hand"
        ) as colleague:
            yield Roles(replace(project, database=address), colleague)
    finally:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
        connection.execute(sql.SQL("DROP OWNED BY {0}, {1}, {2}").format(owners, mine, hers))
        for role in (mine, hers, owners):
            connection.execute(sql.SQL("DROP ROLE {}").format(role))


def interrupt(roles: Roles, connection: Connection, other: Connection, statement: str) -> None:
    """Kill a run while its concurrent statement waits for an open writer; the invalid index is there afterwards."""
    roles.project.migration(1, f"{statement};\n")
    with other.transaction():
        other.execute("INSERT INTO a VALUES (7)")
        process = roles.project.start("up")
        eventually(lambda: invalid(connection) != [] and holder(connection) is not None)
        kill(process)
        eventually(lambda: holder(connection) is None)


def invalid(connection: Connection) -> list[str]:
    """Return the names of the invalid indexes of `a`."""
    rows = connection.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'a'::regclass AND NOT indisvalid ORDER BY 1"
    ).fetchall()
    return [str(row[0]) for row in rows]


def indexes(connection: Connection) -> list[tuple[str, bool]]:
    """Return the indexes of `a` and whether they are valid."""
    rows = connection.execute(
        "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'a'::regclass ORDER BY 1"
    ).fetchall()
    return [(str(name), bool(is_valid)) for name, is_valid in rows]


@contextmanager
def building(connection: Connection, statement: str, other: Connection) -> Generator[Callable[[], None]]:
    """Run a concurrent statement in a thread, held up by an open writer; yield what ends the writer's transaction."""
    errors: list[psycopg.Error] = []

    def build() -> None:
        try:
            connection.execute(statement.encode())
        except psycopg.Error as error:
            errors.append(error)

    other.execute("BEGIN")
    other.execute("INSERT INTO a VALUES (8)")
    thread = threading.Thread(target=build)
    thread.start()
    try:
        eventually(
            lambda: (
                value(other, f"SELECT count(*) FROM pg_locks WHERE pid = {connection.info.backend_pid} AND NOT granted")
                == 1
            )
        )
        yield lambda: other.execute("COMMIT") and None
    finally:
        other.execute("ROLLBACK" if other.info.transaction_status else "SELECT 1")
        thread.join()
    assert errors == []


def is_waiting(connection: Connection) -> bool:
    """Whether the run that holds the lock looks again and again who works on the table."""
    looking = (
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND position('ShareUpdateExclusiveLock' IN query) > 0"
    )
    pid = holder(connection)
    return pid is not None and value(connection, looking.format(pid)) == 1


def test_another_roles_build_is_not_taken_for_what_an_unnamed_one_left(
    roles: Roles, connection: Connection, other: Connection
) -> None:
    interrupt(roles, connection, other, "CREATE INDEX CONCURRENTLY ON a (n)")
    with building(roles.colleague, "CREATE INDEX CONCURRENTLY hers ON a ((n + 1))", other) as release:
        assert invalid(connection) == ["a_n_idx", "hers"]
        process = roles.project.start("up")
        eventually(lambda: is_waiting(connection))
        release()
    done = finish(process)

    assert (done.code, done.err) == (0, ""), done
    assert indexes(connection) == [("a_n_idx", True), ("hers", True)]
    assert applied(connection) == [1]
    assert deadlocks(connection) == 0


def test_another_roles_unnamed_build_is_not_taken_for_ones_own(
    roles: Roles, connection: Connection, other: Connection
) -> None:
    """Its name looks as if it were."""
    interrupt(roles, connection, other, "CREATE INDEX CONCURRENTLY ON a (n)")
    with building(roles.colleague, "CREATE INDEX CONCURRENTLY ON a (n)", other) as release:
        assert invalid(connection) == ["a_n_idx", "a_n_idx1"]
        process = roles.project.start("up")
        eventually(lambda: is_waiting(connection))
        release()
    done = finish(process)

    assert (done.code, done.err) == (0, ""), done
    assert indexes(connection) == [("a_n_idx", True), ("a_n_idx1", True)]
    assert deadlocks(connection) == 0


def test_another_roles_build_of_the_same_name_is_waited_for_and_kept(
    roles: Roles, connection: Connection, other: Connection
) -> None:
    """Somebody lost patience, dropped the invalid index, and builds it by hand."""
    interrupt(roles, connection, other, "CREATE INDEX CONCURRENTLY i ON a (n)")
    roles.colleague.execute("DROP INDEX CONCURRENTLY i")
    with building(roles.colleague, "CREATE INDEX CONCURRENTLY i ON a (n)", other) as release:
        oid = value(connection, "SELECT 'i'::regclass::oid")
        process = roles.project.start("up")
        eventually(lambda: is_waiting(connection))
        release()
    done = finish(process)

    assert (done.code, done.err) == (0, ""), done
    assert value(connection, "SELECT 'i'::regclass::oid") == oid
    assert indexes(connection) == [("i", True)]
    assert "statement 1 skipped: the index is there and valid" in done.out
    assert deadlocks(connection) == 0


@pytest.mark.parametrize("statement", ["REINDEX INDEX CONCURRENTLY i", "REINDEX TABLE CONCURRENTLY a"])
def test_the_copy_that_another_roles_reindex_makes_is_not_a_leftover(
    roles: Roles, connection: Connection, other: Connection, statement: str
) -> None:
    roles.colleague.execute("CREATE INDEX i ON a (n)")
    interrupt(roles, connection, other, statement)
    with building(roles.colleague, "REINDEX INDEX CONCURRENTLY i", other) as release:
        assert invalid(connection) == ["i_ccnew", "i_ccnew1"]
        process = roles.project.start("up")
        eventually(lambda: is_waiting(connection))
        release()
    done = finish(process)

    assert (done.code, done.err) == (0, ""), done
    assert indexes(connection) == [("i", True)]
    assert deadlocks(connection) == 0


def test_whoever_is_waited_for_too_long_is_named(roles: Roles, connection: Connection, other: Connection) -> None:
    """Nothing was dropped, and the next run goes on."""
    interrupt(roles, connection, other, "CREATE INDEX CONCURRENTLY i ON a (n)")
    with building(roles.colleague, "CREATE INDEX CONCURRENTLY hers ON a ((n + 1))", other) as release:
        done = roles.project.run("up", "--lock-wait", "1s")
        release()

    assert done.code == 5, done
    assert f"process {roles.colleague.info.backend_pid}" in done.err
    assert indexes(connection) == [("hers", True), ("i", False)]
    roles.project.succeed("up")
    assert indexes(connection) == [("hers", True), ("i", True)]


@pytest.mark.parametrize(
    "statement",
    ["CREATE INDEX CONCURRENTLY mine ON a (n)", "DROP INDEX CONCURRENTLY i", "REINDEX INDEX CONCURRENTLY i"],
)
def test_a_statement_that_was_not_begun_before_waits_for_another_build_without_a_deadlock(
    roles: Roles, connection: Connection, other: Connection, statement: str
) -> None:
    """The server would end one of the two: the other one's build, or the run."""
    roles.colleague.execute("CREATE INDEX i ON a (n)")
    roles.project.migration(1, f"{statement};\n")
    with building(roles.colleague, "CREATE INDEX CONCURRENTLY hers ON a ((n + 1))", other) as release:
        process = roles.project.start("up")
        eventually(lambda: holder(connection) is not None)
        # It looks who works on the table, or waits for it in the statement itself.
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND (wait_event_type = 'Lock' OR query ~ 'ShareU')"
        )
        eventually(lambda: value(connection, waiting.format(holder(connection))) == 1)
        release()
    done = finish(process)

    assert (done.code, done.err) == (0, ""), done
    assert deadlocks(connection) == 0
    assert invalid(connection) == []

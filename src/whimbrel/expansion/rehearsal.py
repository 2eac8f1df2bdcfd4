"""An empty temporary copy of the table, in a transaction that is rolled back: what the server is asked on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from whimbrel import database
from whimbrel.config import Config
from whimbrel.database import Connection
from whimbrel.errors import ConfigError, WhimbrelError
from whimbrel.expansion.subject import Subject

COPY = "pg_temp.whimbrel_copy"


@contextmanager
def transaction(connection: Connection, config: Config) -> Generator[None]:
    """Give a transaction that is rolled back, with the role and the search_path that migrations have.

    Nothing in it waits long for a lock.
    """
    connection.execute("BEGIN")
    try:
        for name, value in (("role", config.role), ("search_path", config.search_path), ("lock_timeout", "5s")):
            connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", [name, value])
        yield
    finally:
        database.roll_back(connection)


def qualify(connection: Connection) -> None:
    """Let the server write every name with its schema from here on."""
    connection.execute("SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)")


def look_up(connection: Connection, search_path: str) -> None:
    """Let names be looked up in a search_path from here on."""
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", [search_path])


@contextmanager
def copied(connection: Connection, subject: Subject) -> Generator[dict[str, str]]:
    """Make the copy for the block, and give the names that its indexes have for those of the table."""
    run(connection, "SAVEPOINT copy")
    run(connection, f"CREATE TEMPORARY TABLE whimbrel_copy (LIKE {subject.qualified} INCLUDING ALL)")
    # They are made in the order of the list that the server keeps of a table's indexes, which is that of their oids.
    names = [
        [
            str(row[0])
            for row in connection.execute(
                """
                SELECT c.relname FROM pg_catalog.pg_index AS i
                JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
                WHERE i.indrelid = %s::pg_catalog.regclass AND i.indislive ORDER BY i.indexrelid
                """,
                [table],
            )
        ]
        for table in (subject.qualified, COPY)
    ]
    yield dict(zip(*names, strict=True))
    run(connection, "ROLLBACK TO SAVEPOINT copy")


def run(connection: Connection, statement: str) -> None:
    """Run a statement of the rehearsal. Raises ConfigError for what the server refuses."""
    try:
        connection.execute(statement.encode())
    except psycopg.Error as error:
        raise refused(error) from None


def refused(error: psycopg.Error) -> WhimbrelError:
    """Return the server's refusal as an error of whimbrel's; a lost connection or a lock is none."""
    if isinstance(error, psycopg.OperationalError):
        return database.explain(error)
    return ConfigError(
        f"the server refuses the change: {error.diag.message_primary or error}",
        detail=error.diag.message_detail,
        hint=error.diag.message_hint,
        sqlstate=error.sqlstate,
    )

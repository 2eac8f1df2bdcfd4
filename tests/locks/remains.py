"""What a run left in the database: columns, records, the log, locks and sessions."""

from __future__ import annotations

import psycopg
from psycopg.rows import TupleRow

from tests.acceptance.programs import applied, eventually, sessions, value

Connection = psycopg.Connection[TupleRow]


def columns(connection: Connection, table: str) -> list[str]:
    """Return a table's columns in order, none where there is no such table."""
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum",
        [table],
    )
    return [str(row[0]) for row in rows]


def log(connection: Connection) -> list[tuple[int, str, str, str | None]]:
    """Return the attempts that the history knows: version, action, outcome, SQLSTATE."""
    if value(connection, "SELECT to_regclass('public.schema_migrations_log')") is None:
        return []
    rows = connection.execute("SELECT version, action, outcome, sqlstate FROM schema_migrations_log ORDER BY id")
    return [(int(row[0]), str(row[1]), str(row[2]), row[3]) for row in rows]


def is_free(connection: Connection) -> bool:
    """Say whether no session of whimbrel is left, and no other session has to do with an advisory lock."""
    locks = value(
        connection,
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    return sessions(connection) == 0 and locks == 0


def assert_untouched(connection: Connection, table: str = "busy", versions: tuple[int, ...] = ()) -> None:
    """Assert that a run left a table of one column `id` as it was, nobody behind, and just these versions."""
    assert columns(connection, table)[:1] == ["id"]
    assert "more" not in columns(connection, table)
    assert applied(connection) == list(versions)
    # A server process needs a moment to end after its client has gone.
    eventually(lambda: is_free(connection), 10)

"""The history tables themselves: their names, how they are made and brought up to date."""

from __future__ import annotations

from importlib.resources import files

import psycopg
from psycopg import pq, sql

from whimbrel import database
from whimbrel.config import Config
from whimbrel.database import Connection
from whimbrel.errors import StatementFailed

INSUFFICIENT_PRIVILEGE = "42501"
_READ_ONLY = "25006"


def ensure_history(connection: Connection, config: Config) -> None:
    """Create the history tables, or bring them up to date, in one transaction. Call it under the lock.

    In a transaction block that is open it is that one, which fails with it. Raises StatementFailed where the role may
    not do that. A three-column table keeps its rows.
    """
    own = quoted(config)
    text = files("whimbrel.history").joinpath("tables.sql").read_bytes()
    text = text.replace(b"public.schema_migrations_journal", quoted(config, "_journal"))
    text = text.replace(b"public.schema_migrations_log", quoted(config, "_log"))
    text = text.replace(b"public.schema_migrations", own)
    is_own = connection.info.transaction_status == pq.TransactionStatus.IDLE
    try:
        row = connection.execute(
            """
            SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s),
                   EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'ordinal')
            """,
            [config.history_schema, own.decode()],
        ).fetchone()
        assert row is not None
        has_schema, has_ordinal = row
        # NOTICEs that things exist are of no interest.
        statements = [b"SET LOCAL client_min_messages = warning", text, _TO_BIGINT.replace(b"{table}", own)]
        if not has_schema:
            statements.insert(0, f'CREATE SCHEMA "{config.history_schema}"'.encode())
        if not has_ordinal:
            statements.append(_NUMBER_ROWS.replace(b"{table}", own))
        if is_own:
            statements = [b"BEGIN", *statements, b"COMMIT"]
        # One simple query, one round trip.
        connection.execute(b";\n".join(statements))
    except psycopg.Error as error:
        if connection.broken:
            raise database.explain(error) from None
        if is_own and connection.pgconn.transaction_status == pq.TransactionStatus.INERROR:
            connection.execute("ROLLBACK")
        raise _ensure_error(error, config) from None


_TO_BIGINT = b"ALTER TABLE {table} ALTER COLUMN version TYPE bigint"
# Rows from before the upgrade are numbered as they were applied, not as they lie on disk.
_NUMBER_ROWS = b"""
UPDATE {table} AS t SET ordinal = o.n
FROM (SELECT version, row_number() OVER (ORDER BY applied_at, version) AS n FROM {table}) AS o
WHERE o.version = t.version
"""


def _ensure_error(error: psycopg.Error, config: Config) -> StatementFailed:
    hint = None
    if error.sqlstate == INSUFFICIENT_PRIVILEGE:
        # Since PostgreSQL 15 only the database's owner may create in public.
        hint = (
            f"Ask for the right: GRANT CREATE ON SCHEMA {config.history_schema} TO …;"
            " or keep the history elsewhere: --history-table myschema.schema_migrations"
        )
    elif error.sqlstate == _READ_ONLY:
        hint = "The server is a read-only replica, or the session is read-only: connect to the primary."
    return StatementFailed(
        f"the history tables cannot be made: {error.diag.message_primary or error}",
        sqlstate=error.sqlstate,
        hint=hint,
    )


def identifier(config: Config, suffix: str = "") -> sql.Identifier:
    """Return a history table's name for psycopg; `suffix` is empty, `_log` or `_journal`."""
    return sql.Identifier(config.history_schema, config.history_name + suffix)


def quoted(config: Config, suffix: str = "") -> bytes:
    """Return a history table's name for a statement that is put together from bytes."""
    # The configuration allows lower-case names only, in which nothing has to be quoted but key words.
    return f'"{config.history_schema}"."{config.history_name}{suffix}"'.encode()

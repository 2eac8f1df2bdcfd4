"""The history tables themselves: their names, how they are made and brought up to date."""

from __future__ import annotations

from importlib.resources import files

import psycopg
from psycopg import sql

from whimbrel.config import Config
from whimbrel.database import Connection
from whimbrel.errors import StatementFailed

INSUFFICIENT_PRIVILEGE = "42501"
_READ_ONLY = "25006"


def ensure_history(connection: Connection, config: Config) -> None:
    """Create the history tables, or bring them up to date, in one transaction. Call it under the lock.

    Raises StatementFailed where the role may not do that. A three-column table keeps its rows.
    """
    own = quoted(config)
    text = files("whimbrel.history").joinpath("tables.sql").read_bytes()
    text = text.replace(b"public.schema_migrations_journal", quoted(config, "_journal"))
    text = text.replace(b"public.schema_migrations_log", quoted(config, "_log"))
    text = text.replace(b"public.schema_migrations", own)
    try:
        with connection.transaction():
            exists = connection.execute(
                "SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s", [config.history_schema]
            ).fetchone()
            if exists is None:
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(config.history_schema)))
            # One simple query: the file's statements, one round trip. NOTICEs that things exist are of no interest.
            connection.execute("SET LOCAL client_min_messages = warning")
            had_ordinal = connection.execute(
                "SELECT FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'ordinal'",
                [own.decode()],
            ).fetchone()
            connection.execute(text)
            connection.execute(sql.SQL("ALTER TABLE {} ALTER COLUMN version TYPE bigint").format(identifier(config)))
            if had_ordinal is None:
                # Rows from before the upgrade were numbered as they lay on disk.
                connection.execute(
                    sql.SQL(
                        "UPDATE {0} AS t SET ordinal = o.n FROM (SELECT version, row_number() OVER"
                        " (ORDER BY applied_at, version) AS n FROM {0}) AS o WHERE o.version = t.version"
                    ).format(identifier(config))
                )
    except psycopg.Error as error:
        raise _ensure_error(error, config) from None


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

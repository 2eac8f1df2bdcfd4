"""How far a backfill has come, as the database keeps it: the table beside the history, and its rows."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import sql

from whimbrel.config import Config
from whimbrel.database import Connection
from whimbrel.errors import StatementFailed, Unsettled

_INSUFFICIENT_PRIVILEGE = "42501"
_SUFFIX = "_backfill"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a statement comes from: a migration's, or one that is run by itself, from a file or from none."""

    version: int | None = None
    direction: str | None = None
    statement: int | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """A backfill that was begun; see tables.sql for what each value is.

    Times are the server's. Where `finished_at` is None it runs, or was interrupted.
    """

    id: int
    origin: Origin
    checksum: str
    table: str
    key: tuple[str, ...]
    cursor: tuple[str, ...] | None
    walk: int
    walked: int
    walk_changed: int
    changed: int
    batches: int
    batch: int | None
    total: int
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    role: str
    host: str | None

    @property
    def rows(self) -> int:
        """About how many rows the table has."""
        return max(self.total, self.walked)


def ensure_table(connection: Connection, config: Config) -> None:
    """Create the table if it is not there, in the transaction that is open.

    Raises StatementFailed where the role may not do that.
    """
    if _exists(connection, config):
        return
    text = files("whimbrel.backfills").joinpath("tables.sql").read_bytes()
    text = text.replace(b"public.schema_migrations_backfill", quoted(config))
    schema = f'CREATE SCHEMA IF NOT EXISTS "{config.history_schema}"'.encode()
    has_schema = connection.execute(
        "SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s", [config.history_schema]
    ).fetchone()
    # NOTICEs that things exist are of no interest.
    statements = [b"SET LOCAL client_min_messages = warning", text]
    if has_schema is None:
        statements.insert(0, schema)
    # IF NOT EXISTS looks before it waits: of two that make the table at the same instant one would fail.
    connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext(%s))", [quoted(config).decode()])
    try:
        connection.execute(b";\n".join(statements))
    except psycopg.errors.InsufficientPrivilege as error:
        raise StatementFailed(
            f"the table of backfills cannot be made: {error.diag.message_primary}",
            sqlstate=error.sqlstate,
            hint=(
                f"Ask for the right: GRANT CREATE ON SCHEMA {config.history_schema} TO …;"
                " or keep the history elsewhere: --history-table myschema.schema_migrations"
            ),
        ) from None


def find_begun(
    connection: Connection, config: Config, origin: Origin, checksum: str, key: Sequence[str]
) -> Progress | None:
    """Return the unfinished backfill of a statement, None where there is none.

    Raises Unsettled for one whose statement or key was another one when it was begun.
    """
    if origin.version is not None:
        condition, values = "version = %s AND direction = %s AND statement = %s", [*_place(origin)]
    else:
        condition, values = "version IS NULL AND (checksum = %s OR file = %s)", [checksum, origin.file]
    found = _read(
        connection, config, f"finished_at IS NULL AND {condition} ORDER BY checksum <> %s, id", [*values, checksum]
    )
    if not found:
        return None
    begun = found[0]
    if not begun.batches:
        # It has done nothing, and may be another one now.
        connection.execute(sql.SQL("DELETE FROM {} WHERE id = %s").format(_identifier(config)), [begun.id])
        return None
    changed = "statement" if begun.checksum != checksum else "key" if begun.key != tuple(key) else None
    if changed is not None:
        done = f"{begun.walked:,} of about {begun.rows:,} rows of {begun.table} are done"
        was = "" if changed == "statement" else f", by ({', '.join(begun.key)})"
        raise Unsettled(
            f"{changed} of the backfill was changed after it had been begun",
            detail=f"It was begun at {begun.started_at:%Y-%m-%d %H:%M:%S} UTC and interrupted: {done}{was}.",
            hint=(
                "Restore it as it was and let it end; or give it up, with what it has done:\n"  # noqa: S608
                f"      DELETE FROM {config.history_table}{_SUFFIX} WHERE id = {begun.id};"
            ),
        )
    return begun


def begin(
    connection: Connection, config: Config, origin: Origin, checksum: str, table: str, key: Sequence[str], total: int
) -> Progress:
    """Write the row of a backfill that begins, and return it."""
    row = connection.execute(
        sql.SQL(
            "INSERT INTO {} (version, direction, statement, file, checksum, relation, key, total, host, tool_version)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id"
        ).format(_identifier(config)),
        [*_place(origin), origin.file, checksum, table, list(key), total, socket.gethostname(), version("whimbrel")],
    ).fetchone()
    assert row is not None
    return _read(connection, config, "id = %s", [row[0]])[0]


def read_all(connection: Connection, config: Config) -> list[Progress]:
    """Return all backfills that were ever begun, newest first; none where there is no table yet."""
    return _read(connection, config, "true ORDER BY id DESC", []) if _exists(connection, config) else []


def advance(config: Config, before: Progress, after: Progress) -> tuple[bytes, list[bytes | None]]:
    """Return the statement that moves a backfill on, with its parameters.

    It fails, with DIVISION_BY_ZERO, where another run has moved it on from `before` already.
    """
    cursor = None if after.cursor is None else _array(after.cursor)
    numbers = (after.walk, after.walked, after.walk_changed, after.changed, after.batches, after.batch)
    text = (
        b"WITH moved AS (UPDATE " + quoted(config) + b" SET cursor = $1::text[], walk = $2::integer,"
        b" walked = $3::bigint, walk_changed = $4::bigint, changed = $5::bigint, batches = $6::bigint,"
        b" batch = $7::integer, updated_at = pg_catalog.clock_timestamp()"
        b" WHERE id = $8::bigint AND batches = $9::bigint AND walk = $10::integer AND finished_at IS NULL RETURNING 1)"
        b" SELECT 1 / pg_catalog.count(*) FROM moved"
    )
    identity = (before.id, before.batches, before.walk)
    return text, [cursor, *(_text(number) for number in numbers), *(_text(number) for number in identity)]


def finish(config: Config, progress: Progress) -> tuple[bytes, list[bytes | None]]:
    """Return the statement that says that no row is left, with its parameters."""
    return (
        b"UPDATE " + quoted(config) + b" SET finished_at = pg_catalog.clock_timestamp() WHERE id = $1::bigint",
        [_text(progress.id)],
    )


def quoted(config: Config) -> bytes:
    """Return the table's name for a statement that is put together from bytes."""
    return f'"{config.history_schema}"."{config.history_name}{_SUFFIX}"'.encode()


def _identifier(config: Config) -> sql.Identifier:
    return sql.Identifier(config.history_schema, config.history_name + _SUFFIX)


def _exists(connection: Connection, config: Config) -> bool:
    row = connection.execute("SELECT pg_catalog.to_regclass(%s) IS NOT NULL", [quoted(config).decode()]).fetchone()
    return row is not None and bool(row[0])


def _place(origin: Origin) -> tuple[int | None, str | None, int | None]:
    return origin.version, origin.direction, origin.statement


def _read(connection: Connection, config: Config, condition: str, values: Sequence[Any]) -> list[Progress]:
    text = (
        "SELECT id, version, direction, statement, file, checksum, relation, key, cursor, walk, walked, walk_changed,"  # noqa: S608
        " changed, batches, batch, total, started_at, updated_at, finished_at, role, host"
        f" FROM {quoted(config).decode()} WHERE {condition}"
    )
    return [_progress(row) for row in connection.execute(text.encode(), values).fetchall()]


def _progress(row: Sequence[Any]) -> Progress:
    identity, place, checksum, table, key, cursor = row[0], row[1:5], row[5], row[6], row[7], row[8]
    return Progress(
        int(identity),
        Origin(*place),
        str(checksum),
        str(table),
        tuple(key),
        tuple(cursor) if cursor is not None else None,
        *(int(each) for each in row[9:14]),
        batch=row[14],
        total=int(row[15] or 0),
        started_at=row[16],
        updated_at=row[17],
        finished_at=row[18],
        role=str(row[19]),
        host=row[20],
    )


def _text(number: int | None) -> bytes | None:
    return None if number is None else str(number).encode()


def _array(values: Sequence[str]) -> bytes:
    """Return an array as PostgreSQL reads it."""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return ("{" + ",".join(f'"{value}"' for value in escaped) + "}").encode()

"""The history tables: create, upgrade, read, and the statements that record."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version as installed_version
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import pq, sql
from psycopg.pq.abc import PGresult

from whimbrel.config import Config
from whimbrel.database import Connection
from whimbrel.errors import HistoryError, StatementFailed
from whimbrel.migration import Applied, Direction, Interruption, Migration, describe
from whimbrel.pipeline import Diagnostic, Pipeline
from whimbrel.statements import Script, script_from

_SEED_COLUMNS = frozenset({"version", "description", "applied_at"})
_OWN_COLUMNS = _SEED_COLUMNS | {
    "ordinal",
    "name",
    "checksum",
    "token_checksum",
    "duration_ms",
    "applied_by",
    "tool_version",
    "down_sql",
}
_UNDEFINED_TABLE = "42P01"
_INSUFFICIENT_PRIVILEGE = "42501"
_READ_ONLY = "25006"


@dataclass(frozen=True, slots=True)
class History:
    """What a database records: the applied migrations and the interrupted ones.

    `is_current` is False where the tables are missing or lack columns: the first run makes them.
    """

    applied: tuple[Applied, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the log. `action` and `outcome` are as in history.sql; times are the server's."""

    version: int
    name: str | None
    action: str
    outcome: str
    started_at: datetime
    finished_at: datetime
    sqlstate: str | None
    message: str | None
    role: str
    host: str | None


@dataclass(frozen=True, slots=True)
class Record:
    """One statement that writes to the history, with its parameters as text."""

    sql: bytes
    parameters: tuple[bytes | None, ...]


def read_history(connection: Connection, config: Config, before: Iterable[Record] = ()) -> History:
    """Read the history in one round trip, after running the statements `before`. Changes nothing itself.

    Needs SELECT on the history tables if they exist. Raises HistoryError for a table that is another tool's, or that
    this role may not read.
    """
    table = _quoted(config)
    queries = {
        "columns": b"""
            SELECT c.relname, a.attname, pg_catalog.format_type(a.atttypid, NULL)
            FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE n.nspname = $1 AND c.relname::text IN ($2::text, $2::text || '_log', $2::text || '_journal')
            """,
        "rows": b"SELECT to_jsonb(t) - 'down_sql', (to_jsonb(t) ->> 'down_sql') IS NOT NULL FROM " + table + b" AS t",
        "journal": b"SELECT DISTINCT ON (version, direction) version, direction, statement,"
        b" to_jsonb(started_at), finished_at IS NULL FROM "
        + _quoted(config, "_journal")
        + b" ORDER BY version, direction, statement DESC",
    }
    found: dict[str, list[tuple[str | None, ...]]] = {}

    def keep(tag: str, result: PGresult) -> None:
        found[tag] = _texts(result)

    with Pipeline[str](connection, keep) as pipeline:
        for record in before:
            pipeline.send("before", record.sql, record.parameters)
        names = (config.history_schema.encode(), config.history_name.encode())
        pipeline.send("columns", queries["columns"], names)
        pipeline.send("rows", queries["rows"])
        pipeline.send("journal", queries["journal"])
        failure = pipeline.finish()
    columns: dict[str, dict[str, str]] = {}
    for relation, column, kind in found.get("columns", []):
        columns.setdefault(str(relation), {})[str(column)] = str(kind)
    own = columns.get(config.history_name, {})
    if own:
        _refuse_foreign(own, config)
    if failure is not None and failure[1].sqlstate != _UNDEFINED_TABLE:
        raise _read_error(failure[1], config)
    return History(
        tuple(sorted((_applied(row) for row in found.get("rows", [])), key=lambda each: each.version)),
        tuple(_interruption(row) for row in found.get("journal", [])),
        own.keys() >= _OWN_COLUMNS and len(columns) == 3,
    )


def _texts(result: PGresult) -> list[tuple[str | None, ...]]:
    def text(row: int, column: int) -> str | None:
        value = result.get_value(row, column)
        return value.decode() if value is not None else None

    return [tuple(text(row, column) for column in range(result.nfields)) for row in range(result.ntuples)]


def _refuse_foreign(columns: dict[str, str], config: Config) -> None:
    version = columns.get("version", "")
    if columns.keys() >= _SEED_COLUMNS and version in ("bigint", "integer"):
        return
    if columns.keys() == {"version", "dirty"}:
        owner = "golang-migrate"
    elif columns.keys() == {"version"} and version.startswith("character varying"):
        owner = "dbmate or Rails"
    elif columns.keys() == {"version", "inserted_at"}:
        owner = "Ecto"
    else:
        owner = ""
    listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    raise HistoryError(
        f"table {config.history_table} is {f'the history of {owner}' if owner else 'not a history of whimbrel'}",
        detail=f"Its columns are: {listed}.",
        hint="Give whimbrel a table of its own and tell it what is applied already:\n"
        "      whimbrel baseline VERSION --history-table public.whimbrel_migrations\n"
        '      and put history_table = "public.whimbrel_migrations" into whimbrel.toml.',
    )


def _read_error(diagnostic: Diagnostic, config: Config) -> HistoryError:
    hint = None
    if diagnostic.sqlstate == _INSUFFICIENT_PRIVILEGE:
        hint = (
            f"Ask for it: GRANT SELECT ON {config.history_table}, {config.history_table}_log,"
            f" {config.history_table}_journal TO …"
        )
    return HistoryError(f"the history cannot be read: {diagnostic.message}", detail=diagnostic.detail, hint=hint)


def _applied(row: tuple[str | None, ...]) -> Applied:
    values: dict[str, Any] = json.loads(row[0] or "{}")
    applied_at: str | None = values.get("applied_at")
    return Applied(
        version=int(values["version"]),
        description=values.get("description"),
        applied_at=datetime.fromisoformat(applied_at) if applied_at else None,
        ordinal=values.get("ordinal"),
        name=values.get("name"),
        checksum=values.get("checksum"),
        token_checksum=values.get("token_checksum"),
        duration_ms=values.get("duration_ms"),
        applied_by=values.get("applied_by"),
        tool_version=values.get("tool_version"),
        has_down=row[1] == "t",
    )


def _interruption(row: tuple[str | None, ...]) -> Interruption:
    version, direction, statement, started_at, is_open = row
    return Interruption(
        int(version or 0),
        Direction(direction),
        int(statement or 0) + (0 if is_open == "t" else 1),
        datetime.fromisoformat(json.loads(started_at or '""')),
    )


def read_down_scripts(connection: Connection, config: Config, versions: Iterable[int]) -> dict[int, Script]:
    """Return the down scripts that the history keeps for some versions."""
    rows = connection.execute(
        sql.SQL("SELECT version, name, down_sql FROM {} WHERE version = ANY (%s) AND down_sql IS NOT NULL").format(
            _identifier(config)
        ),
        [list(versions)],
    ).fetchall()
    return {
        int(version): script_from(str(text).encode(), f"{version}_{name or ''}.down.sql (stored)")
        for version, name, text in rows
    }


def read_log(connection: Connection, config: Config, limit: int) -> list[Attempt]:
    """Return the newest attempts, newest first; none where there is no log yet."""
    try:
        rows = connection.execute(
            sql.SQL(
                "SELECT version, name, action, outcome, started_at, finished_at, sqlstate, message, role, host"
                " FROM {} ORDER BY id DESC LIMIT %s"
            ).format(_identifier(config, "_log")),
            [limit],
        ).fetchall()
    except psycopg.errors.UndefinedTable:
        return []
    return [Attempt(*row) for row in rows]


def ensure_history(connection: Connection, config: Config) -> None:
    """Create the history tables, or bring them up to date, in one transaction. Call it under the lock.

    Raises StatementFailed where the role may not do that. A three-column table keeps its rows.
    """
    own = _quoted(config)
    text = files("whimbrel").joinpath("history.sql").read_bytes()
    text = text.replace(b"public.schema_migrations_journal", _quoted(config, "_journal"))
    text = text.replace(b"public.schema_migrations_log", _quoted(config, "_log"))
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
            connection.execute(sql.SQL("ALTER TABLE {} ALTER COLUMN version TYPE bigint").format(_identifier(config)))
            if had_ordinal is None:
                # Rows from before the upgrade were numbered as they lay on disk.
                connection.execute(
                    sql.SQL(
                        "UPDATE {0} AS t SET ordinal = o.n FROM (SELECT version, row_number() OVER"
                        " (ORDER BY applied_at, version) AS n FROM {0}) AS o WHERE o.version = t.version"
                    ).format(_identifier(config))
                )
    except psycopg.Error as error:
        raise _ensure_error(error, config) from None


def _ensure_error(error: psycopg.Error, config: Config) -> StatementFailed:
    hint = None
    if error.sqlstate == _INSUFFICIENT_PRIVILEGE:
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


def record_applied(config: Config, migration: Migration, action: str, started_at: datetime | None = None) -> Record:
    """Return the statement that records a migration as applied and logs it; run it in the migration's transaction.

    A row that the file wrote itself in the same transaction keeps its description. `started_at` is when the migration
    began if that was before the transaction. The result is one row: the duration in milliseconds, on the server's
    clock.
    """
    down = None
    if migration.down is not None and migration.down.content is not None:
        down = migration.down.content
    return Record(
        _RECORD_APPLIED.replace(b"{table}", _quoted(config)).replace(b"{log}", _quoted(config, "_log")),
        (
            str(migration.version).encode(),
            describe(migration.name).encode(),
            migration.name.encode(),
            migration.up.checksum.encode(),
            _encoded(migration.up.token_checksum()),
            own_version().encode(),
            down,
            action.encode(),
            host().encode(),
            _encoded(started_at.isoformat() if started_at is not None else None),
        ),
    )


# now() is when the transaction began; a baseline runs nothing, so that its duration is none.
_RECORD_APPLIED = b"""
WITH recorded AS (
    INSERT INTO {table} AS t (version, description, applied_at, name, checksum, token_checksum, duration_ms, applied_by,
                              tool_version, down_sql)
    VALUES ($1::bigint, $2, now(), $3, $4, $5,
            CASE WHEN $8 <> 'baseline'
                 THEN round(extract(epoch FROM clock_timestamp() - coalesce($10, now()))::numeric * 1000, 3) END,
            session_user, $6, $7)
    ON CONFLICT (version) DO UPDATE
    SET description = coalesce(t.description, excluded.description), name = excluded.name,
        checksum = excluded.checksum, token_checksum = excluded.token_checksum, duration_ms = excluded.duration_ms,
        applied_by = excluded.applied_by, tool_version = excluded.tool_version, down_sql = excluded.down_sql
)
INSERT INTO {log} (version, name, action, outcome, started_at, finished_at, role, host, tool_version)
VALUES ($1::bigint, $3, $8, 'succeeded', coalesce($10::timestamptz, now()), clock_timestamp(), session_user, $9, $6)
RETURNING extract(epoch FROM finished_at - started_at) * 1000
"""


def record_undone(config: Config, version: int, name: str, started_at: datetime | None = None) -> Record:
    """Return the statement that removes a migration's record and logs that; run it in the down's transaction.

    `started_at` and the result are those of `record_applied`.
    """
    text = b"""
        WITH removed AS (DELETE FROM {table} WHERE version = $1::bigint)
        INSERT INTO {log} (version, name, action, outcome, started_at, finished_at, role, host, tool_version)
        VALUES ($1::bigint, $2, 'down', 'succeeded', coalesce($5::timestamptz, now()), clock_timestamp(), session_user,
                $3, $4)
        RETURNING extract(epoch FROM finished_at - started_at) * 1000
        """
    return Record(
        text.replace(b"{table}", _quoted(config)).replace(b"{log}", _quoted(config, "_log")),
        (
            str(version).encode(),
            name.encode(),
            host().encode(),
            own_version().encode(),
            _encoded(started_at.isoformat() if started_at is not None else None),
        ),
    )


def write(connection: Connection, records: Iterable[Record]) -> Diagnostic | None:
    """Run statements in one transaction; return what the server says if one fails, and then nothing is written."""

    def ignore(tag: None, result: PGresult) -> None:
        del tag, result

    with Pipeline[None](connection, ignore) as pipeline:
        pipeline.send(None, b"BEGIN")
        for record in records:
            pipeline.send(None, record.sql, record.parameters)
        pipeline.send(None, b"COMMIT")
        failure = pipeline.finish()
    if failure is None:
        return None
    if connection.info.transaction_status != pq.TransactionStatus.IDLE:
        connection.execute("ROLLBACK")
    return failure[1]


def remove_record(config: Config, version: int) -> Record:
    """Return the statement that removes a migration's record and says nothing of it: the first part of a force."""
    return Record(b"DELETE FROM " + _quoted(config) + b" WHERE version = $1::bigint", (str(version).encode(),))


def log_failure(
    connection: Connection,
    config: Config,
    *,
    version: int,
    name: str,
    action: str,
    outcome: str,
    started_at: datetime,
    sqlstate: str | None,
    message: str,
) -> None:
    """Add an attempt that did not succeed to the log, in a transaction of its own."""
    connection.execute(
        sql.SQL(
            "INSERT INTO {} (version, name, action, outcome, started_at, finished_at, sqlstate, message, role, host,"
            " tool_version) VALUES (%s, %s, %s, %s, %s, clock_timestamp(), %s, %s, session_user, %s, %s)"
        ).format(_identifier(config, "_log")),
        [version, name, action, outcome, started_at, sqlstate, message, host(), own_version()],
    )


def accept_checksums(connection: Connection, config: Config, migrations: Iterable[Migration]) -> None:
    """Record the checksums and down scripts that some applied migrations' files have now, in one transaction."""
    with connection.transaction():
        for migration in migrations:
            down = migration.down.content if migration.down is not None else None
            connection.execute(
                sql.SQL(
                    "WITH updated AS (UPDATE {} SET checksum = %s, token_checksum = %s, name = %s,"
                    " down_sql = %s, tool_version = coalesce(tool_version, %s) WHERE version = %s)"
                    " INSERT INTO {} (version, name, action, outcome, started_at, finished_at, role, host,"
                    " tool_version) VALUES (%s, %s, 'repair', 'succeeded', now(), clock_timestamp(), session_user,"
                    " %s, %s)"
                ).format(_identifier(config), _identifier(config, "_log")),
                [
                    migration.up.checksum,
                    migration.up.token_checksum(),
                    migration.name,
                    down.decode() if down is not None else None,
                    own_version(),
                    migration.version,
                    migration.version,
                    migration.name,
                    host(),
                    own_version(),
                ],
            )


def resolve_statement(connection: Connection, config: Config, stopped: Interruption, *, is_done: bool) -> None:
    """Settle the statement at which a migration was interrupted, and log that a person did."""
    change = "UPDATE {} SET finished_at = clock_timestamp()" if is_done else "DELETE FROM {}"
    with connection.transaction():
        connection.execute(
            sql.SQL(change + " WHERE version = %s AND direction = %s AND statement = %s").format(
                _identifier(config, "_journal")
            ),
            [stopped.version, stopped.direction.value, stopped.statement],
        )
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (version, action, outcome, started_at, finished_at, message, role, host, tool_version)"
                " VALUES (%s, 'resolve', 'succeeded', now(), clock_timestamp(), %s, session_user, %s, %s)"
            ).format(_identifier(config, "_log")),
            [
                stopped.version,
                f"statement {stopped.statement} {'was done' if is_done else 'is to be run again'}",
                host(),
                own_version(),
            ],
        )


@cache
def own_version() -> str:
    """Return the installed version of whimbrel."""
    return installed_version("whimbrel")


@cache
def host() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def _encoded(text: str | None) -> bytes | None:
    return text.encode() if text is not None else None


def _identifier(config: Config, suffix: str = "") -> sql.Identifier:
    return sql.Identifier(config.history_schema, config.history_name + suffix)


def _quoted(config: Config, suffix: str = "") -> bytes:
    # The configuration allows lower-case names only, in which nothing has to be quoted but key words.
    return f'"{config.history_schema}"."{config.history_name}{suffix}"'.encode()

"""A database → its History, its log, the down scripts that it keeps. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import pq, sql
from psycopg.pq.abc import PGresult

from whimbrel import database
from whimbrel.config import Config
from whimbrel.database import Connection
from whimbrel.errors import HistoryError, LockNotObtained, WhimbrelError
from whimbrel.history.tables import INSUFFICIENT_PRIVILEGE, identifier, quoted
from whimbrel.migration import Applied, Direction, Interruption
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
_LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True, slots=True)
class History:
    """What a database records: the applied migrations and the interrupted ones.

    `is_current` is False where the tables are missing or lack columns: the first run makes them. `process` is
    pg_backend_pid() of who answered, `newest` the log's newest success when that was asked for, 0 for none.
    `is_replica`: nothing can be written there.
    """

    applied: tuple[Applied, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    is_current: bool = False
    process: int = 0
    newest: int = 0
    is_replica: bool = False


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


def read_history(connection: Connection, config: Config, process: int, *, with_newest: bool = False) -> History:
    """Read the history in one round trip, after making the session's settings. Changes nothing else.

    The settings stay where `process` answers, and end with the transaction elsewhere. Needs SELECT on the history
    tables if they exist. `newest` is read first: what is committed meanwhile is newer. Raises HistoryError for a table
    that is another tool's, or that this role may not read.
    """
    table = quoted(config)
    queries = {
        "columns": b"""
            SELECT c.relname, a.attname, pg_catalog.format_type(a.atttypid, NULL)
            FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE n.nspname = $1 AND c.relname::text IN ($2::text, $2::text || '_log', $2::text || '_journal')
            """,
        "rows": _ROWS.replace(b"{table}", table),
        "journal": b"SELECT DISTINCT ON (version, direction) version, direction, statement,"
        b" to_jsonb(started_at), finished_at IS NULL FROM "
        + quoted(config, "_journal")
        + b" ORDER BY version, direction, statement DESC",
    }
    pinned = database.settings(config, connection.info.server_version)
    is_block = connection.info.transaction_status == pq.TransactionStatus.INTRANS
    found: dict[str, list[tuple[str | None, ...]]] = {}

    def keep(tag: str, result: PGresult) -> None:
        found[tag] = _texts(result)

    with Pipeline[str](connection, keep) as pipeline:
        pipeline.send("process", *database.opening_statement(pinned, process))
        # A missing table is an error, which would undo what stands before it.
        pipeline.synchronise()
        # What was made for a transaction alone has just ended with it.
        pipeline.send("settings", *database.local_statement(pinned, process))
        if is_block:
            pipeline.send("savepoint", b"SAVEPOINT whimbrel_read")
        if with_newest:
            pipeline.send(
                "newest",
                b"SELECT coalesce(max(id), 0) FROM " + quoted(config, "_log") + b" WHERE outcome = 'succeeded'",
            )
        names = (config.history_schema.encode(), config.history_name.encode())
        pipeline.send("columns", queries["columns"], names)
        pipeline.send("rows", queries["rows"])
        pipeline.send("journal", queries["journal"])
        failure = pipeline.finish()
    if is_block and failure is not None:
        connection.execute("ROLLBACK TO SAVEPOINT whimbrel_read")
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
        own.keys() >= _OWN_COLUMNS and len(columns) == 3 and "run" in columns[f"{config.history_name}_log"],
        _number(found, "process"),
        _number(found, "newest"),
        found["process"][0][1] == "t",
    )


def _number(found: dict[str, list[tuple[str | None, ...]]], tag: str) -> int:
    return int(found[tag][0][0] or 0) if found.get(tag) else 0


def _texts(result: PGresult) -> list[tuple[str | None, ...]]:
    columns = range(result.nfields)
    rows = ([result.get_value(row, column) for column in columns] for row in range(result.ntuples))
    return [tuple([value.decode() if value is not None else None for value in row]) for row in rows]


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


def _read_error(diagnostic: Diagnostic, config: Config) -> WhimbrelError:
    hint = None
    if diagnostic.sqlstate == _LOCK_NOT_AVAILABLE:
        return LockNotObtained(
            f"the history cannot be read: {diagnostic.message}",
            sqlstate=diagnostic.sqlstate,
            hint=f"Another session holds a lock on {config.history_table}; nothing was changed. Run the command again.",
        )
    if diagnostic.sqlstate == INSUFFICIENT_PRIVILEGE:
        hint = (
            f"Ask for it: GRANT USAGE ON SCHEMA {config.history_schema} TO …; GRANT SELECT ON {config.history_table},"
            f" {config.history_table}_log, {config.history_table}_journal TO …;"
        )
    return HistoryError(f"the history cannot be read: {diagnostic.message}", detail=diagnostic.detail, hint=hint)


# A column that a table does not have is that of the row without values: names are looked for from the inside out
# (PostgreSQL 18 documentation, 7.2.1.5 LATERAL Subqueries; the SQL standard's scopes).
_ROWS = b"""
SELECT applied.* FROM (
    SELECT NULL::bigint AS ordinal, NULL AS name, NULL AS checksum, NULL AS token_checksum,
           NULL::double precision AS duration_ms, NULL AS applied_by, NULL AS tool_version, NULL AS down_sql
) AS missing
CROSS JOIN LATERAL (
    SELECT version, description, to_jsonb(applied_at) #>> '{}' AS applied_at, ordinal, name, checksum, token_checksum,
           duration_ms, applied_by, tool_version, down_sql IS NOT NULL AS has_down
    FROM {table}
) AS applied
"""


def _applied(row: tuple[str | None, ...]) -> Applied:
    version, description, applied_at, ordinal, name, checksum, token_checksum, duration, role, tool, has_down = row
    return Applied(
        version=int(version or 0),
        description=description,
        applied_at=datetime.fromisoformat(applied_at) if applied_at else None,
        ordinal=int(ordinal) if ordinal is not None else None,
        name=name,
        checksum=checksum,
        token_checksum=token_checksum,
        duration_ms=float(duration) if duration is not None else None,
        applied_by=role,
        tool_version=tool,
        has_down=has_down == "t",
    )


def _interruption(row: tuple[str | None, ...]) -> Interruption:
    version, direction, statement, started_at, is_open = row
    return Interruption(
        int(version or 0),
        Direction(direction),
        int(statement or 0) + (0 if is_open == "t" else 1),
        datetime.fromisoformat(json.loads(started_at or '""')),
        is_open == "t",
    )


def read_down_scripts(connection: Connection, config: Config, versions: Iterable[int]) -> dict[int, Script]:
    """Return the down scripts that the history keeps for some versions."""
    with database.with_settings(connection, config):
        rows = connection.execute(
            sql.SQL("SELECT version, name, down_sql FROM {} WHERE version = ANY (%s) AND down_sql IS NOT NULL").format(
                identifier(config)
            ),
            [list(versions)],
        ).fetchall()
    return {
        int(version): script_from(str(text).encode(), f"{version}_{name or ''}.down.sql (stored)")
        for version, name, text in rows
    }


def successes_of(connection: Connection, config: Config, run: str) -> list[tuple[int, str]]:
    """Return the versions and actions of a run's attempts that were committed, in their order."""
    with database.with_settings(connection, config):
        rows = connection.execute(
            sql.SQL("SELECT version, action FROM {} WHERE run = %s AND outcome = 'succeeded' ORDER BY id").format(
                identifier(config, "_log")
            ),
            [run],
        ).fetchall()
    return [(int(version), str(action)) for version, action in rows]


def read_log(connection: Connection, config: Config, limit: int) -> list[Attempt]:
    """Return the newest attempts, newest first; none where there is no log yet."""
    try:
        with database.with_settings(connection, config):
            rows = connection.execute(
                sql.SQL(
                    "SELECT version, name, action, outcome, started_at, finished_at, sqlstate, message, role, host"
                    " FROM {} ORDER BY id DESC LIMIT %s"
                ).format(identifier(config, "_log")),
                [limit],
            ).fetchall()
    except psycopg.errors.UndefinedTable:
        return []
    return [Attempt(*row) for row in rows]

"""The statements that write to the history, and the ones that a person's corrections make."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import version as installed_version

from psycopg import pq, sql
from psycopg.pq.abc import PGresult

from whimbrel import database
from whimbrel.config import Config
from whimbrel.database import Connection
from whimbrel.history.tables import identifier, quoted
from whimbrel.migration import Interruption, Migration, describe
from whimbrel.pipeline import Diagnostic, Pipeline

# A larger down script is not kept in the history.
STORED_SIZE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Record:
    """One statement that writes to the history, with its parameters as text."""

    sql: bytes
    parameters: tuple[bytes | None, ...]


def record_applied(
    config: Config, migration: Migration, action: str, started_at: datetime | None = None, *, run: str | None = None
) -> Record:
    """Return the statement that records a migration as applied and logs it; run it in the migration's transaction.

    A row that the file wrote itself in the same transaction keeps its description. `started_at` is when the migration
    began if that was before the transaction. The result is one row: the duration in milliseconds, on the server's
    clock.
    """
    down = _stored_text(migration)
    return Record(
        _named(_RECORD_APPLIED, config),
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
            _encoded(run),
        ),
    )


# now() is when the transaction began; a baseline runs nothing, so that its duration is none.
_RECORD_APPLIED = b"""
WITH settled AS (
    DELETE FROM {journal} WHERE version = $1::bigint
), recorded AS (
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
INSERT INTO {log} (version, name, action, outcome, started_at, finished_at, role, host, tool_version, run)
VALUES ($1::bigint, $3, $8, 'succeeded', coalesce($10::timestamptz, now()), clock_timestamp(), session_user, $9, $6,
        $11::uuid)
RETURNING extract(epoch FROM finished_at - started_at) * 1000
"""


def _named(text: bytes, config: Config) -> bytes:
    return (
        text.replace(b"{table}", quoted(config))
        .replace(b"{log}", quoted(config, "_log"))
        .replace(b"{journal}", quoted(config, "_journal"))
    )


def measure() -> Record:
    """Return the statement whose result is the duration of the transaction so far, in milliseconds."""
    return Record(b"SELECT extract(epoch FROM clock_timestamp() - now()) * 1000", ())


def record_undone(
    config: Config, version: int, name: str, started_at: datetime | None = None, *, run: str | None = None
) -> Record:
    """Return the statement that removes a migration's record and logs that; run it in the down's transaction.

    `started_at` and the result are those of `record_applied`.
    """
    text = b"""
        WITH settled AS (DELETE FROM {journal} WHERE version = $1::bigint),
             removed AS (DELETE FROM {table} WHERE version = $1::bigint)
        INSERT INTO {log} (version, name, action, outcome, started_at, finished_at, role, host, tool_version, run)
        VALUES ($1::bigint, $2, 'down', 'succeeded', coalesce($5::timestamptz, now()), clock_timestamp(), session_user,
                $3, $4, $6::uuid)
        RETURNING extract(epoch FROM finished_at - started_at) * 1000
        """
    return Record(
        _named(text, config),
        (
            str(version).encode(),
            name.encode(),
            host().encode(),
            own_version().encode(),
            _encoded(started_at.isoformat() if started_at is not None else None),
            _encoded(run),
        ),
    )


def write(connection: Connection, records: Iterable[Record]) -> Diagnostic | None:
    """Run statements in one transaction; return what the server says if one fails, and then nothing is written.

    In a transaction block that is open they become a part of it.
    """
    is_block = connection.info.transaction_status == pq.TransactionStatus.INTRANS

    def ignore(tag: None, result: PGresult) -> None:
        del tag, result

    with Pipeline[None](connection, ignore) as pipeline:
        if not is_block:
            pipeline.send(None, b"BEGIN")
        for record in records:
            pipeline.send(None, record.sql, record.parameters)
        if not is_block:
            pipeline.send(None, b"COMMIT")
        failure = pipeline.finish()
    if failure is None:
        return None
    if connection.info.transaction_status != pq.TransactionStatus.IDLE:
        connection.execute("ROLLBACK")
    return failure[1]


def keep_ordinal(config: Config, version: int, ordinal: int) -> Record:
    """Return the statement that gives a migration that was applied again its old place in the order of application."""
    return Record(
        b"UPDATE " + quoted(config) + b" SET ordinal = $2::bigint WHERE version = $1::bigint",
        (str(version).encode(), str(ordinal).encode()),
    )


def remove_record(config: Config, version: int) -> Record:
    """Return the statement that removes a migration's record and says nothing of it: the first part of a force."""
    return Record(b"DELETE FROM " + quoted(config) + b" WHERE version = $1::bigint", (str(version).encode(),))


def log_failure(
    connection: Connection,
    config: Config,
    *,
    version: int,
    name: str,
    action: str,
    outcome: str,
    duration: timedelta,
    sqlstate: str | None,
    message: str,
    run: str | None = None,
) -> Diagnostic | None:
    """Add an attempt that did not succeed to the log, in a transaction of its own; return why not, if that fails.

    Its times are on the server's clock: the end is now, the beginning that much earlier. Nothing that the session is
    set to counts, be it by the migration or behind a pooler.
    """
    values = (str(version), name, action, outcome, f"{duration.total_seconds()}s", sqlstate, message)
    text = (
        b"INSERT INTO " + quoted(config, "_log") + b" (version, name, action, outcome, started_at, finished_at,"
        b" sqlstate, message, role, host, tool_version, run) VALUES ($1::bigint, $2, $3, $4, now() - $5::interval,"
        b" now(), $6, $7, session_user, $8, $9, $10::uuid)"
    )
    pinned = database.settings(config, connection.info.server_version)
    settings, own = database.settings_statement(pinned, local=True)
    return write(
        connection,
        [
            Record(b"SET LOCAL SESSION AUTHORIZATION DEFAULT", ()),
            Record(settings, tuple(own)),
            Record(text, tuple(_encoded(each) for each in (*values, host(), own_version(), run))),
        ],
    )


def accept_checksums(
    connection: Connection, config: Config, migrations: Iterable[Migration], *, run: str | None = None
) -> None:
    """Record the checksums and down scripts that some applied migrations' files have now, in one transaction."""
    with connection.transaction():
        for migration in migrations:
            down = _stored_text(migration)
            connection.execute(
                sql.SQL(
                    "WITH updated AS (UPDATE {} SET checksum = %s, token_checksum = %s, name = %s,"
                    " down_sql = %s, tool_version = coalesce(tool_version, %s) WHERE version = %s)"
                    " INSERT INTO {} (version, name, action, outcome, started_at, finished_at, role, host,"
                    " tool_version, run) VALUES (%s, %s, 'repair', 'succeeded', now(), clock_timestamp(),"
                    " session_user, %s, %s, %s)"
                ).format(identifier(config), identifier(config, "_log")),
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
                    run,
                ],
            )


def resolve_statement(
    connection: Connection, config: Config, stopped: Interruption, *, is_done: bool, run: str | None = None
) -> None:
    """Settle the statement at which a migration was interrupted, and log that a person did."""
    change = "UPDATE {} SET finished_at = clock_timestamp()" if is_done else "DELETE FROM {}"
    with connection.transaction():
        connection.execute(
            sql.SQL(change + " WHERE version = %s AND direction = %s AND statement = %s").format(
                identifier(config, "_journal")
            ),
            [stopped.version, stopped.direction.value, stopped.statement],
        )
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (version, action, outcome, started_at, finished_at, message, role, host, tool_version,"
                " run) VALUES (%s, 'resolve', 'succeeded', now(), clock_timestamp(), %s, session_user, %s, %s, %s)"
            ).format(identifier(config, "_log")),
            [
                stopped.version,
                f"statement {stopped.statement} {'was done' if is_done else 'is to be run again'}",
                host(),
                own_version(),
                run,
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


def _stored_text(migration: Migration) -> bytes | None:
    """Return the down script that is kept in the history, None where there is none or it is too large to keep."""
    if migration.down is None or migration.down.size > STORED_SIZE:
        return None
    with migration.down.open() as stream:
        return stream.read()


def _encoded(text: str | None) -> bytes | None:
    return text.encode() if text is not None else None

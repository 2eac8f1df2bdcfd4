"""The journal of a migration that runs outside a transaction: which of its statements were started and which ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from whimbrel.config import Config
from whimbrel.database import Connection
from whimbrel.history.record import Record
from whimbrel.history.tables import identifier, quoted
from whimbrel.migration import Direction


@dataclass(frozen=True, slots=True)
class Place:
    """A statement of a script; `number` counts from 1."""

    version: int
    direction: Direction
    number: int

    def values(self) -> tuple[bytes, bytes, bytes]:
        """Return the parameters that name it in the statements below."""
        return str(self.version).encode(), self.direction.value.encode(), str(self.number).encode()


@dataclass(frozen=True, slots=True)
class Entry:
    """A journalled statement: its checksum, and whether it ended."""

    checksum: str
    is_finished: bool


def read_journal(connection: Connection, config: Config, version: int, direction: Direction) -> Mapping[int, Entry]:
    """Return the journalled statements of a script by their numbers."""
    rows = connection.execute(
        sql.SQL(
            "SELECT statement, checksum, finished_at IS NOT NULL FROM {} WHERE version = %s AND direction = %s"
        ).format(identifier(config, "_journal")),
        [version, direction.value],
    ).fetchall()
    return {int(number): Entry(str(checksum), bool(is_finished)) for number, checksum, is_finished in rows}


def age_of(config: Config, place: Place) -> sql.Composable:
    """Return a query for how many transactions ago a statement was journalled as started."""
    return sql.SQL(
        "SELECT pg_catalog.age(xmin) FROM {} WHERE version = {} AND direction = {} AND statement = {}"
    ).format(identifier(config, "_journal"), place.version, place.direction.value, place.number)


def as_oneself(config: Config) -> tuple[Record, ...]:
    """Return the statements that give a transaction, and it alone, the role that whimbrel works as.

    A script may have taken another one, which need not have any right to the journal, and keeps it behind the COMMIT.
    """
    return (
        Record(b"SET LOCAL SESSION AUTHORIZATION DEFAULT", ()),
        Record(b"SELECT pg_catalog.set_config('role', $1, true)", (config.role.encode(),)),
    )


def mark_started(config: Config, place: Place, checksum: str) -> Record:
    """Return the statement that journals another one as started and not finished."""
    return Record(_mark(config, b"clock_timestamp(), NULL"), (*place.values(), checksum.encode()))


def mark_finished(config: Config, place: Place, checksum: str) -> Record:
    """Return the statement that journals another one as finished."""
    return Record(_mark(config, b"clock_timestamp(), clock_timestamp()"), (*place.values(), checksum.encode()))


def _mark(config: Config, times: bytes) -> bytes:
    return (
        b"INSERT INTO "
        + quoted(config, "_journal")
        + b" AS j (version, direction, statement, checksum, started_at, finished_at)"
        b" VALUES ($1::bigint, $2, $3::integer, $4, " + times + b") ON CONFLICT (version, direction, statement)"
        b" DO UPDATE SET checksum = excluded.checksum, finished_at = excluded.finished_at,"
        b" started_at = CASE WHEN excluded.finished_at IS NULL THEN excluded.started_at ELSE j.started_at END"
    )


def forget(config: Config, place: Place) -> Record:
    """Return the statement that takes a statement out of the journal: it left nothing behind."""
    return Record(
        b"DELETE FROM " + quoted(config, "_journal") + b" WHERE version = $1::bigint AND direction = $2"
        b" AND statement = $3::integer",
        place.values(),
    )

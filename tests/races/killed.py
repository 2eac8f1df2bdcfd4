"""A run that is killed with SIGKILL in the middle of a statement, and those who come after it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from whimbrel.config import config_from
from whimbrel.database import lock_key

from ..acceptance.programs import Project, eventually, value
from .crowd import Gate

Connection = psycopg.Connection[TupleRow]
KEY = lock_key(config_from({}))

# The index function waits at each row for as long as there is a row in `brake`.
SLOW = """
CREATE TABLE a (n int);
INSERT INTO a SELECT generate_series(1, 100);
CREATE TABLE brake ();
CREATE FUNCTION slow(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM pg_catalog.pg_sleep(0.1) FROM public.brake;
    RETURN n;
END $$;
"""
INVALID = "SELECT count(*) > 0 FROM pg_index WHERE NOT indisvalid"


@dataclass(frozen=True, slots=True)
class Case:
    """A statement, what somebody else holds open meanwhile, and when it is in the middle.

    `until` gives true then; `after` gives true when all is well in the end.
    """

    name: str
    base: str
    statement: str
    blocker: str
    until: str
    after: str


_INDEXED = "CREATE TABLE a (n int); INSERT INTO a SELECT generate_series(1, 100); CREATE INDEX i ON a (n);"
_ONE_VALID = (
    "SELECT array_agg(indexrelid::regclass::text || ' ' || indisvalid) = '{i true}' FROM pg_index"
    " WHERE indrelid = 'a'::regclass"
)
BUILD = Case(
    "a build that waits for a writer",
    "CREATE TABLE a (n int); INSERT INTO a SELECT generate_series(1, 100);",
    "CREATE INDEX CONCURRENTLY i ON a (n)",
    "INSERT INTO a VALUES (7)",
    INVALID,
    _ONE_VALID,
)
CASES = (
    BUILD,
    Case(
        "a build that computes",
        SLOW + "INSERT INTO brake DEFAULT VALUES;",
        "CREATE INDEX CONCURRENTLY i ON a (public.slow(n))",
        "SELECT 1",
        "SELECT count(*) = 1 FROM pg_stat_progress_create_index"
        " WHERE datname = current_database() AND phase LIKE 'building%'",
        _ONE_VALID,
    ),
    Case(
        "reindex of an index", _INDEXED, "REINDEX INDEX CONCURRENTLY i", "INSERT INTO a VALUES (7)", INVALID, _ONE_VALID
    ),
    Case(
        "reindex of a table", _INDEXED, "REINDEX TABLE CONCURRENTLY a", "INSERT INTO a VALUES (7)", INVALID, _ONE_VALID
    ),
    Case(
        "reindex behind the swap",
        _INDEXED,
        "REINDEX INDEX CONCURRENTLY i",
        "LOCK TABLE a IN ACCESS SHARE MODE",
        "SELECT to_regclass('i_ccold') IS NOT NULL",
        _ONE_VALID,
    ),
    Case(
        "a drop",
        _INDEXED,
        "DROP INDEX CONCURRENTLY i",
        "INSERT INTO a VALUES (7)",
        INVALID,
        "SELECT to_regclass('i') IS NULL",
    ),
    Case(
        "a detach",
        "CREATE TABLE a (n int) PARTITION BY LIST (n); CREATE TABLE c PARTITION OF a FOR VALUES IN (1);",
        "ALTER TABLE a DETACH PARTITION c CONCURRENTLY",
        "SELECT FROM a",
        "SELECT count(*) = 1 FROM pg_inherits WHERE inhdetachpending",
        "SELECT count(*) = 0 FROM pg_inherits WHERE inhparent = 'a'::regclass",
    ),
)


def start_in(project: Project, case: Case, connection: Connection, other: Connection) -> subprocess.Popen[str]:
    """Apply the base, open the other's transaction, and return a run that is in the middle of the statement.

    The other's transaction is left open.
    """
    project.migration(1, case.base)
    project.succeed("up")
    project.migration(2, f"{case.statement};\n")
    other.execute("BEGIN")
    other.execute(case.blocker.encode())
    process = project.start("up", "--lock-timeout", "1h")
    eventually(lambda: value(connection, case.until) is True and holder(connection) is not None)
    return process


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a run with SIGKILL; what the server does about it is another matter."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def holder(connection: Connection) -> int | None:
    """Return the process ID of the server's session that holds the lock of the history."""
    found = value(
        connection,
        "SELECT min(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
        f" AND (classid::bigint << 32) | objid::bigint = {KEY}",
    )
    return int(str(found)) if found is not None else None


def waiting(connection: Connection) -> int:
    """Return how many sessions of the database wait for a lock."""
    found = value(
        connection,
        "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid IN"
        " (SELECT pid FROM pg_stat_activity WHERE datname = current_database())",
    )
    return int(str(found))


def second(project: Project, *arguments: str) -> tuple[subprocess.Popen[str], Callable[[], None]]:
    """Return another `up` that is ready, and what lets it begin."""
    gate = Gate()
    process = gate.start(project, "up", *arguments)
    gate.wait()
    return process, gate.open

"""The advisory lock: one run at a time for each history table, or one transaction of a run."""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import pq

from whimbrel.config import Config
from whimbrel.database.connection import Connection
from whimbrel.errors import ConfigError, LockNotObtained
from whimbrel.events import Listener, LockHeld

# What to do about a pooler that gives every transaction another server session.
POOLER_HINT = (
    'Give the address that goes around the pooler, direct_url = "postgresql://…" in whimbrel.toml or DIRECT_URL;'
    ' or lock each transaction: lock = "transaction" (--lock transaction).'
)
_UNLOCK_ATTEMPTS = 20
# How much of the holder's query an error shows.
_SHOWN = 72


def lock_key(config: Config) -> int:
    """Return the key of the advisory lock: one for each history table. PostgreSQL keeps databases apart by itself."""
    digest = hashlib.sha256(f"whimbrel {config.history_table}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


@contextmanager
def hold_lock(
    connection: Connection, key: int, wait: float, emit: Listener, process: int | None = None
) -> Generator[bool]:
    """Hold the session-level advisory lock `key`; yield whether another session held it first.

    Polls for up to `wait` seconds and emits LockHeld every few of them. Never waits inside pg_advisory_lock: a blocked
    waiter holds a snapshot, which deadlocks CREATE INDEX CONCURRENTLY in the holder (seen on 13 to 18). Raises
    LockNotObtained when the time is over, and ConfigError where another server process than `process` answers.
    """
    waiting = Waiting(connection, key, wait, emit)
    waited = False
    while not _try_lock(connection, key, process):
        waited = True
        waiting.pause()
    try:
        yield waited
    finally:
        # A connection that is gone, or in the middle of something, has no lock that could be given back here.
        if connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            # Where that fails the session is gone, and its lock with it.
            with suppress(psycopg.Error):
                _unlock(connection, key, process)


def _try_lock(connection: Connection, key: int, process: int | None) -> bool:
    row = connection.execute(
        "SELECT CASE WHEN pg_catalog.pg_backend_pid() = coalesce(%s, pg_catalog.pg_backend_pid())"
        " THEN pg_catalog.pg_try_advisory_lock(%s) END",
        [process, key],
    ).fetchone()
    assert row is not None
    if row[0] is None:
        raise swapped(process)
    return bool(row[0])


def _unlock(connection: Connection, key: int, process: int | None) -> None:
    # Behind a pooler that has swapped the session the one with the lock may come back; not for ever.
    for _ in range(_UNLOCK_ATTEMPTS):
        row = connection.execute(
            "SELECT CASE WHEN pg_catalog.pg_backend_pid() = coalesce(%s, pg_catalog.pg_backend_pid())"
            " THEN pg_catalog.pg_advisory_unlock(%s) END",
            [process, key],
        ).fetchone()
        if row is None or row[0] is not None:
            return


def swapped(process: int | None) -> ConfigError:
    """Return the error for a connection that another server process answers than the one that has the lock."""
    return ConfigError(
        "the connection leads to another server session than the one that holds the lock",
        detail=(
            "A pooler in transaction mode is between, and was not recognised as one. Nothing more was done."
            f" The lock may stay with server process {process} until the pooler closes it."
        ),
        hint=POOLER_HINT,
    )


@contextmanager
def hold_transaction_lock(connection: Connection, key: int, wait: float, emit: Listener) -> Generator[bool]:
    """Hold the same lock for one transaction, which the block is; yield whether another session held it first.

    Waits as `hold_lock` does, outside any transaction. Commits at the end of the block, rolls back after an error.
    """
    waiting = Waiting(connection, key, wait, emit)
    waited = False
    while True:
        connection.execute(BEGIN)
        row = connection.execute("SELECT pg_catalog.pg_try_advisory_xact_lock(%s)", [key]).fetchone()
        if row is not None and row[0]:
            break
        connection.execute("ROLLBACK")
        waited = True
        waiting.pause()
    try:
        yield waited
        if connection.pgconn.transaction_status == pq.TransactionStatus.INTRANS:
            connection.execute("COMMIT")
    finally:
        if connection.pgconn.transaction_status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR):
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")


# Not what the role or the database may have as its default: each statement has to see what was committed before it.
BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED"


def try_statement(key: int) -> tuple[bytes, list[bytes]]:
    """Return the statement that takes the lock for the transaction or fails with DIVISION_BY_ZERO."""
    return (
        b"SELECT 1 / CASE WHEN pg_catalog.pg_try_advisory_xact_lock($1::bigint) THEN 1 ELSE 0 END",
        [str(key).encode()],
    )


class Waiting:
    """The time that a run may wait for others, and what it tells meanwhile."""

    def __init__(self, connection: Connection, key: int, wait: float, emit: Listener) -> None:
        self._connection = connection
        self._key = key
        self._wait = wait
        self._emit = emit
        self._start = self._next_report = time.monotonic()

    def begin_anew(self) -> None:
        """Give the whole time again: the run has got somewhere."""
        self._start = time.monotonic()

    def pause(self) -> None:
        """Wait a moment, and tell who holds the lock every few seconds. Raises LockNotObtained when time is over."""
        now = time.monotonic()
        passed = now - self._start
        holder = find_holder(self._connection, self._key)
        if passed >= self._wait:
            raise LockNotObtained(
                f"another run holds the lock{f' (process {holder.pid})' if holder else ''}",
                detail=_holder_detail(holder),
                hint=_hint(holder),
            )
        if holder is not None and now >= self._next_report:
            self._emit(holder)
            self._next_report = now + 5
        time.sleep(min(random.uniform(0.1, 0.5), max(0.01, self._wait - passed)))  # noqa: S311


def find_holder(connection: Connection, key: int) -> LockHeld | None:
    """Return who holds the advisory lock, as far as this role may see."""
    row = connection.execute(
        """
        SELECT l.pid, coalesce(a.application_name, ''), coalesce(host(a.client_addr), 'local socket'),
               a.backend_start, clock_timestamp() - a.backend_start, coalesce(a.query, '')
        FROM pg_catalog.pg_locks AS l
        LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
          AND (l.classid::bigint << 32) | l.objid::bigint = %s
        """,
        [key],
    ).fetchone()
    if row is None:
        return None
    pid, application, client, since, age, query = row
    return LockHeld(int(pid), application, client, since, age, hide_texts(query))


_TEXT = re.compile(
    r"""
    [eE]'(?:[^'\\]|\\.|'')*(?:'|$) | '(?:[^']|'')*(?:'|$)
    | \$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|$)
    """,
    re.VERBOSE | re.DOTALL,
)


def hide_texts(query: str) -> str:
    """Return a query without the texts in it; it may be cut off in the middle of one (track_activity_query_size)."""
    return _TEXT.sub("'…'", query)


def _holder_detail(holder: LockHeld | None) -> str | None:
    if holder is None:
        return None
    since = f", connected since {holder.since:%Y-%m-%d %H:%M:%S} UTC" if holder.since else ""
    query = " ".join(holder.query.split())
    runs = f" Its last query: {query[:_SHOWN]}{'…' if len(query) > _SHOWN else ''}" if query else ""
    return f"It is {holder.application or 'a session'} from {holder.client}{since}.{runs}"


def _hint(holder: LockHeld | None) -> str:
    wait = "Wait for it and run the command again, or give it more time: --lock-wait 10min"
    if holder is None:
        return wait
    return f"{wait}\n      If its client is gone for good: SELECT pg_terminate_backend({holder.pid});"

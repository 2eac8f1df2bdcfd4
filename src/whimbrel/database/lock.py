"""The advisory lock: one run at a time for each history table."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import datetime

import psycopg
from psycopg import pq

from whimbrel.config import Config
from whimbrel.database.connection import Connection
from whimbrel.errors import LockNotObtained
from whimbrel.events import Listener, LockHeld


def lock_key(config: Config) -> int:
    """Return the key of the advisory lock: one for each history table. PostgreSQL keeps databases apart by itself."""
    digest = hashlib.sha256(f"whimbrel {config.history_table}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


@contextmanager
def hold_lock(connection: Connection, key: int, wait: float, emit: Listener) -> Generator[bool]:
    """Hold the session-level advisory lock `key`; yield whether another session held it first.

    Polls for up to `wait` seconds and emits LockHeld every few of them. Never waits inside pg_advisory_lock: a blocked
    waiter holds a snapshot, which deadlocks CREATE INDEX CONCURRENTLY in the holder (seen on 13 to 18). Raises
    LockNotObtained when the time is over.
    """
    start = time.monotonic()
    next_report = start
    waited = False
    while not _try_lock(connection, key):
        waited = True
        now = time.monotonic()
        holder = find_holder(connection, key)
        if now - start >= wait:
            raise LockNotObtained(
                f"another run holds the lock{f' (process {holder.pid})' if holder else ''}",
                detail=_holder_detail(holder),
                hint="Wait for it and run the command again, or give it more time: --lock-wait 10min",
            )
        if holder is not None and now >= next_report:
            emit(holder)
            next_report = now + 5
        time.sleep(min(random.uniform(0.1, 0.5), max(0.01, wait - (now - start))))  # noqa: S311
    try:
        yield waited
    finally:
        # A connection that is gone, or in the middle of something, has no lock that could be given back here.
        if connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            # Where that fails the session is gone, and its lock with it.
            with suppress(psycopg.Error):
                connection.execute("SELECT pg_catalog.pg_advisory_unlock(%s)", [key])


def _try_lock(connection: Connection, key: int) -> bool:
    row = connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", [key]).fetchone()
    return row is not None and bool(row[0])


def find_holder(connection: Connection, key: int) -> LockHeld | None:
    """Return who holds the advisory lock, as far as this role may see."""
    row = connection.execute(
        """
        SELECT l.pid, coalesce(a.application_name, ''), coalesce(host(a.client_addr), 'local socket'),
               coalesce(a.xact_start, a.state_change, a.backend_start), coalesce(a.query, '')
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
    pid, application, client, since, query = row
    return LockHeld(int(pid), str(application), str(client), since if isinstance(since, datetime) else None, str(query))


def _holder_detail(holder: LockHeld | None) -> str | None:
    if holder is None:
        return None
    since = f", since {holder.since:%H:%M:%S} UTC" if holder.since else ""
    return f"It is {holder.application or 'a session'} from {holder.client}{since}."


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(duration: str) -> float:
    """Return a PostgreSQL duration in seconds; a bare number is milliseconds, as in PostgreSQL."""
    number = duration.rstrip("abcdefghijklmnopqrstuvwxyz ")
    return float(number) * _UNITS[duration[len(number) :].strip() or "ms"]

"""Waiting for other sessions to be where a test wants them."""

from __future__ import annotations

import time

import psycopg
from psycopg.rows import TupleRow


def await_lock_wait(observer: psycopg.Connection[TupleRow], sessions: int = 1) -> None:
    """Return once that many sessions of this database wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 30
    while observer.execute(query).fetchone() != (sessions,):
        assert time.monotonic() < deadline, f"{sessions} sessions should wait for a lock, but do not"
        time.sleep(0.01)

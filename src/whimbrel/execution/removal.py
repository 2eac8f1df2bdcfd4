"""Dropping an index without standing in anybody's way."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGresult

from whimbrel.database import Connection
from whimbrel.execution.leftovers import Index
from whimbrel.pipeline import Pipeline


def drop_index(connection: Connection, index: Index, on_idle: Callable[[], None] | None = None) -> None:
    """Drop an index without standing in anybody's way, however long those take who have the table."""
    connection.execute("SET lock_timeout = 0")
    with Pipeline[None](connection, _ignore_result, on_idle) as pipeline:
        pipeline.send(None, f"DROP INDEX CONCURRENTLY IF EXISTS {index.label}".encode())
        failure = pipeline.finish()
    if failure is not None:
        raise psycopg.errors.lookup(failure[1].sqlstate or "XX000")(failure[1].message)


def _ignore_result(tag: None, result: PGresult) -> None:
    del tag, result


def drop_index_in_time(connection: Connection, index: Index, seconds: float) -> None:
    """Drop an index as `drop_index` does; raises psycopg.Error where that takes longer than some seconds."""
    timeout = f"{max(1, round(seconds * 1000))}"
    names = ("statement_timeout", "lock_timeout")
    settings = [
        row[0]
        for name in names
        if (row := connection.execute("SELECT pg_catalog.current_setting(%s)", [name]).fetchone())
    ]
    connection.execute("SELECT pg_catalog.set_config('statement_timeout', %s, false)", [timeout])
    try:
        drop_index(connection, index)
    finally:
        if not connection.closed and connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            for name, value in zip(names, settings, strict=True):
                connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])

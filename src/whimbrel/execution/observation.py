"""What the server says of one of its processes: the statement, how far that is, whom it waits for."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import Any

import psycopg
from psycopg import pq, sql

from whimbrel.database import Connection, hide_texts
from whimbrel.errors import WhimbrelError
from whimbrel.events import Blocker
from whimbrel.execution.blockers import find_blocking

# How long a look may take, in milliseconds.
LOOK_TIMEOUT = 2000
# Progress views that came after 13, with the version that has them.
_LATER_VIEWS = {"copy": 140000}
_VIEWS = ("create_index", "vacuum", "cluster", "analyze", "copy")
# What is done and how much there is to do, in a phase of the views; the first that has a total counts.
_COUNTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "waiting for": (("lockers_done", "lockers_total"),),
    "scanning table": (("blocks_done", "blocks_total"),),
    "scanning heap": (("heap_blks_scanned", "heap_blks_total"),),
    "seq scanning heap": (("heap_blks_scanned", "heap_blks_total"),),
    "vacuuming heap": (("heap_blks_vacuumed", "heap_blks_total"),),
    "indexes": (("indexes_processed", "indexes_total"),),
    "acquiring": (("sample_blks_scanned", "sample_blks_total"),),
    "COPY": (("bytes_processed", "bytes_total"),),
    "index": (("tuples_done", "tuples_total"), ("blocks_done", "blocks_total")),
}


@dataclass(frozen=True, slots=True)
class Progress:
    """A phase in the server's words, and how far it is, from 0 to 1, if it counts."""

    phase: str
    fraction: float | None


@dataclass(frozen=True, slots=True)
class Observation:
    """A statement under way. `begun` and `age` are by the server's clock, None where it does not say."""

    sql: str
    begun: datetime | None = None
    age: timedelta | None = None
    progress: Progress | None = None
    blockers: tuple[Blocker, ...] = ()

    @property
    def is_waiting(self) -> bool:
        """Whether it gets on only when somebody else ends."""
        return bool(self.blockers) or (self.progress is not None and self.progress.phase.startswith("waiting for"))


def prepare(connection: Connection) -> None:
    """Give a connection the settings for looking; nothing of them stays where a pooler gives sessions to others."""
    pinned = {"application_name": "whimbrel: watch", "statement_timeout": str(LOOK_TIMEOUT)}
    if connection.info.server_version >= 140000:
        pinned["idle_session_timeout"] = "0"
    process = connection.info.backend_pid
    for name, value in pinned.items():
        connection.execute(
            "SELECT pg_catalog.set_config(%s, %s, pg_catalog.pg_backend_pid() <> %s)", [name, value, process]
        )


def observe(connection: Connection, process: int) -> Observation | None:
    """Return what a server process is doing for this role, None where it runs no statement.

    Each look is a transaction of its own: a snapshot that stays would keep a concurrent build waiting.
    """
    row = connection.execute(
        """
        SELECT pg_catalog.pg_backend_pid(), a.query_start, pg_catalog.clock_timestamp() - a.query_start,
               coalesce(a.query, '')
        FROM pg_catalog.pg_stat_activity AS a
        -- With several hosts in the address this may be another server, where the number is somebody else's.
        WHERE a.pid = %s AND a.datname = pg_catalog.current_database() AND a.usename = session_user
          AND a.state NOT LIKE 'idle%%'
        """,
        [process],
    ).fetchone()
    if row is None:
        return None
    own, begun, age, query = row
    # For a moment a build may wait for the very transaction that looks at it.
    blockers = tuple(blocker for blocker in find_blocking(connection, process) if blocker.pid != own)
    return Observation(hide_texts(query), begun, age, find_progress(connection, process), blockers)


def find_progress(connection: Connection, process: int) -> Progress | None:
    """Return how far a server process is with a statement that has a progress view."""
    views = [view for view in _VIEWS if connection.info.server_version >= _LATER_VIEWS.get(view, 0)]
    # As a value: its columns are not the same in all versions.
    one = sql.SQL("SELECT pg_catalog.to_jsonb(p) FROM {} AS p WHERE p.pid = %(process)s")
    text = sql.SQL(" UNION ALL ").join(
        one.format(sql.Identifier("pg_catalog", f"pg_stat_progress_{view}")) for view in views
    )
    row = connection.execute(text, {"process": process}).fetchone()
    return _progress(row[0]) if row is not None else None


def _progress(row: Mapping[str, Any]) -> Progress:
    phase = str(row.get("phase") or "")
    if not phase:
        phase = f"{row.get('command', 'COPY')}: {int(row.get('tuples_processed') or 0):,} rows"
    counts = next((counts for words, counts in _COUNTS.items() if words in phase), ())
    fraction = next((int(row.get(done) or 0) / int(row[total]) for done, total in counts if row.get(total)), None)
    if fraction is not None and fraction >= 1 and phase.endswith("scanning table"):
        # In a table's first block the server takes all of them for done (heapam_scan_get_blocks_done, seen on 18).
        fraction = None
    fraction = min(1.0, max(0.0, fraction)) if fraction is not None else None
    partitions = int(row.get("partitions_total") or 0)
    if partitions:
        phase += f" (partition {min(int(row['partitions_done']) + 1, partitions)} of {partitions})"
    return Progress(phase, fraction)


class Observer:
    """Looks at a server process from a connection of its own, in a thread: whoever asks never waits for the answer.

    A pooler without a free session would otherwise keep the run waiting that has the session which it waits for.
    """

    def __init__(self, connect: Callable[[], Connection], process: int) -> None:
        self._connect = connect
        self._process = process
        self._questions: SimpleQueue[bool] = SimpleQueue()
        self._answers: SimpleQueue[Observation | psycopg.Error | WhimbrelError | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._is_closed = False
        # It does not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="whimbrel: watch", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Ask for a look."""
        self._questions.put(True)

    def answer(self) -> Observation | psycopg.Error | WhimbrelError | None:
        """Return what was seen, or why nothing can be seen any more. Raises Empty where there is no answer yet."""
        return self._answers.get_nowait()

    def close(self) -> None:
        """Close the connection, also in the middle of a look; one that is being opened closes when it is there."""
        self._questions.put(False)
        with self._lock:
            self._is_closed = True
            if self._connection is not None and self._connection.pgconn.transaction_status != pq.TransactionStatus.IDLE:
                with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self._connection.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)
            is_open = self._connection is not None
        if is_open:
            self._thread.join(LOOK_TIMEOUT / 1000)

    def _run(self) -> None:
        try:
            while self._questions.get():
                if self._connection is None and not self._open():
                    return
                assert self._connection is not None
                self._answers.put(observe(self._connection, self._process))
        except (psycopg.Error, WhimbrelError) as error:
            self._answers.put(error)
        finally:
            with self._lock:
                connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _open(self) -> bool:
        connection = self._connect()
        with self._lock:
            self._connection = connection
            if self._is_closed:
                return False
        prepare(connection)
        return True

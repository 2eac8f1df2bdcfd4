"""How long the lock of a run that is killed with SIGKILL stays, measured."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import psycopg

from whimbrel import cluster
from whimbrel.cluster import Running

from ..acceptance.programs import Project
from .killed import BUILD, CASES, Case, holder, kill, start_in

_LONG = Case(
    "a long statement",
    "CREATE TABLE a ();",
    "SELECT pg_sleep(600)",
    "SELECT 1",
    "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
    "SELECT true",
)
_WAITING = Case(
    "waiting for a table",
    "CREATE TABLE a ();",
    "LOCK TABLE a",
    "SELECT FROM a",
    "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    "SELECT true",
)
SITUATIONS = (_LONG, _WAITING, BUILD, CASES[1])


def measure_release(running: Running, case: Case) -> float:
    """Return the seconds from a SIGKILL in the middle of a case's statement to the lock's being free."""
    with (
        cluster.throwaway_database(running) as dsn,
        tempfile.TemporaryDirectory() as folder,
        psycopg.connect(dsn, autocommit=True) as connection,
        psycopg.connect(dsn, autocommit=True) as other,
    ):
        process = start_in(Project(Path(folder), dsn), case, connection, other)
        started = time.monotonic()
        kill(process)
        while holder(connection) is not None:
            time.sleep(0.005)
        return time.monotonic() - started

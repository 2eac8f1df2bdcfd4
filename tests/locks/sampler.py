"""Who waits for a table's lock, looked at again and again, and whether the table's readers had to wait."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from tests.acceptance.programs import eventually

STRONG = "AccessExclusiveLock"
DISPLACING = "ShareUpdateExclusiveLock"
# pg_locks is read once: its second reading would be another moment's.
_QUEUE = """
    WITH found AS MATERIALIZED (
        SELECT l.mode, l.granted, l.relation, a.application_name, a.backend_type
        FROM pg_locks AS l
        JOIN pg_stat_activity AS a ON a.pid = l.pid
        WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
    SELECT mode, EXISTS (
        SELECT FROM found AS v WHERE v.relation = w.relation AND v.granted AND v.backend_type = 'autovacuum worker'
    )
    FROM found AS w
    WHERE w.relation = %s::regclass AND NOT w.granted AND w.application_name LIKE 'whimbrel%%'
"""
_INTERVAL = 0.004


@dataclass
class Sampler:
    """What was seen so far. `waits` counts the looks at which whimbrel queued for the table, by the lock's mode.

    `waits_for_vacuum` are those of them at which an autovacuum had the table. `reads` counts short SELECTs of another
    session, `refused` those of them that would have had to wait for the table.
    """

    dsn: str
    table: str
    looks: int = 0
    waits: Counter[str] = field(default_factory=Counter[str])
    waits_for_vacuum: Counter[str] = field(default_factory=Counter[str])
    reads: int = 0
    refused: int = 0
    _failure: BaseException | None = None
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def start(self) -> None:
        self._threads += [threading.Thread(target=self._run, args=(work,)) for work in (self._look, self._read)]
        for thread in self._threads:
            thread.start()

    def look_on(self, looks: int = 200) -> None:
        """Wait until so many more looks and reads were made: some seconds."""
        before = (self.looks, self.reads)
        eventually(lambda: min(self.looks - before[0], self.reads - before[1]) >= looks, 60)

    def stop(self) -> None:
        """Stop looking; what was seen stays."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        assert self._failure is None, self._failure
        assert self.looks > 0
        assert self.reads > 0

    def _run(self, work: object) -> None:
        assert callable(work)
        try:
            with psycopg.connect(self.dsn, autocommit=True, application_name="sampler") as connection:
                # The clock of lock_timeout runs only where there is a wait.
                connection.execute("SET lock_timeout = '1ms'")
                while True:
                    work(connection)
                    if self._stopped.wait(_INTERVAL):
                        break
        except psycopg.errors.UndefinedTable:
            # The migration has dropped it.
            pass
        except psycopg.Error as error:
            self._failure = error

    def _look(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        for mode, has_vacuum in connection.execute(_QUEUE, [self.table]):
            self.waits[str(mode)] += 1
            self.waits_for_vacuum[str(mode)] += bool(has_vacuum)
        self.looks += 1

    def _read(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        try:
            connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(self.table)))
        except psycopg.errors.LockNotAvailable:
            self.refused += 1
        self.reads += 1


@contextmanager
def sampling(dsn: str, table: str) -> Generator[Sampler]:
    """Sample a table's queue up to the end of the block, or up to `stop`."""
    sampler = Sampler(dsn, table)
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()

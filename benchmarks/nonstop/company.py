"""Who else is on the table while it is changed: a reader, or an autovacuum."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg.rows import TupleRow

from benchmarks.measurement import CommandFailed
from benchmarks.nonstop.changes import Company
from benchmarks.runner import Server

# How long the reader keeps its transaction open, and how long before the change it begins, in seconds.
READ = 5.0
LEAD = 0.5
_PATIENCE = 60.0
# As slowly as autovacuum can be told to go, over pages that are scattered.
_SLOW_AUTOVACUUM = """
    ALTER TABLE messages.messages SET (
        autovacuum_vacuum_threshold = 1,
        autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_cost_limit = 1,
        autovacuum_vacuum_cost_delay = 100
    );
    UPDATE messages.messages
    SET metadata = metadata
    WHERE id IN (SELECT id FROM messages.messages TABLESAMPLE BERNOULLI (2))
    """
_IS_VACUUMED = """
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_stat_progress_vacuum
        WHERE relid = 'messages.messages'::pg_catalog.regclass
    )
    """


@contextmanager
def prepared(server: Server, company: Company, conninfo: str) -> Generator[None]:
    """Have an autovacuum at work on the table, if that is the company, before the application begins."""
    if company is not Company.AUTOVACUUM:
        yield
        return
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(_SLOW_AUTOVACUUM)
        try:
            _set_naptime(server, "'1s'")
            deadline = time.monotonic() + _PATIENCE
            while not _is_vacuumed(connection):
                if time.monotonic() > deadline:
                    raise CommandFailed("autovacuum did not come to the table")
                time.sleep(0.1)
            yield
        finally:
            _set_naptime(server, "DEFAULT")


@contextmanager
def present(company: Company, conninfo: str) -> Generator[None]:
    """Have the company on the table when the change begins. A reader comes a moment before and leaves by itself."""
    if company is Company.NOBODY:
        yield
        return
    if company is Company.AUTOVACUUM:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            if not _is_vacuumed(connection):
                raise CommandFailed("autovacuum was done before the change began")
        yield
        return
    has_begun = threading.Event()

    def read() -> None:
        with psycopg.connect(conninfo, application_name="reader") as connection:
            connection.execute("SELECT FROM messages.messages LIMIT 1")
            has_begun.set()
            connection.execute("SELECT pg_catalog.pg_sleep(%s)", [READ])

    reader = threading.Thread(target=read)
    reader.start()
    has_begun.wait(_PATIENCE)
    time.sleep(LEAD)
    yield
    reader.join()


def _is_vacuumed(connection: psycopg.Connection[TupleRow]) -> bool:
    row = connection.execute(_IS_VACUUMED).fetchone()
    return row is not None and row[0] is True


def _set_naptime(server: Server, value: str) -> None:
    with psycopg.connect(server.running.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET autovacuum_naptime = {value}".encode())
        connection.execute("SELECT pg_catalog.pg_reload_conf()")

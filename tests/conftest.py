"""A real PostgreSQL server for the whole test run, and a fresh database for each test that asks for one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from psycopg.rows import TupleRow

from whimbrel import cluster
from whimbrel.cluster import Embedded, Running

settings.register_profile("default", deadline=None, derandomize=False)
settings.register_profile("ci", deadline=None, derandomize=False, max_examples=50, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# A test's data need not survive the machine.
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_connections": "200"}


@dataclass(frozen=True)
class Server:
    """The server that all tests of a run share. `version` is the major version."""

    version: int
    running: Running

    def conninfo(self, dbname: str) -> str:
        return self.running.conninfo(dbname)


@pytest.fixture(scope="session")
def server() -> Generator[Server]:
    """Start the server of version WHIMBREL_TEST_POSTGRES, or join the one of another worker or test run.

    It may also be the directory of a server's programs.
    Whoever leaves last removes it, unless WHIMBREL_TEST_KEEP is set. The lock knows who is there, and forgets
    those who crashed.
    """
    chosen = os.environ.get("WHIMBREL_TEST_POSTGRES", "18")
    version, programs = (int(chosen), None) if chosen.isdigit() else (None, Path(chosen))
    name = chosen if programs is None else hashlib.sha256(chosen.encode()).hexdigest()[:8]
    data = roomy_folder() / f"whimbrel-tests-{os.getuid()}-{name}"
    embedded = Embedded(data=data, dbname="postgres", version=version, bin=programs)
    with data.with_name(f"{data.name}.users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        running = cluster.start(embedded, settings=FAST)
        yield Server(version=running.version, running=running)
        if os.environ.get("WHIMBREL_TEST_KEEP"):
            return
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        cluster.stop(embedded)
        shutil.rmtree(data)


def roomy_folder() -> Path:
    """Return the folder for the server: in memory, where databases are made in half the time, if it fits."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4 << 30:
        return memory
    return Path(tempfile.gettempdir()).resolve()


@pytest.fixture
def dsn(server: Server) -> Generator[str]:
    """Give the conninfo of a fresh, empty database; it is dropped afterwards, whoever is still in it."""
    with cluster.throwaway_database(server.running) as conninfo:
        yield conninfo


@pytest.fixture
def connection(dsn: str) -> Generator[psycopg.Connection[TupleRow]]:
    """Give an autocommit connection to the database of `dsn`."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection

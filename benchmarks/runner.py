"""A PostgreSQL of its own, a database for each measurement, and the contestants in turn."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from benchmarks.cases import Case, Contestant, Database, whimbrel
from benchmarks.measurement import CommandFailed, Sample, measure
from benchmarks.workload import Workload
from whimbrel import cluster
from whimbrel.cluster import Embedded, Running

# What a figure depends on.
SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "autovacuum")


@dataclass(frozen=True, slots=True)
class Measured:
    """A case with its samples, a list for each contestant, and the machine's load average when it began."""

    case: Case
    contestants: tuple[Contestant, ...]
    workload: Workload
    load: float
    samples: dict[str, list[Sample]] = field(default_factory=dict[str, list[Sample]])


@dataclass(frozen=True, slots=True)
class Server:
    """The server of a run, and the folder for workloads."""

    running: Running
    folder: Path

    def read_settings(self) -> dict[str, str]:
        """Return the server's settings that figures depend on, and its version."""
        with psycopg.connect(self.running.conninfo("postgres"), autocommit=True) as connection:
            rows = connection.execute(
                "SELECT name, current_setting(name) FROM pg_catalog.pg_settings WHERE name = ANY (%s)",
                [["server_version", *SETTINGS]],
            ).fetchall()
        return {str(name): str(value) for name, value in rows}

    def settle(self) -> None:
        """Write to disk what earlier measurements left behind, so that a checkpoint does not fall into the next."""
        with psycopg.connect(self.running.conninfo("postgres"), autocommit=True) as connection:
            connection.execute("CHECKPOINT")


@contextmanager
def started_server(settings: Mapping[str, str]) -> Generator[Server]:
    """Start an embedded PostgreSQL in a temporary folder; stop and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="whimbrel-benchmarks-")).resolve()
    embedded = Embedded(data=folder / "postgres", dbname="postgres", version=cluster.DEFAULT_VERSION, bin=None)
    try:
        yield Server(cluster.start(embedded, settings=settings), folder)
    finally:
        cluster.stop(embedded)
        shutil.rmtree(folder)


def run_case(server: Server, case: Case, repeats: int, *, warm_up: bool, tell: Callable[[str], None]) -> Measured:
    """Measure a case: A B A B …, so that what else the machine does falls upon all alike.

    With `warm_up` a first round is not counted, unless the case is a long one.
    """
    workload = case.workload(server.folder / case.name)
    contestants = case.contestants(workload)
    measured = Measured(case, contestants, workload, os.getloadavg()[0])
    with ExitStack() as stack:
        shared = None if case.database is Database.FRESH else stack.enter_context(_database(server))
        if shared is not None and case.database is Database.APPLIED:
            _measure(server, workload, Contestant("whimbrel", (whimbrel("up"),), "whimbrel up"), shared)
            server.settle()
        for number in range(0 if warm_up and not case.is_long else 1, repeats + 1):
            for contestant in contestants:
                sample = _measure(server, workload, contestant, shared, applies=case.database is not Database.ANY)
                if number > 0:
                    measured.samples.setdefault(contestant.name, []).append(sample)
                    tell(f"{case.name}: {number} of {repeats}, {contestant.name}: {sample.wall:.3f} s")
    shutil.rmtree(workload.folder)
    return measured


def _measure(
    server: Server, workload: Workload, contestant: Contestant, shared: str | None, *, applies: bool = True
) -> Sample:
    """Measure once, in the shared database or in one of its own, and see that everything is applied afterwards."""
    with ExitStack() as stack:
        if shared is None:
            conninfo = stack.enter_context(_database(server))
            server.settle()
        else:
            conninfo = shared
        sample = measure(contestant.commands, workload.folder, conninfo, server.running.pid)
        if applies:
            _check(conninfo, workload, contestant)
    return sample


def _database(server: Server) -> AbstractContextManager[str]:
    return cluster.throwaway_database(server.running)


def _check(conninfo: str, workload: Workload, contestant: Contestant) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        row = connection.execute(workload.check.encode()).fetchone()
    found = row[0] if row is not None else None
    if found != workload.expected:
        raise CommandFailed(f"{contestant.name} left {found} where {workload.expected} were expected")

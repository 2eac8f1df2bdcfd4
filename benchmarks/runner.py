"""A PostgreSQL of its own, a database for each measurement, and the contestants in turn."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg

from benchmarks.cases import Case, Database
from benchmarks.contestants import Contestant, Role
from benchmarks.measurement import CommandFailed, Sample, Surroundings, measure, read_values
from benchmarks.proxy import SlowNetwork, slow_network
from benchmarks.workload import Workload
from whimbrel import cluster
from whimbrel.cluster import Embedded, Running

# What a figure depends on.
SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "autovacuum")


@dataclass(frozen=True, slots=True)
class Measured:
    """A case with its samples, a list for each contestant, and the machine's load average when it began.

    `failures` says why a contestant is not among the samples, or not as often as asked.
    """

    case: Case
    contestants: tuple[Contestant, ...]
    workload: Workload
    load: float
    samples: dict[str, list[Sample]] = field(default_factory=dict[str, list[Sample]])
    failures: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Server:
    """The server of a run, and the folder for workloads."""

    running: Running
    folder: Path
    psql: Path

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

    def network(self, rtt: float) -> AbstractContextManager[SlowNetwork]:
        """Return a TCP address of this server whose round trip takes `rtt` seconds."""
        return slow_network(Path(self.running.host, f".s.PGSQL.{self.running.port}"), rtt)


class NoPsql(Exception):
    """There is no psql to compare with."""


@contextmanager
def started_server(settings: Mapping[str, str]) -> Generator[Server]:
    """Start an embedded PostgreSQL in a temporary folder; stop and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="whimbrel-benchmarks-")).resolve()
    embedded = Embedded(data=folder / "postgres", dbname="postgres", version=cluster.DEFAULT_VERSION, bin=None)
    try:
        running = cluster.start(embedded, settings=settings)
        psql = cluster.find_program(embedded, "psql")
        if psql is None:
            raise NoPsql("psql was not found")
        yield Server(running, folder, psql)
    finally:
        cluster.stop(embedded)
        shutil.rmtree(folder)


def run_case(server: Server, case: Case, repeats: int, *, warm_up: bool, tell: Callable[[str], None]) -> Measured:
    """Measure a case: A B A B …, so that what else the machine does falls upon all alike.

    With `warm_up` a first round is not counted, unless the case is a long one. A contestant that fails drops out;
    whimbrel's failure is raised.
    """
    workload = case.workload(server.folder / case.name)
    # A file of a gigabyte that is still being written would slow down whoever comes first.
    os.sync()
    contestants = case.contestants(workload)
    measured = Measured(case, contestants, workload, os.getloadavg()[0])
    with ExitStack() as stack:
        databases = _Databases(server, case, workload, stack)
        for number in range(0 if warm_up and not case.is_long else 1, repeats + 1):
            for contestant in contestants:
                limit = min(repeats, contestant.limit or repeats)
                is_spared = number == 0 and limit == 1
                if contestant.name in measured.failures or number > limit or is_spared:
                    continue
                try:
                    sample = databases.measure(contestant)
                except CommandFailed as error:
                    if contestant.role is Role.WHIMBREL:
                        raise
                    measured.failures[contestant.name] = str(error)
                    tell(f"{case.name}: {contestant.name} failed: {error}")
                    continue
                if number > 0:
                    measured.samples.setdefault(contestant.name, []).append(sample)
                    tell(f"{case.name}: {number} of {repeats}, {contestant.name}: {sample.wall:.3f} s")
    shutil.rmtree(workload.folder)
    return measured


class _Databases:
    """The databases of a case: one for each measurement, or one for all contestants that prepare it alike."""

    def __init__(self, server: Server, case: Case, workload: Workload, stack: ExitStack) -> None:
        self._server = server
        self._case = case
        self._workload = workload
        self._stack = stack
        self._shared: dict[object, str] = {}

    def measure(self, contestant: Contestant) -> Sample:
        """Measure once, and see that everything is applied afterwards."""
        if self._case.database is Database.FRESH:
            with self._new() as conninfo:
                self._server.settle()
                return self._measure(contestant, conninfo)
        key = contestant.preparation if self._case.database is Database.APPLIED else None
        if key not in self._shared:
            conninfo = self._stack.enter_context(self._new())
            if key is not None:
                self._run(replace(contestant, commands=contestant.preparation), conninfo, rtt=0)
                self._check(contestant, conninfo)
                self._server.settle()
            self._shared[key] = conninfo
        return self._measure(contestant, self._shared[key])

    def _measure(self, contestant: Contestant, conninfo: str) -> Sample:
        sample = self._run(contestant, conninfo, self._case.rtt)
        if self._case.database is not Database.ANY:
            self._check(contestant, conninfo)
        return sample

    def _run(self, contestant: Contestant, conninfo: str, rtt: float) -> Sample:
        values = {**read_values(conninfo), "psql": str(self._server.psql)}
        postmaster = self._server.running.pid
        if not rtt and not contestant.needs_tcp:
            surroundings = Surroundings(contestant.folder, contestant.variables, values)
            return measure(contestant.commands, surroundings, postmaster)
        with self._server.network(rtt) as network:
            values |= {"host": network.host, "port": str(network.port)}
            surroundings = Surroundings(contestant.folder, contestant.variables, values)
            sample = measure(contestant.commands, surroundings, postmaster)
        if not rtt:
            return sample
        return replace(sample, round_trips=network.traffic.round_trips, connections=network.traffic.connections)

    def _check(self, contestant: Contestant, conninfo: str) -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            row = connection.execute(self._workload.check.encode()).fetchone()
        found = row[0] if row is not None else None
        if found != self._workload.expected:
            raise CommandFailed(f"{contestant.name} left {found} where {self._workload.expected} were expected")

    def _new(self) -> AbstractContextManager[str]:
        return cluster.throwaway_database(self._server.running)

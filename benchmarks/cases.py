"""What is measured: each case sets whimbrel against others that do the same to the same files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from benchmarks.measurement import Command
from benchmarks.workload import PSQL_SCRIPT, Workload, write_large, write_small


class Database(Enum):
    """What a contestant finds."""

    # It does not look: any database will do.
    ANY = "any"
    # Empty, and a new one for each measurement.
    FRESH = "fresh"
    # Everything is applied already.
    APPLIED = "applied"


@dataclass(frozen=True, slots=True)
class Contestant:
    """Commands that run one after the other in the workload's folder. `shown` is how a person would write them."""

    name: str
    commands: tuple[Command, ...]
    shown: str


@dataclass(frozen=True, slots=True)
class Case:
    """The first contestant is whimbrel; the ratio is its time to each other's.

    `is_long` says that the first round need not be thrown away for the sake of warm caches.
    """

    name: str
    title: str
    database: Database
    workload: Callable[[Path], Workload]
    contestants: Callable[[Workload], tuple[Contestant, ...]]
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is applied: numbers of migrations, and bytes."""

    few: int = 4
    some: int = 100
    many: int = 1000
    large: int = 50_000_000


QUICK = Sizes(few=2, some=3, many=5, large=100_000)


def make_cases(sizes: Sizes, psql: Path) -> tuple[Case, ...]:
    """Return all cases in the order in which they are measured."""
    makers = _Makers(psql)
    few, many = sizes.few, sizes.many
    return (
        Case("start", "start of a process", Database.ANY, _small(1), makers.start),
        Case("version", "--version", Database.ANY, _small(1), makers.version),
        Case("noop-few", f"up, {few} applied, none pending", Database.APPLIED, _small(few), makers.noop),
        Case("noop-many", f"up, {many:,} applied, none pending", Database.APPLIED, _small(many), makers.noop),
        Case("status-few", f"status, {few} applied", Database.APPLIED, _small(few), makers.status),
        Case("status-many", f"status, {many:,} applied", Database.APPLIED, _small(many), makers.status),
        Case("up-one", "up, 1 small migration", Database.FRESH, _small(1), makers.up),
        Case("up-some", f"up, {sizes.some} small migrations", Database.FRESH, _small(sizes.some), makers.up),
        Case("up-many", f"up, {many:,} small migrations", Database.FRESH, _small(many), makers.up, is_long=True),
        Case(
            "file",
            f"up, one file of {sizes.large / 1e6:g} MB of INSERTs",
            Database.FRESH,
            lambda folder: write_large(folder, sizes.large),
            makers.file,
            is_long=True,
        ),
    )


def whimbrel(*arguments: str) -> Command:
    """Return the command of this environment's whimbrel: the script that pip installed, or else the module."""
    script = Path(sys.executable).with_name("whimbrel")
    start = (str(script),) if script.exists() else (sys.executable, "-m", "whimbrel")
    return (*start, *arguments)


def _small(count: int) -> Callable[[Path], Workload]:
    return lambda folder: write_small(folder, count)


class _Makers:
    def __init__(self, psql: Path) -> None:
        self.psql = str(psql)

    def start(self, workload: Workload) -> tuple[Contestant, ...]:
        del workload
        imports = "import psycopg, click"
        return (
            Contestant("python, psycopg, click", ((sys.executable, "-c", imports),), f'python -c "{imports}"'),
            Contestant("python", ((sys.executable, "-c", "pass"),), "python -c pass"),
        )

    def version(self, workload: Workload) -> tuple[Contestant, ...]:
        del workload
        return (
            Contestant("whimbrel", (whimbrel("--version"),), "whimbrel --version"),
            Contestant("psql", ((self.psql, "--version"),), "psql --version"),
        )

    def noop(self, workload: Workload) -> tuple[Contestant, ...]:
        del workload
        return (Contestant("whimbrel", (whimbrel("up"),), "whimbrel up"), self._select())

    def status(self, workload: Workload) -> tuple[Contestant, ...]:
        del workload
        return (Contestant("whimbrel", (whimbrel("status"),), "whimbrel status"), self._select())

    def up(self, workload: Workload) -> tuple[Contestant, ...]:
        psql = (self.psql, "-q", "-v", "ON_ERROR_STOP=1")
        each = tuple((*psql, "-1", "-f", str(file.relative_to(workload.folder))) for file in workload.files)
        return (
            Contestant("whimbrel", (whimbrel("up"),), "whimbrel up"),
            Contestant("psql, one process", ((*psql, "-f", PSQL_SCRIPT),), r"psql -q -f -: BEGIN; \i FILE COMMIT; …"),
            Contestant("psql, a process per file", each, "psql -q -1 -f FILE, once per file"),
        )

    def file(self, workload: Workload) -> tuple[Contestant, ...]:
        file = str(workload.files[0].relative_to(workload.folder))
        psql = (self.psql, "-q", "-v", "ON_ERROR_STOP=1", "-1", "-f", file)
        return (
            Contestant("whimbrel", (whimbrel("up"),), "whimbrel up"),
            Contestant("psql", (psql,), "psql -q -1 -f FILE"),
        )

    def _select(self) -> Contestant:
        query = "SELECT version FROM schema_migrations"
        return Contestant("psql", ((self.psql, "-c", query),), f'psql -c "{query}"')

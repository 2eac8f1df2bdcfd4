"""What is measured: each case sets whimbrel against others that do the same to the same files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

from benchmarks.contestants import Contestant, Field, Limits
from benchmarks.workload import Workload, write_copy, write_functions, write_large, write_small


class Database(Enum):
    """What a contestant finds."""

    # It does not look: any database will do.
    ANY = "any"
    # Empty, and a new one for each measurement.
    FRESH = "fresh"
    # Everything is applied already.
    APPLIED = "applied"


@dataclass(frozen=True, slots=True)
class Case:
    """The first contestant is whimbrel; the ratio is its time to each other's.

    `rtt` is how long a round trip takes, in seconds; 0 is a Unix socket. `repeats` is how often all is measured where
    nothing else was asked for. `is_long` says that the first round need not be thrown away for the sake of warm caches.
    """

    name: str
    title: str
    database: Database
    workload: Callable[[Path], Workload]
    contestants: Callable[[Workload], tuple[Contestant, ...]]
    rtt: float = 0
    repeats: int | None = None
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is applied: numbers of migrations and functions, and bytes."""

    few: int = 4
    some: int = 100
    many: int = 1000
    large: int = 50_000_000
    copy: int = 1_000_000_000
    functions: int = 20_000


QUICK = Sizes(few=2, some=3, many=5, large=100_000, copy=1_000_000, functions=20)


def make_cases(sizes: Sizes, field: Field, rtt: float) -> tuple[Case, ...]:
    """Return all cases in the order in which they are measured. `rtt` is that of the slow network, in seconds."""
    few, some, many = sizes.few, sizes.some, sizes.many
    delay = f"{rtt * 1000:g}ms"
    far = f", {rtt * 1000:g} ms away"
    usual = Limits()
    once = Limits(peers=1, slow=1, psql=1, each=0)
    thrice = Limits(peers=3, slow=1, psql=3, each=0)

    def noop(limits: Limits | None, *, is_far: bool = False) -> Callable[[Workload], tuple[Contestant, ...]]:
        return partial(field.noop, limits=limits, is_far=is_far)

    def status(limits: Limits | None, *, is_far: bool = False) -> Callable[[Workload], tuple[Contestant, ...]]:
        return partial(field.status, limits=limits, is_far=is_far)

    def up(limits: Limits) -> Callable[[Workload], tuple[Contestant, ...]]:
        return partial(field.up, limits=limits)

    def file(limits: Limits | None) -> Callable[[Workload], tuple[Contestant, ...]]:
        return partial(field.file, limits=limits)

    applied, fresh = Database.APPLIED, Database.FRESH
    nothing = "none pending"
    return (
        Case("start", "start of a process", Database.ANY, _small(1), field.start),
        Case("version", "--version", Database.ANY, _small(1), field.version),
        Case("noop-few", f"up, {few} applied, {nothing}", applied, _small(few), noop(None)),
        Case("noop-some", f"up, {some} applied, {nothing}", applied, _small(some), noop(usual)),
        Case("noop-many", f"up, {many:,} applied, {nothing}", applied, _small(many), noop(None)),
        Case(
            f"noop-some-{delay}",
            f"up, {some} applied, {nothing}{far}",
            applied,
            _small(some),
            noop(usual, is_far=True),
            rtt,
        ),
        Case("status-few", f"status, {few} applied", applied, _small(few), status(None)),
        Case("status-some", f"status, {some} applied", applied, _small(some), status(usual)),
        Case("status-many", f"status, {many:,} applied", applied, _small(many), status(None)),
        Case(
            f"status-some-{delay}",
            f"status, {some} applied{far}",
            applied,
            _small(some),
            status(usual, is_far=True),
            rtt,
        ),
        Case("up-one", "up, 1 small migration", fresh, _small(1), up(usual)),
        Case("up-some", f"up, {some} small migrations", fresh, _small(some), up(usual)),
        Case("up-many", f"up, {many:,} small migrations", fresh, _small(many), up(Limits(slow=2)), is_long=True),
        Case(f"up-some-{delay}", f"up, {some} small migrations{far}", fresh, _small(some), up(thrice), rtt, None, True),
        Case(f"up-many-{delay}", f"up, {many:,} small migrations{far}", fresh, _small(many), up(once), rtt, None, True),
        Case(
            "file",
            f"up, one file of {sizes.large / 1e6:g} MB of INSERTs",
            fresh,
            partial(write_large, size=sizes.large),
            file(Limits(peers=3, slow=1, psql=3)),
            is_long=True,
        ),
        Case(
            "copy",
            f"up, one file of {sizes.copy / 1e6:g} MB of COPY data",
            fresh,
            partial(write_copy, size=sizes.copy),
            file(None),
            repeats=3,
            is_long=True,
        ),
        Case(
            "functions",
            f"up, one file of {sizes.functions:,} functions",
            fresh,
            partial(write_functions, count=sizes.functions),
            file(usual),
            is_long=True,
        ),
    )


def _small(count: int) -> Callable[[Path], Workload]:
    return partial(write_small, count=count)

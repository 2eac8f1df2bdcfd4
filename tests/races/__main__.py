"""`python -m tests.races --runs 20 --processes 30`: crowds on empty databases, one after the other, in a table.

`python -m tests.races --kills 10` measures instead how long the lock of a killed run stays.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.acceptance.programs import Project
from tests.races.crowd import Outcome, gather
from tests.races.releases import SITUATIONS, measure_release
from whimbrel import cluster
from whimbrel.cluster import Embedded, Running

HEADINGS = ("migrations", "processes", "runs", "applied once", "exit codes", "deadlocks", "invalid", "seconds")


class Arguments(argparse.Namespace):
    """What was asked for."""

    runs: int
    processes: list[int]
    version: int
    kills: int


def main() -> int:
    """Run the crowds and return the exit code: 1 if one of them was not as it has to be."""
    arguments = _parse()
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    is_good = True
    with _server(arguments.version) as running:
        if arguments.kills:
            _measure_kills(running, arguments.kills)
            return 0
        _row(HEADINGS)
        for concurrent in (False, True):
            for processes in arguments.processes:
                outcomes, durations = _repeat(running, arguments.runs, processes, concurrent=concurrent)
                codes = sum((Counter(outcome.codes) for outcome in outcomes), Counter[int]())
                _row(
                    (
                        "with a concurrent build" if concurrent else "in transactions",
                        str(processes),
                        str(len(outcomes)),
                        str(sum(outcome.applied_once for outcome in outcomes)),
                        ", ".join(f"{count} x {code}" for code, count in sorted(codes.items())),
                        str(sum(outcome.deadlocks for outcome in outcomes)),
                        str(sum(outcome.invalid_indexes for outcome in outcomes)),
                        f"{statistics.median(durations):.1f}, at most {max(durations):.1f}",
                    )
                )
                for outcome in outcomes:
                    if not outcome.is_good:
                        is_good = False
                        sys.stdout.write(f"{outcome}\n")
    return 0 if is_good else 1


def _measure_kills(running: Running, runs: int) -> None:
    sys.stdout.write(f"{'killed in':36}{'runs':6}seconds until the lock is free: least, median, most\n")
    for case in SITUATIONS:
        found = sorted(measure_release(running, case) for _ in range(runs))
        sys.stdout.write(f"{case.name:36}{runs:<6}{found[0]:.2f}  {statistics.median(found):.2f}  {found[-1]:.2f}\n")
        sys.stdout.flush()


def _repeat(running: Running, runs: int, processes: int, *, concurrent: bool) -> tuple[list[Outcome], list[float]]:
    outcomes: list[Outcome] = []
    durations: list[float] = []
    for _ in range(runs):
        with cluster.throwaway_database(running) as dsn, tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            with psycopg.connect(dsn, autocommit=True) as connection:
                outcomes.append(gather(Project(Path(folder), dsn), connection, processes, concurrent=concurrent))
            durations.append(time.monotonic() - started)
    return outcomes, durations


def _row(cells: tuple[str, ...]) -> None:
    widths = (24, 10, 5, 13, 16, 10, 8, 0)
    sys.stdout.write("".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip() + "\n")
    sys.stdout.flush()


@contextmanager
def _server(version: int) -> Generator[Running]:
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="whimbrel-races-", dir=memory if os.access(memory, os.W_OK) else None)
    data = Path(folder).resolve() / "postgres"
    embedded = Embedded(data=data, dbname="postgres", version=version, bin=None)
    try:
        yield cluster.start(embedded, settings={"fsync": "off", "max_connections": "200"})
    finally:
        cluster.stop(embedded)
        shutil.rmtree(folder)


def _parse() -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m tests.races", description=__doc__, allow_abbrev=False)
    parser.add_argument("--runs", metavar="N", type=int, default=20, help="crowds of each kind (20)")
    parser.add_argument(
        "--processes", metavar="N", type=int, nargs="+", default=[30], help="how many are in a crowd (30)"
    )
    parser.add_argument("--kills", metavar="N", type=int, default=0, help="measure N kills in each situation instead")
    parser.add_argument("--version", metavar="N", type=int, default=cluster.DEFAULT_VERSION, help="of PostgreSQL")
    return parser.parse_args(namespace=Arguments())


if __name__ == "__main__":
    sys.exit(main())

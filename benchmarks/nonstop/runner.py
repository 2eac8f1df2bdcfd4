"""One measurement: a copy of the database, the application, a quiet time, the change, and a look at what it caused."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.nonstop import company, contestants, stalls
from benchmarks.nonstop.application import started
from benchmarks.nonstop.changes import Change
from benchmarks.nonstop.contestants import Contestant
from benchmarks.nonstop.echo import copied, is_there
from benchmarks.nonstop.stalls import Stretch, Window
from benchmarks.nonstop.waits import Waits
from benchmarks.runner import Server

# Before the quiet time, so that caches are warm; and behind the change, where its effects may come late. In seconds.
WARM_UP = 2.0
AFTERMATH = 1.0
# Between the quiet time and the change, so that no transaction of the one is held up by the other.
GAP = 0.5


@dataclass(frozen=True, slots=True)
class Load:
    """Clients, transactions a second of all together, and the seconds that a deployment takes."""

    clients: int = 16
    rate: float = 300.0
    deployment: float = 2.0
    # The quiet time is as long as the change took before, within these bounds; the first time it is the least.
    least_quiet: float = 5.0
    most_quiet: float = 20.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. `seconds` is how long the change took, with the start of its processes and a deployment."""

    quiet: Stretch
    quiet_seconds: float
    during: Stretch
    seconds: float
    waits: Waits
    failure: str

    @property
    def caused(self) -> float:
        return stalls.caused(self.during, self.quiet)


@dataclass(frozen=True, slots=True)
class Measured:
    """The samples of a change by contestant, and the machine's load average before."""

    change: Change
    load: float
    samples: dict[Contestant, list[Sample]]


def run(server: Server, change: Change, repeats: int, load: Load, tell: Callable[[str], None]) -> Measured:
    """Measure a change `repeats` times: A B A B …, each in a copy of its own."""
    measured = Measured(change, os.getloadavg()[0], {contestant: [] for contestant in Contestant})
    for number in range(1, repeats + 1):
        for contestant, samples in measured.samples.items():
            sample = measure(server, change, contestant, load, quiet_time(load, samples))
            samples.append(sample)
            tell(
                f"{change.name}: {number}, {contestant}: {sample.seconds:.1f} s, stall {sample.during.stall:.3f} s, "
                f"{sample.during.failed} failed {sample.failure}"
            )
    return measured


def quiet_time(load: Load, samples: Iterable[Sample]) -> float:
    """Return how long the next quiet time has to be, in seconds."""
    before = max((sample.seconds + AFTERMATH for sample in samples), default=0.0)
    return min(max(before, load.least_quiet), load.most_quiet)


def measure(server: Server, change: Change, contestant: Contestant, load: Load, quiet: float) -> Sample:
    """Measure once. A change that is not there afterwards is a failure of its contestant."""
    with (
        copied(server) as conninfo,
        company.prepared(server, change.company, conninfo),
        started(conninfo, load.clients, load.rate, server.folder / "transactions") as application,
    ):
        time.sleep(WARM_UP)
        begin = time.monotonic()
        time.sleep(quiet)
        before = Window(begin, time.monotonic())
        time.sleep(GAP)
        with company.present(change.company, conninfo):
            made = contestants.change(
                contestant,
                change,
                server.psql,
                conninfo,
                server.folder,
                lambda: application.deploy(load.deployment),
            )
        time.sleep(AFTERMATH)
        transactions = application.stop()
        failure = made.failure
        if not failure and not is_there(conninfo, change.check):
            failure = "the change is not there afterwards"
    window = Window(made.window.begin, made.window.end + AFTERMATH)
    return Sample(
        stalls.look(transactions, before),
        before.seconds,
        stalls.look(transactions, window),
        made.window.seconds,
        made.waits,
        failure,
    )

"""All trials of a server's version: in parallel, and told as they end."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.faults import disk
from tests.faults.bench import Bench, started_bench
from tests.faults.judgement import Fault, Outcome
from tests.faults.points import choose_points
from tests.faults.proxy import Point
from tests.faults.scenarios import BULK, Scenario
from tests.faults.starter import Starter
from tests.faults.trial import run_trial

Tell = Callable[[Outcome], None]
# Of free pages on a small disk, where a sample is asked for.
_SPREAD = 7


@dataclass(frozen=True)
class Campaign:
    """What is tried, on which server. `sample` is the number of points for each scenario and fault, None for all.

    When `seconds` are over no trial is begun any more.
    """

    scenarios: Sequence[Scenario]
    faults: Sequence[Fault]
    version: int | None = None
    programs: Path | None = None
    sample: int | None = None
    seed: int = 0
    workers: int = 2
    seconds: float | None = None


def run_campaign(campaign: Campaign, tell: Tell, starter: Starter | None = None) -> list[Outcome]:
    """Run every trial; `tell` is called for each as it ends, by one thread at a time."""
    outcomes: list[Outcome] = []
    lock = threading.Lock()
    deadline = time.monotonic() + campaign.seconds if campaign.seconds is not None else None

    def is_late() -> bool:
        return deadline is not None and time.monotonic() > deadline

    def take(outcome: Outcome) -> None:
        with lock:
            outcomes.append(outcome)
            tell(outcome)

    shared = [fault for fault in campaign.faults if fault in (Fault.CUT, Fault.KILL, Fault.TERMINATE)]
    if shared or Fault.DISK in campaign.faults:
        with started_bench(campaign.version, campaign.programs, starter=starter) as bench:
            if shared:
                _run_shared(campaign, bench, shared, take, is_late)
            if Fault.DISK in campaign.faults:
                for outcome in _run_full_disks(campaign, bench, is_late):
                    take(outcome)
    if Fault.STOP in campaign.faults:
        _run_stops(campaign, starter, take, is_late)
    order = {scenario.name: number for number, scenario in enumerate(campaign.scenarios)}
    return sorted(outcomes, key=lambda each: (order.get(each.scenario, len(order)), each.fault, each.side, each.count))


def _possible(campaign: Campaign, bench: Bench) -> list[Scenario]:
    return [scenario for scenario in campaign.scenarios if bench.version >= scenario.since]


def _jobs(campaign: Campaign, bench: Bench, faults: Sequence[Fault]) -> list[tuple[Scenario, Fault, Point]]:
    jobs = [
        (scenario, fault, point)
        for scenario in _possible(campaign, bench)
        for fault in faults
        for point in choose_points(bench.prepare(scenario), fault, campaign.sample, campaign.seed)
    ]
    # Those that wait for seconds lie between those that work.
    random.Random(campaign.seed).shuffle(jobs)  # noqa: S311
    return jobs


def _run_shared(
    campaign: Campaign, bench: Bench, faults: Sequence[Fault], take: Tell, is_late: Callable[[], bool]
) -> None:
    with ThreadPoolExecutor(campaign.workers) as pool:
        # All at once: the first look at each scenario takes seconds too.
        list(pool.map(bench.prepare, _possible(campaign, bench)))

        def run(job: tuple[Scenario, Fault, Point]) -> None:
            scenario, fault, point = job
            if not is_late():
                take(run_trial(bench, bench.prepare(scenario), fault, point))

        list(pool.map(run, _jobs(campaign, bench, faults)))


def _run_stops(campaign: Campaign, starter: Starter | None, take: Tell, is_late: Callable[[], bool]) -> None:
    """Try the stops of a server; each worker has one of its own."""
    with ExitStack() as stack:
        benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()
        first: Bench | None = None
        for number in range(campaign.workers):
            bench = stack.enter_context(
                started_bench(campaign.version, campaign.programs, name=f"-{number}", starter=starter)
            )
            first = first or bench
            benches.put(bench)
        assert first is not None

        def run(job: tuple[Scenario, Fault, Point]) -> None:
            scenario, fault, point = job
            bench = benches.get()
            try:
                if is_late():
                    return
                take(run_trial(bench, bench.prepare(scenario), fault, point))
            finally:
                benches.put(bench)

        with ThreadPoolExecutor(campaign.workers) as pool:
            list(pool.map(run, _jobs(campaign, first, [Fault.STOP])))


def _run_full_disks(campaign: Campaign, bench: Bench, is_late: Callable[[], bool]) -> Iterator[Outcome]:
    """Try every number of free pages up to one that suffices; a sample leaves some out."""
    step = 1 if campaign.sample is None else _SPREAD
    with disk.small_disk(bench) as place:
        for scenario in _possible(campaign, bench) if place is not None else ():
            prepared = bench.prepare(scenario)
            for pages in range(campaign.seed % step, disk.MOST_PAGES, step):
                outcome = disk.run_on_small_disk(bench, prepared, place, pages) if place is not None else None
                if outcome is None or is_late():
                    break
                yield outcome
    prepared = bench.prepare(BULK)
    for megabytes in disk.LIMITS if campaign.sample is None else disk.LIMITS[:1]:
        yield disk.run_with_limit(bench, prepared, megabytes)

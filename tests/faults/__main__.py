"""`python -m tests.faults`: try every point, print the table, and exit with 1 if not all converged."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.faults.bench import ENVIRONMENT, BenchError
from tests.faults.campaign import Campaign, run_campaign
from tests.faults.judgement import Fault, Outcome, Verdict
from tests.faults.report import write_problems, write_summary, write_table
from tests.faults.scenarios import SCENARIOS
from tests.faults.starter import Starter

PROGRESS_INTERVAL = 10.0  # seconds


class Arguments(argparse.Namespace):
    """What was asked for."""

    version: int
    bin: Path | None
    scenario: list[str]
    fault: list[str]
    seed: int | None
    sample: int | None
    workers: int
    json: Path | None
    fresh: bool
    minutes: float | None


def add_options(options: argparse.ArgumentParser) -> None:
    """Add the options that `tests.faults.matrix` has too."""
    options.add_argument("--scenario", action="append", default=[], choices=[each.name for each in SCENARIOS])
    options.add_argument("--fault", action="append", default=[], choices=[each.value for each in Fault])
    options.add_argument("--seed", type=int, help="of what is drawn and of the order (random)")
    options.add_argument("--sample", type=int, help="so many points for each scenario and fault, instead of all")
    options.add_argument(
        "--workers", type=int, default=5, help="how many trials at a time; most of the time they wait (5)"
    )
    options.add_argument("--minutes", type=float, help="begin no trial after so many minutes")
    options.add_argument("--json", type=Path, metavar="FILE", help="write every trial here")
    options.add_argument("--fresh", action="store_true", help="a new interpreter for each run, not a fork; slower")


def main() -> int:
    """Run what was asked for and return the exit code."""
    options = argparse.ArgumentParser(description="Inject one fault at every point of a run, run again, and look.")
    add_options(options)
    options.add_argument("--version", type=int, default=18, help="PostgreSQL's major version (18)")
    options.add_argument("--bin", type=Path, metavar="DIR", help="the directory of PostgreSQL's programs")
    arguments = options.parse_args(namespace=Arguments())
    # Also a SIGTERM, as timeout(1) sends it, stops and removes the servers.
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    outcomes = run_version(arguments, None if arguments.bin else arguments.version, arguments.bin)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([each.document() for each in outcomes], indent=1))
    return 0 if all(each.verdict == Verdict.CONVERGED.value for each in outcomes) else 1


def run_version(arguments: Arguments, version: int | None, programs: Path | None) -> list[Outcome]:
    """Run one version's trials, print progress, the table and what went wrong, and return the outcomes."""
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(1 << 32)
    campaign = Campaign(
        [each for each in SCENARIOS if not arguments.scenario or each.name in arguments.scenario],
        [each for each in Fault if not arguments.fault or each.value in arguments.fault],
        version,
        programs,
        arguments.sample,
        seed,
        arguments.workers,
        arguments.minutes * 60 if arguments.minutes is not None else None,
    )
    label = f"PostgreSQL {version or f'of {programs}'}, seed {seed}"
    say(label)
    begun = told = time.monotonic()
    so_far: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        nonlocal told
        so_far.append(outcome)
        if outcome.verdict != Verdict.CONVERGED.value:
            place = f"{outcome.scenario}, {outcome.fault}, {outcome.side} {outcome.count}"
            say(f"  {outcome.verdict}: {place} {outcome.at}")
        if time.monotonic() - told > PROGRESS_INTERVAL:
            told = time.monotonic()
            say(f"  {told - begun:.0f} s: {write_summary(so_far)}")

    with ExitStack() as stack:
        starter = None if arguments.fresh else stack.enter_context(Starter(ENVIRONMENT))
        outcomes = run_campaign(campaign, tell, starter)
    say(f"\n{write_problems(outcomes)}\n\n{write_table(outcomes)}\n")
    say(f"{label}: {write_summary(outcomes)}, in {time.monotonic() - begun:.0f} s")
    return outcomes


def say(text: str) -> None:
    """Write a line to the standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"error: {error}")

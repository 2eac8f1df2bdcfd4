"""`python -m benchmarks.nonstop`: change a table under traffic, print what that did, and write it all as JSON."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import drawing
from benchmarks.measurement import CommandFailed
from benchmarks.nonstop import document, echo, expansions, report, runner, targets
from benchmarks.nonstop.changes import CHANGES, Change
from benchmarks.nonstop.runner import Load
from benchmarks.runner import NoPsql, started_server

RESULTS = Path(__file__).parents[1] / "results"
# As somebody would set it for a database of this size: no checkpoint falls into a measurement by itself.
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
REPEATS = 3
# Rows where only the schema matters.
_FEW = 500


class Arguments(argparse.Namespace):
    """What was asked for; `repeats` and `file` are None where they were left out."""

    verb: str | None
    only: list[str]
    rows: int
    repeats: int | None
    clients: int
    rate: float
    quiet: float
    file: Path | None
    results: list[Path]


class Refused(Exception):
    """What was asked for cannot be done; the message says why."""


def main() -> int:
    """Do what was asked for and return the exit code."""
    arguments = _parse()
    try:
        match arguments.verb:
            case "targets":
                print(*targets.lines(_read(arguments.results)), sep="\n")
                return 0
            case "plot":
                return drawing.draw(arguments.results, module="benchmarks.nonstop.plots")
            case "document":
                return document.rewrite(_read(arguments.results) if arguments.results else None)
            case "expand":
                return _expand()
            case _:
                return _measure(arguments)
    except (Refused, NoPsql, CommandFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _measure(arguments: Arguments) -> int:
    # Also a SIGTERM, as timeout(1) sends it, stops and removes the server.
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    chosen = _select(arguments.only)
    code = 0
    load = Load(arguments.clients, arguments.rate, least_quiet=arguments.quiet)
    with started_server(SETTINGS) as server:
        echo.fill(server, arguments.rows)
        results = report.begin(server, arguments.rows, arguments.repeats or REPEATS, load)
        print(*report.heading(results), sep="\n", flush=True)
        file = arguments.file or RESULTS / f"nonstop-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        for change in chosen:
            try:
                measured = runner.run(
                    server, change, arguments.repeats or (1 if change.is_long else REPEATS), load, _tell
                )
            except CommandFailed as error:
                print(f"error: {change.name}: {error}", file=sys.stderr)
                code = 1
                continue
            results["changes"].append(report.change_form(measured))
            # Now, and not only at the end: a run takes long enough to be stopped.
            file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            print("", *report.table(results["changes"][-1]), sep="\n", flush=True)
    print("", *targets.lines(results), sep="\n")
    print(f"\nWritten to {os.path.relpath(file)}.")
    return code


def _expand() -> int:
    with started_server({"fsync": "off"}) as server:
        echo.fill(server, _FEW)
        print(*(f"Written: {os.path.relpath(file)}" for file in expansions.write(server)), sep="\n")
    return 0


def _select(names: list[str]) -> list[Change]:
    known = [change.name for change in CHANGES]
    if unknown := set(names) - set(known):
        raise Refused(f"no change {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [change for change in CHANGES if not names or change.name in names]


def _read(files: list[Path]) -> dict[str, Any]:
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    if any(results.get("nonstop") != report.FORMAT for results in found):
        raise Refused(f"not results of this benchmark in format {report.FORMAT}")
    return report.merge(found, [change.name for change in CHANGES])


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


def _parse() -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nonstop", description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", metavar="NAME", action="append", default=[], help="this change; may be repeated")
    parser.add_argument("--rows", metavar="N", type=int, default=2_000_000, help="rows of the table (2000000)")
    parser.add_argument("--repeats", metavar="N", type=int, help="measurements of each change (3; long ones 1)")
    parser.add_argument("--clients", metavar="N", type=int, default=16, help="clients of the application (16)")
    parser.add_argument("--rate", metavar="N", type=float, default=300, help="transactions a second of all (300)")
    parser.add_argument("--quiet", metavar="S", type=float, default=5, help="least quiet time before a change (5)")
    parser.add_argument(
        "--json", metavar="FILE", dest="file", type=Path, help="where the JSON goes (benchmarks/results/)"
    )
    verbs = parser.add_subparsers(dest="verb", title="instead of measuring", metavar="")
    verbs.add_parser("expand", help="write the files that whimbrel create --expand makes")
    several = "results; of a change that is in several, the last counts"
    for verb, text, number in (
        ("targets", "say which targets are reached", "+"),
        ("plot", "draw docs/images/nonstop.svg", "+"),
        ("document", "write SQL and, from results, figures into docs/nonstop.md", "*"),
    ):
        verbs.add_parser(verb, help=text).add_argument("results", metavar="FILE", nargs=number, type=Path, help=several)
    return parser.parse_args(namespace=Arguments())


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks`: measure, print a table for each case, and write it all as JSON."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.cases import QUICK, Sizes, make_cases
from benchmarks.measurement import CommandFailed
from benchmarks.runner import run_case, started_server
from whimbrel.cluster import find_program

RESULTS = Path(__file__).parent / "results"


class Arguments(argparse.Namespace):
    """What was asked for; `repeats` and `file` are None where they were left out."""

    only: list[str]
    repeats: int | None
    file: Path | None
    quick: bool


def main() -> int:
    """Measure what was asked for and return the exit code."""
    arguments = _parse()
    # Also a SIGTERM, as timeout(1) sends it, stops and removes the server.
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    repeats = arguments.repeats or (1 if arguments.quick else 5)
    # The server's own defaults, but where figures are of no interest.
    with started_server({"fsync": "off"} if arguments.quick else {}) as server:
        psql = find_program(server.running.embedded, "psql")
        if psql is None:
            print("error: psql was not found", file=sys.stderr)
            return 2
        cases = make_cases(QUICK if arguments.quick else Sizes(), psql)
        unknown = set(arguments.only) - {case.name for case in cases}
        if unknown:
            print(
                f"error: no case {', '.join(sorted(unknown))}; there are {', '.join(case.name for case in cases)}",
                file=sys.stderr,
            )
            return 2
        document: dict[str, Any] = {
            "benchmarks": report.FORMAT,
            "is_quick": arguments.quick,
            "repeats": repeats,
            **report.describe_machine(psql, server.read_settings()),
            "cases": [],
        }
        print(_heading(document), flush=True)
        for case in cases:
            if arguments.only and case.name not in arguments.only:
                continue
            try:
                measured = run_case(server, case, repeats, warm_up=not arguments.quick, tell=_tell)
            except CommandFailed as error:
                print(f"error: {case.name}: {error}", file=sys.stderr)
                return 1
            document["cases"].append(report.case_form(measured))
            print("", *report.table(document["cases"][-1]), sep="\n", flush=True)
    file = arguments.file or RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\nWritten to {os.path.relpath(file)}.")
    return 0


def _heading(document: dict[str, Any]) -> str:
    settings = ", ".join(f"{name} = {value}" for name, value in document["settings"].items())
    return (
        f"{document['cores']} cores, {document['system']}, Python {document['python']},"
        f" PostgreSQL {document['postgresql']}, {document['psql']}\n{settings}\n"
        "ratio: whimbrel's median to the other's; below 1 whimbrel takes less time"
    )


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


def _parse() -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", metavar="NAME", action="append", default=[], help="this case; may be repeated")
    parser.add_argument("--repeats", metavar="N", type=int, help="measurements of each command (5)")
    parser.add_argument(
        "--json", metavar="FILE", dest="file", type=Path, help="where the JSON goes (benchmarks/results/)"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, once each: to see that it runs")
    return parser.parse_args(namespace=Arguments())


if __name__ == "__main__":
    sys.exit(main())

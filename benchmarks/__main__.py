"""`python -m benchmarks`: measure, print a table for each case, and write it all as JSON."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import document, drawing, report, targets
from benchmarks.cases import QUICK, Case, Sizes, make_cases
from benchmarks.contestants import Field
from benchmarks.floor import NoFloor, compile_floor
from benchmarks.measurement import CommandFailed
from benchmarks.peers import PEERS, NotInstallable, Peer
from benchmarks.runner import NoPsql, Server, run_case, started_server

RESULTS = Path(__file__).parent / "results"


class Arguments(argparse.Namespace):
    """What was asked for; `repeats` and `file` are None where they were left out."""

    verb: str | None
    only: list[str]
    repeats: int | None
    file: Path | None
    quick: bool
    rtt: float
    copy_size: float | None
    peers: list[str] | None
    names: list[str]
    results: list[Path]


class Refused(Exception):
    """What was asked for cannot be done; the message says why."""


def main() -> int:
    """Do what was asked for and return the exit code."""
    arguments = _parse()
    try:
        match arguments.verb:
            case "install-peers":
                return _install(_choose(arguments.names or None))
            case "targets":
                return _judge(_read(arguments.results))
            case "plot":
                return drawing.draw(arguments.results)
            case "document":
                return document.rewrite(_read(arguments.results))
            case _:
                return _measure(arguments)
    except (Refused, NoPsql) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _measure(arguments: Arguments) -> int:
    # Also a SIGTERM, as timeout(1) sends it, stops and removes the server.
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    chosen = _choose(arguments.peers)
    # The server's own defaults, but where figures are of no interest.
    with started_server({"fsync": "off"} if arguments.quick else {}) as server:
        field = _gather(server, chosen)
        cases = _select(_sized_cases(arguments, field), arguments.only)
        results: dict[str, Any] = {
            "benchmarks": report.FORMAT,
            "is_quick": arguments.quick,
            "repeats": arguments.repeats or (1 if arguments.quick else 5),
            **report.describe_machine(field, server.read_settings()),
            "cases": [],
        }
        print(*report.heading(results), sep="\n", flush=True)
        file = arguments.file or RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        for case in cases:
            repeats = arguments.repeats or min(results["repeats"], case.repeats or results["repeats"])
            try:
                measured = run_case(server, case, repeats, warm_up=not arguments.quick, tell=_tell)
            except CommandFailed as error:
                print(f"error: {case.name}: {error}", file=sys.stderr)
                return 1
            results["cases"].append(report.case_form(measured))
            # Now, and not only at the end: a run takes long enough to be stopped.
            file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            print("", *report.table(results["cases"][-1]), sep="\n", flush=True)
    verdicts = [verdict for verdict in targets.judge(results) if verdict.is_reached is not None]
    if verdicts and not arguments.quick:
        print("", *targets.lines(verdicts), sep="\n")
    print(f"\nWritten to {os.path.relpath(file)}.")
    return 0


def _gather(server: Server, chosen: tuple[Peer, ...]) -> Field:
    """Return who can take part; name on the standard error who cannot."""
    try:
        floor = compile_floor(server.folder, server.running.bin)
    except NoFloor as error:
        print(f"left out: floor: {error}", file=sys.stderr)
        floor = None
    installed = [peer for peer in chosen if peer.installation.program.exists()]
    if missing := [peer.name for peer in chosen if peer not in installed]:
        print(f"left out, not installed: {', '.join(missing)} (python -m benchmarks install-peers)", file=sys.stderr)
    return Field(server.psql, floor, installed)


def _sized_cases(arguments: Arguments, field: Field) -> tuple[Case, ...]:
    sizes = QUICK if arguments.quick else Sizes()
    if arguments.copy_size is not None:
        sizes = replace(sizes, copy=int(arguments.copy_size * 1e6))
    return make_cases(sizes, field, arguments.rtt / 1000)


def _select(cases: tuple[Case, ...], names: list[str]) -> list[Case]:
    unknown = set(names) - {case.name for case in cases}
    if unknown:
        raise Refused(f"no case {', '.join(sorted(unknown))}; there are {', '.join(case.name for case in cases)}")
    return [case for case in cases if not names or case.name in names]


def _choose(names: list[str] | None) -> tuple[Peer, ...]:
    known = {peer.name: peer for peer in PEERS}
    if names is None or names == ["all"]:
        return PEERS
    if names == ["none"]:
        return ()
    if unknown := set(names) - known.keys():
        raise Refused(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(known)}, all and none")
    return tuple(peer for peer in PEERS if peer.name in names)


def _install(peers: tuple[Peer, ...]) -> int:
    """Install what can be installed; say what cannot. No peer is worth a failure."""
    for peer in peers:
        if peer.installation.program.exists():
            print(f"{peer.name} {peer.version}: is there", flush=True)
            continue
        try:
            peer.installation.install()
        except NotInstallable as error:
            print(f"{peer.name} {peer.version}: left out: {error}", flush=True)
        else:
            print(f"{peer.name} {peer.version}: installed", flush=True)
    return 0


def _judge(results: dict[str, Any]) -> int:
    if results["is_quick"]:
        raise Refused("a quick run says nothing of targets")
    print(*targets.lines(targets.judge(results)), sep="\n")
    return 0


def _read(files: list[Path]) -> dict[str, Any]:
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    if any(results["benchmarks"] != report.FORMAT for results in found):
        raise Refused(f"not results in format {report.FORMAT}")
    return report.merge(found)


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


def _parse() -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", metavar="NAME", action="append", default=[], help="this case; may be repeated")
    parser.add_argument("--repeats", metavar="N", type=int, help="measurements of each command (5)")
    parser.add_argument(
        "--peers",
        metavar="NAMES",
        type=lambda text: text.split(","),
        help="other tools, with commas between: all that are installed, none, or names (all)",
    )
    parser.add_argument("--rtt", metavar="MS", type=float, default=10, help="round trip of the slow network (10)")
    parser.add_argument("--copy-size", metavar="MB", type=float, help="size of the file of COPY data (1000)")
    parser.add_argument(
        "--json", metavar="FILE", dest="file", type=Path, help="where the JSON goes (benchmarks/results/)"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, once each: to see that it runs")
    verbs = parser.add_subparsers(dest="verb", title="instead of measuring", metavar="")
    install = verbs.add_parser("install-peers", help="install the other tools into .whimbrel/peers")
    install.add_argument("names", metavar="NAME", nargs="*", help="these only")
    several = "results; of a case that is in several, the last counts"
    for verb, text in (
        ("targets", "say which targets are reached"),
        ("plot", "draw docs/images/performance-*.svg"),
        ("document", "write the figures into docs/performance.md"),
    ):
        verbs.add_parser(verb, help=text).add_argument("results", metavar="FILE", nargs="+", type=Path, help=several)
    return parser.parse_args(namespace=Arguments())


if __name__ == "__main__":
    sys.exit(main())

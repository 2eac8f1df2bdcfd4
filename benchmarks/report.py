"""What was measured → a document for machines, and from that a table for people."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from benchmarks.contestants import Contestant, Field
from benchmarks.measurement import Sample
from benchmarks.runner import Measured

FORMAT = 2


def describe_machine(field: Field, settings: dict[str, str]) -> dict[str, Any]:
    """Return what the figures depend on: cores, versions, the server's settings, the date."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("whimbrel", "psycopg", "click", "postgast")},
        "psql": subprocess.run([field.psql, "--version"], capture_output=True, text=True, check=True).stdout.strip(),
        "peers": {peer.name: peer.version for peer in field.peers},
        "postgresql": settings["server_version"],
        "settings": {name: value for name, value in sorted(settings.items()) if name != "server_version"},
    }


def case_form(measured: Measured) -> dict[str, Any]:
    """Return a case with its samples and what they come to. Times are seconds, memory is kibibytes."""
    first = measured.contestants[0].name
    reference = statistics.median(sample.wall for sample in measured.samples[first])
    return {
        "name": measured.case.name,
        "title": measured.case.title,
        "rtt": measured.case.rtt,
        "load_average": round(measured.load, 2),
        "files": len(measured.workload.files),
        "bytes": measured.workload.size,
        "statements": measured.workload.statements,
        "contestants": [
            _contestant_form(contestant, measured.samples[contestant.name], reference)
            for contestant in measured.contestants
            if contestant.name in measured.samples
        ],
        "failures": measured.failures,
    }


def summarise(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the median, the least and the most of the wall time, the median CPU time and the largest of the rest."""
    walls = [sample.wall for sample in samples]
    return {
        "n": len(samples),
        "median": round(statistics.median(walls), 4),
        "min": round(min(walls), 4),
        "max": round(max(walls), 4),
        "cpu": round(statistics.median(sample.cpu for sample in samples), 4),
        "client_peak": _largest([sample.client_peak for sample in samples]),
        "backend_peak": _largest([sample.backend_peak for sample in samples]),
        "round_trips": _largest([sample.round_trips for sample in samples]),
        "connections": _largest([sample.connections for sample in samples]),
    }


def heading(document: dict[str, Any]) -> list[str]:
    """Return the lines that say what the figures of a document depend on, and what the columns are."""
    peers = ", ".join(f"{name} {text}" for name, text in document["peers"].items())
    machine = f"{document['cores']} cores, {document['system']}, Python {document['python']}"
    return [
        f"{machine}, PostgreSQL {document['postgresql']}, {document['psql']}",
        ", ".join(f"{name} = {value}" for name, value in document["settings"].items()),
        *([peers] if peers else []),
        "ratio: whimbrel's median to the other's; below 1 whimbrel takes less time",
    ]


def table(case: dict[str, Any]) -> list[str]:
    """Return the lines that show a case: `ratio` is the first contestant's median to this one's."""
    has_trips = bool(case["rtt"])
    lines = [f"{case['name']}: {case['title']} (load {case['load_average']:.2f})"]
    header = (
        f"  {'':<24}{'n':>3}{'median':>10}{'min':>10}{'max':>10}{'ratio':>8}{'cpu':>10}{'client':>11}{'backend':>11}"
    )
    lines.append(header + (f"{'trips':>8}" if has_trips else ""))
    for row in case["contestants"]:
        is_first = row is case["contestants"][0]
        lines.append(
            f"  {row['name']:<24}{row['n']:>3}{_time(row['median']):>10}{_time(row['min']):>10}{_time(row['max']):>10}"
            f"{'' if is_first else format(row['ratio'], '.2f'):>8}{_time(row['cpu']):>10}"
            f"{_memory(row['client_peak']):>11}{_memory(row['backend_peak']):>11}"
            + (f"{row['round_trips']:>8,}" if has_trips else "")
        )
    lines += [f"  {name:<24}   failed: {text.strip().splitlines()[-1]}" for name, text in case["failures"].items()]
    return lines


def merge(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one document with the cases of all; where two measured the same case, the later one in the list counts."""
    cases = {case["name"]: case for document in documents for case in document["cases"]}
    peers = {name: text for document in documents for name, text in document["peers"].items()}
    return {**documents[-1], "peers": peers, "cases": list(cases.values())}


def _contestant_form(contestant: Contestant, samples: Sequence[Sample], reference: float) -> dict[str, Any]:
    summary = summarise(samples)
    return {
        "name": contestant.name,
        "role": contestant.role.value,
        "command": contestant.shown,
        **summary,
        "ratio": round(reference / statistics.median(sample.wall for sample in samples), 3),
        "samples": [
            {
                "wall": round(sample.wall, 4),
                "cpu": round(sample.cpu, 4),
                "client_peak": sample.client_peak,
                "backend_peak": sample.backend_peak,
                "round_trips": sample.round_trips,
                "connections": sample.connections,
            }
            for sample in samples
        ],
    }


def _largest(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _memory(kibibytes: int | None) -> str:
    return "–" if kibibytes is None else f"{kibibytes / 1024:.1f} MiB"

"""What was measured → a table for people and a document for machines."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measurement import Sample
from benchmarks.runner import Measured

FORMAT = 1


def describe_machine(psql: Path, settings: dict[str, str]) -> dict[str, Any]:
    """Return what the figures depend on: cores, versions, the server's settings, the date."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("whimbrel", "psycopg", "click", "postgast")},
        "psql": subprocess.run([psql, "--version"], capture_output=True, text=True, check=True).stdout.strip(),
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
        "load_average": round(measured.load, 2),
        "files": len(measured.workload.files),
        "bytes": measured.workload.size,
        "statements": measured.workload.statements,
        "contestants": [
            {
                "name": contestant.name,
                "command": contestant.shown,
                **summarise(measured.samples[contestant.name]),
                "ratio": round(
                    reference / statistics.median(sample.wall for sample in measured.samples[contestant.name]), 3
                ),
                "samples": [
                    {
                        "wall": round(sample.wall, 4),
                        "cpu": round(sample.cpu, 4),
                        "client_peak": sample.client_peak,
                        "backend_peak": sample.backend_peak,
                    }
                    for sample in measured.samples[contestant.name]
                ],
            }
            for contestant in measured.contestants
        ],
    }


def summarise(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the median, the least and the most of the wall time, the median CPU time and the largest peaks."""
    walls = [sample.wall for sample in samples]
    return {
        "median": round(statistics.median(walls), 4),
        "min": round(min(walls), 4),
        "max": round(max(walls), 4),
        "cpu": round(statistics.median(sample.cpu for sample in samples), 4),
        "client_peak": _largest([sample.client_peak for sample in samples]),
        "backend_peak": _largest([sample.backend_peak for sample in samples]),
    }


def table(case: dict[str, Any]) -> list[str]:
    """Return the lines that show a case: `ratio` is the first contestant's median to this one's."""
    lines = [f"{case['name']}: {case['title']} (load {case['load_average']:.2f})"]
    header = f"  {'':<24}{'median':>10}{'min':>10}{'max':>10}{'ratio':>8}{'cpu':>10}{'client':>10}{'backend':>10}"
    lines.append(header.rstrip())
    for row in case["contestants"]:
        is_first = row is case["contestants"][0]
        lines.append(
            f"  {row['name']:<24}{_time(row['median']):>10}{_time(row['min']):>10}{_time(row['max']):>10}"
            f"{'' if is_first else format(row['ratio'], '.2f'):>8}{_time(row['cpu']):>10}"
            f"{_memory(row['client_peak']):>10}{_memory(row['backend_peak']):>10}"
        )
    return lines


def _largest(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _memory(kibibytes: int | None) -> str:
    return "–" if kibibytes is None else f"{kibibytes / 1024:.1f} MiB"

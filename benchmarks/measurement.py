"""Run the commands of a contestant against a database, and measure the time from the first start to the last end."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from benchmarks.memory import Peaks, watched

Command = Sequence[str]

_VARIABLES = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: seconds, and kibibytes where they could be read. `cpu` is the clients' own, user and system."""

    wall: float
    cpu: float
    client_peak: int | None
    backend_peak: int | None


class CommandFailed(Exception):
    """A command that is measured did not succeed; what it wrote is the message."""


def measure(commands: Sequence[Command], folder: Path, conninfo: str, postmaster: int) -> Sample:
    """Run commands one after the other in a folder, with the database in their environment.

    Raises CommandFailed for the first that does not succeed.
    """
    environment = _environment(conninfo)
    cpu = 0.0
    with (
        watched(postmaster, environment["PGDATABASE"]) as peaks,
        tempfile.TemporaryFile() as output,
    ):
        start = time.perf_counter()
        for command in commands:
            cpu += _run(command, folder, environment, output.fileno(), peaks)
        wall = time.perf_counter() - start
    return Sample(wall, cpu, peaks.client, peaks.backend)


def _run(command: Command, folder: Path, environment: Mapping[str, str], output: int, peaks: Peaks) -> float:
    """Run one command and return its CPU time. Its output goes to a file, so that nobody has to read it meanwhile."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
    )
    peaks.watch(process.pid)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        peaks.unwatch(process.pid)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        written = os.pread(output, 4096, max(0, os.fstat(output).st_size - 4096)).decode(errors="replace")
        raise CommandFailed(f"{' '.join(command)} ended with {process.returncode}:\n{written}")
    return usage.ru_utime + usage.ru_stime


def _environment(conninfo: str) -> dict[str, str]:
    # Without PYTHONDONTWRITEBYTECODE the first run leaves compiled modules behind, as pip's installation does.
    foreign = ("PG", "WHIMBREL_", "DATABASE_URL", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    for keyword, value in conninfo_to_dict(conninfo).items():
        environment[_VARIABLES[keyword]] = str(value)
    # Nobody's ~/.psqlrc.
    return environment | {"PSQLRC": os.devnull}

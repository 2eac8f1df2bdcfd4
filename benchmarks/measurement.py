"""Run the commands of a contestant against a database, and measure the time from the first start to the last end."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from psycopg.conninfo import conninfo_to_dict

from benchmarks.memory import Peaks, watched

Command = Sequence[str]

_VARIABLES = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER"}
# A command that takes longer is killed, in seconds.
LIMIT = 1200


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: seconds, and kibibytes where they could be read. `cpu` is the clients' own, user and system.

    Round trips and connections are None where nothing counted them.
    """

    wall: float
    cpu: float
    client_peak: int | None
    backend_peak: int | None
    round_trips: int | None = None
    connections: int | None = None


class CommandFailed(Exception):
    """A command that is measured did not succeed; what it wrote is the message."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where commands run and what they find: a folder, an environment, and values for the `$words` in both."""

    folder: Path
    variables: Mapping[str, str]
    values: Mapping[str, str]

    def environment(self) -> dict[str, str]:
        """Return the environment: the database in libpq's variables, nothing of PostgreSQL's or whimbrel's from here.

        No TLS: it would cost a round trip to hear that the server has none.
        """
        # Without PYTHONDONTWRITEBYTECODE the first run leaves compiled modules behind, as pip's installation does.
        foreign = ("PG", "WHIMBREL_", "DATABASE_URL", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        for keyword, name in _VARIABLES.items():
            environment[name] = self.values[keyword]
        # And nobody's ~/.psqlrc.
        environment |= {"PGSSLMODE": "disable", "PSQLRC": os.devnull}
        return environment | {name: self.fill(value) for name, value in self.variables.items()}

    def fill(self, text: str) -> str:
        """Return the text with its `$words` filled in."""
        return Template(text).safe_substitute(self.values)


def read_values(conninfo: str) -> dict[str, str]:
    """Return host, port, dbname and user of a connection string."""
    return {keyword: str(value) for keyword, value in conninfo_to_dict(conninfo).items()}


def measure(commands: Sequence[Command], surroundings: Surroundings, postmaster: int) -> Sample:
    """Run commands one after the other. Raises CommandFailed for the first that does not succeed."""
    environment = surroundings.environment()
    cpu = 0.0
    with (
        watched(postmaster, environment["PGDATABASE"]) as peaks,
        tempfile.TemporaryFile() as output,
    ):
        start = time.perf_counter()
        for command in commands:
            words = [surroundings.fill(word) for word in command]
            cpu += _run(words, surroundings.folder, environment, output.fileno(), peaks)
        wall = time.perf_counter() - start
    return Sample(wall, cpu, peaks.client, peaks.backend)


def _run(command: Command, folder: Path, environment: Mapping[str, str], output: int, peaks: Peaks) -> float:
    """Run one command and return its CPU time. Its output goes to a file, so that nobody has to read it meanwhile."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
    )
    peaks.watch(process.pid)
    timer = threading.Timer(LIMIT, process.kill)
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        timer.cancel()
        peaks.unwatch(process.pid)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        written = os.pread(output, 4096, max(0, os.fstat(output).st_size - 4096)).decode(errors="replace")
        raise CommandFailed(f"{' '.join(command)} ended with {process.returncode}:\n{written}")
    return usage.ru_utime + usage.ru_stime

"""The two who change the table: psql with plain SQL, and whimbrel with the migrations that the guide recommends."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from benchmarks.measurement import CommandFailed, Surroundings, read_values
from benchmarks.nonstop import waits
from benchmarks.nonstop.changes import Change
from benchmarks.nonstop.echo import MIGRATIONS, WHIMBREL
from benchmarks.nonstop.stalls import Window
from benchmarks.nonstop.waits import Waits

# A command that takes longer is killed, in seconds.
LIMIT = 1200


class Contestant(StrEnum):
    """Who makes the change."""

    PSQL = "psql"
    WHIMBREL = "whimbrel"


@dataclass(frozen=True, slots=True)
class Made:
    """When the change was made; `failure` is what a command said that did not succeed."""

    window: Window
    waits: Waits = field(default_factory=Waits)
    failure: str = ""


def change(
    contestant: Contestant, what: Change, psql: Path, conninfo: str, folder: Path, deploy: Callable[[], None]
) -> Made:
    """Make the change, and have the application deployed in its course if it takes part in it."""
    surroundings = Surroundings(folder, {}, read_values(conninfo))
    if contestant is Contestant.PSQL:
        words = [str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(what.plain)]
        commands: list[Sequence[str]] = [words]
        pause = 1
    else:
        migrations = _lay_out(what, folder)
        up = [*WHIMBREL, "up", "--json", "--database", conninfo, "--migrations", str(migrations)]
        last_but_one = str(int(what.migrations[-2].name.partition("_")[0])) if what.is_deployed else ""
        commands = [[*up, "--to", last_but_one], up] if what.is_deployed else [up]
        pause = len(commands) - 1
    waited = Waits()
    failure = ""
    begin = time.monotonic()
    for place, command in enumerate(commands):
        if what.is_deployed and place == pause:
            deploy()
        try:
            waited = waits.add(waited, _run(command, surroundings))
        except CommandFailed as error:
            failure = str(error)
            break
    if what.is_deployed and pause == len(commands) and not failure:
        deploy()
    return Made(Window(begin, time.monotonic()), waited, failure)


def _lay_out(what: Change, folder: Path) -> Path:
    """Return a folder of migrations with Echo's, which are applied, and those of the change."""
    migrations = folder / "migrations"
    shutil.rmtree(migrations, ignore_errors=True)
    shutil.copytree(MIGRATIONS, migrations)
    for file in what.migrations:
        shutil.copy(file, migrations)
    return migrations


def _run(command: Sequence[str], surroundings: Surroundings) -> Waits:
    lines: list[tuple[float, str]] = []
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as messages,
        subprocess.Popen(
            command,
            cwd=surroundings.folder,
            env=surroundings.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
        ) as process,
    ):
        timer = threading.Timer(LIMIT, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            lines += [(time.monotonic(), line) for line in process.stdout]
            process.wait()
        finally:
            timer.cancel()
            process.kill()
        if process.returncode != 0:
            messages.seek(0)
            said = messages.read().strip() or "".join(line for _, line in lines[-3:]).strip()
            raise CommandFailed(f"{' '.join(command[:4])} … ended with {process.returncode}:\n{said}")
    return waits.read_events(lines)

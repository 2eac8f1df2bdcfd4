"""A crowd: many runs of `up` at the same instant on an empty database, and what came of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from ..acceptance.programs import Done, Project, eventually, finish, sessions, tables, value

GATE = Path(__file__).with_name("gate.py")
# Long enough for a crowd on a slow machine; what a crowd needs is a matter of seconds.
PATIENCE = 300.0

# Each writes a row that a second run of it would write once more: nothing in the table would refuse that.
ORDINARY = {
    1: "CREATE TABLE ran (version int);\nINSERT INTO ran VALUES (1);\n",
    2: "CREATE TABLE other (id int);\nINSERT INTO ran VALUES (2);\n",
    3: "INSERT INTO other SELECT generate_series(1, 1000);\nINSERT INTO ran VALUES (3);\n",
    4: "INSERT INTO ran VALUES (4);\n",
}
CONCURRENT = {**ORDINARY, 3: "CREATE INDEX CONCURRENTLY ran_version ON ran (version);\nINSERT INTO ran VALUES (3);\n"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a crowd left: its exit codes, how often each version ran, and what the server counted."""

    done: tuple[Done, ...]
    runs: dict[int, int]
    recorded: dict[int, int]
    invalid_indexes: int
    deadlocks: int

    @property
    def codes(self) -> dict[int, int]:
        """How many ended with each exit code."""
        return dict(Counter(each.code for each in self.done))

    @property
    def applied_once(self) -> bool:
        """Whether each migration ran once and has one row in the history and in the log."""
        once = dict.fromkeys(ORDINARY, 1)
        return self.runs == once and self.recorded == once

    @property
    def is_good(self) -> bool:
        """Whether all of it is as it has to be."""
        return self.applied_once and set(self.codes) == {0} and not self.deadlocks and not self.invalid_indexes


def gather(project: Project, connection: psycopg.Connection[TupleRow], processes: int, *, concurrent: bool) -> Outcome:
    """Run `up` in many processes at the same instant, for the empty database that `connection` is on."""
    for version, text in (CONCURRENT if concurrent else ORDINARY).items():
        project.migration(version, text)
    done = run_at_once(project, [("up", "--lock-wait", "10min")] * processes)
    # A session's counts are written at its end at the latest.
    eventually(lambda: sessions(connection) == 0, PATIENCE)
    return Outcome(
        done,
        _counts(connection, "SELECT version, count(*) FROM ran GROUP BY 1") if "ran" in tables(connection) else {},
        _counts(
            connection,
            "SELECT version, count(*) FROM schema_migrations JOIN schema_migrations_log USING (version) GROUP BY 1",
        ),
        int(str(value(connection, "SELECT count(*) FROM pg_index WHERE NOT indisvalid"))),
        deadlocks(connection),
    )


class Gate:
    """Processes that are ready to run a command line, and begin all together when the gate is opened."""

    def __init__(self) -> None:
        self._gate, self._opener = os.pipe()
        self._ready, self._reporter = os.pipe()

    def start(self, project: Project, *arguments: str) -> subprocess.Popen[str]:
        """Start a process that will run whimbrel with these arguments."""
        return subprocess.Popen(
            [sys.executable, str(GATE), str(self._gate), str(self._reporter), *arguments],
            cwd=project.root,
            env=project.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            pass_fds=(self._gate, self._reporter),
        )

    def wait(self) -> None:
        """Wait until all that were started are ready. No more can be started then."""
        os.close(self._gate)
        os.close(self._reporter)
        os.read(self._ready, 1)
        os.close(self._ready)

    def open(self) -> None:
        """Let them run."""
        os.close(self._opener)


def run_at_once(project: Project, commands: Sequence[Sequence[str]]) -> tuple[Done, ...]:
    """Run whimbrel once for each command line, all beginning at the same instant; return how they ended, in order."""
    gate = Gate()
    processes = [gate.start(project, *command) for command in commands]
    gate.wait()
    gate.open()
    return tuple(finish(process, PATIENCE) for process in processes)


def deadlocks(connection: psycopg.Connection[TupleRow]) -> int:
    """Return how many deadlocks the server has found in this database so far."""
    connection.execute("SELECT pg_stat_clear_snapshot()")
    return int(str(value(connection, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")))


def _counts(connection: psycopg.Connection[TupleRow], query: str) -> dict[int, int]:
    rows = connection.execute(query.encode()).fetchall()
    return {int(version): int(count) for version, count in sorted(rows)}

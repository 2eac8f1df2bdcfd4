"""A project in a folder of its own, and whimbrel run in it as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

COMMAND = (sys.executable, "-m", "whimbrel")
TIMEOUT = 60.0


@dataclass(frozen=True)
class Done:
    """What a process left: its exit code and what it wrote. A signal that killed it is a negative code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Project:
    """A folder with migrations in it. `database` is what DATABASE_URL says, None for nothing."""

    root: Path
    database: str | None
    variables: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def migrations(self) -> Path:
        return self.root / "migrations"

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file; the path is relative to the project's folder."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def migration(self, version: int, up: str | bytes, down: str | bytes | None = None, name: str = "") -> None:
        """Write migration NNNNNN_NAME, by default named m1, m2, …; without a down file if there is none."""
        stem = f"migrations/{version:06d}_{name or f'm{version}'}"
        self.write(f"{stem}.up.sql", up)
        if down is not None:
            self.write(f"{stem}.down.sql", down)

    def three_tables(self) -> None:
        """Write three migrations that make the tables t1, t2, t3."""
        for number in (1, 2, 3):
            self.migration(number, f"CREATE TABLE t{number} (id int);\n", f"DROP TABLE t{number};\n")

    def environment(self, variables: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return an environment in which nothing of the surroundings is left that whimbrel or libpq would read."""
        found = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
            "PYTHONWARNINGS": "error",
            **self.variables,
        }
        if self.database is not None:
            found["DATABASE_URL"] = self.database
        return {**found, **(variables or {})}

    def start(
        self, *arguments: str, variables: Mapping[str, str] | None = None, program: Sequence[str] = COMMAND
    ) -> subprocess.Popen[str]:
        """Start whimbrel, or a program that runs it, and return at once."""
        return subprocess.Popen(
            [*program, *arguments],
            cwd=self.root,
            env=self.environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )

    def run(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Done:
        """Run whimbrel to its end, without a terminal."""
        return finish(self.start(*arguments, variables=variables))

    def succeed(self, *arguments: str, variables: Mapping[str, str] | None = None) -> str:
        """Run whimbrel, which has to exit with 0 and write nothing to standard error; return what it wrote."""
        done = self.run(*arguments, variables=variables)
        assert (done.code, done.err) == (0, ""), done
        return done.out

    def fail(self, code: int, *arguments: str, variables: Mapping[str, str] | None = None) -> str:
        """Run whimbrel, which has to exit with `code`; return what it wrote to standard error."""
        done = self.run(*arguments, variables=variables)
        assert done.code == code, done
        return done.err


def finish(process: subprocess.Popen[str], timeout: float = TIMEOUT) -> Done:
    """Wait for a process, killing it when it takes too long."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout} s\n{out}\n{err}") from None
    return Done(process.returncode, out, err)


def interrupt(process: subprocess.Popen[str], signum: signal.Signals) -> Done:
    """Send a signal to a process and wait for its end."""
    process.send_signal(signum)
    return finish(process)


def eventually(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def value(connection: psycopg.Connection[TupleRow], query: str) -> object:
    """Return the one value that a query has."""
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def applied(connection: psycopg.Connection[TupleRow]) -> list[int]:
    """Return the recorded versions, none where there is no history."""
    if value(connection, "SELECT to_regclass('public.schema_migrations')") is None:
        return []
    return [int(row[0]) for row in connection.execute("SELECT version FROM schema_migrations ORDER BY version")]


def tables(connection: psycopg.Connection[TupleRow]) -> list[str]:
    """Return the tables of the schema public but for the history's."""
    rows = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'schema_migrations%'"
        " ORDER BY 1"
    )
    return [str(row[0]) for row in rows]


def sessions(connection: psycopg.Connection[TupleRow]) -> int:
    """Return how many sessions of whimbrel the database has."""
    count = value(
        connection,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '^whimbrel'",
    )
    assert isinstance(count, int)
    return count


def is_running(connection: psycopg.Connection[TupleRow], query: str) -> bool:
    """Say whether another session of the database runs a statement that holds this text."""
    row = connection.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND state = 'active' AND position(%s IN query) > 0",
        [query],
    ).fetchone()
    return row is not None

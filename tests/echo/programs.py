"""PostgreSQL's own programs, run as a person at a terminal would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from whimbrel.cluster import Running

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "migrations" / "postgres"
SEEDS = ROOT / "database" / "seeds"
SCHEMA_FILES = ROOT / "database" / "schemas"

SCHEMAS = ("auth", "media", "users", "messages", "notifications", "analytics", "location", "presence")


class Server(Protocol):
    """What is used here of the fixture `server`."""

    @property
    def version(self) -> int: ...

    @property
    def running(self) -> Running: ...


class ProgramError(Exception):
    """A program failed; the message is what it wrote to its standard error."""


def run(server: Server, program: str, *arguments: str) -> str:
    command = [str(server.running.bin / program), *arguments]
    done = subprocess.run(command, capture_output=True, check=False, encoding="utf-8")
    if done.returncode != 0:
        raise ProgramError(done.stderr)
    return done.stdout


def psql(server: Server, conninfo: str, *arguments: str) -> str:
    """Run psql without anybody's ~/.psqlrc; the first error ends it."""
    return run(server, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={conninfo}", *arguments)


def migrate(conninfo: str) -> None:
    """Apply the migrations with our own tool."""
    options = ["--database", conninfo, "--migrations", str(MIGRATIONS), "--quiet"]
    command = [sys.executable, "-m", "whimbrel", "up", *options]
    done = subprocess.run(command, capture_output=True, check=False, encoding="utf-8")
    if done.returncode != 0:
        raise ProgramError(done.stderr)


def run_files(server: Server, conninfo: str, files: list[Path]) -> None:
    """Run the files by hand: each in one transaction, but for those that cannot."""
    for file in files:
        alone = [] if is_concurrent(file) else ["--single-transaction"]
        psql(server, conninfo, *alone, f"--file={file}")


def is_concurrent(file: Path) -> bool:
    return re.search("^(CREATE|DROP) INDEX CONCURRENTLY", file.read_text(), re.MULTILINE) is not None


def ups() -> list[Path]:
    return sorted(MIGRATIONS.glob("*.up.sql"))


def downs() -> list[Path]:
    return sorted(MIGRATIONS.glob("*.down.sql"), reverse=True)


def seeds() -> list[Path]:
    return sorted(SEEDS.glob("*.sql"))


def dump(server: Server, conninfo: str, *schemas: str) -> str:
    """Give the definition of the schemas, of the whole database if none is named, without what differs by run."""
    chosen = [f"--schema={schema}" for schema in schemas]
    text = run(server, "pg_dump", "--schema-only", "--no-owner", *chosen, f"--dbname={conninfo}")
    return re.sub(r"^\\(un)?restrict .*\n", "", text, flags=re.MULTILINE)

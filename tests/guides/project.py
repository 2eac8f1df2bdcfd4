"""A copy of the project in a folder of its own, and its commands run as a person at a terminal would run them."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

ROOT = Path(__file__).parents[2]
CONTENTS = (
    ".env.example",
    "MIGRATION_GUIDE.md",
    "Makefile",
    "QUICKSTART.md",
    "README.md",
    "constraints.txt",
    "database",
    "docker-compose.prod.yml",
    "infra",
    "migrations",
    "pyproject.toml",
    "whimbrel.toml",
)
# Whatever else is set, such as MAKEFLAGS or PGHOST, belongs to whoever runs the tests.
INHERITED = ("PATH", "TMPDIR")
ECHO_SCHEMAS = ("auth", "users", "messages", "media", "notifications", "analytics", "location", "presence")
COUNT_TABLES = f"SELECT count(*) FROM pg_tables WHERE schemaname IN {ECHO_SCHEMAS!r}"


@dataclass(frozen=True)
class Done:
    """How a command ended. `output` is what it wrote, standard output and error in one, as a terminal shows them."""

    code: int
    output: str

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.output.splitlines()]


@dataclass(frozen=True)
class Project:
    """A copy of the project; `environment` is all that its commands see, and says which database they use."""

    root: Path
    environment: Mapping[str, str] = field(repr=False)
    # How long a command may take, in seconds.
    patience: int = 120

    def try_(self, script: str, *, stdin: str = "", folder: str = ".", **variables: str) -> Done:
        """Run a script with bash in `folder` of the project."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.root / folder,
            env={**self.environment, **variables},
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            encoding="utf-8",
            timeout=self.patience,
        )
        return Done(done.returncode, done.stdout)

    def run(self, script: str, *, stdin: str = "", folder: str = ".", **variables: str) -> Done:
        """Run a script that has to end well."""
        done = self.try_(script, stdin=stdin, folder=folder, **variables)
        assert done.code == 0, f"{script}\nexited with {done.code}:\n{done.output}"
        return done

    def at_terminal(self, script: str, typed: str) -> Done:
        """Run a script at a terminal where a person types."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.root,
            env={**self.environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            os.write(ours, typed.encode())
            written = b""
            # At the end of a terminal without processes, Linux reports an error and others the end of the file.
            with suppress(OSError):
                while chunk := os.read(ours, 4096):
                    written += chunk
            os.close(ours)
        return Done(process.returncode, written.decode().replace("\r\n", "\n"))

    def execute(self, *statements: str) -> None:
        """Run statements in the project's database, past its own commands."""
        with psycopg.connect(self.conninfo) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def query(self, query: str) -> list[tuple[object, ...]]:
        """Return the rows of a query on the project's database, past its own commands."""
        with psycopg.connect(self.conninfo) as connection:
            return connection.execute(query.encode()).fetchall()

    def value(self, query: str) -> object:
        """Return the one value of a query's one row."""
        [[value]] = self.query(query)
        return value

    @property
    def conninfo(self) -> str:
        if "DATABASE_URL" in self.environment:
            return self.environment["DATABASE_URL"]
        found = re.search(r'psql "(.*)"', self.run(".venv/bin/whimbrel cluster status").output)
        assert found
        return found[1]

    def versions(self) -> list[object]:
        """Return the recorded versions."""
        return [row[0] for row in self.query("SELECT version FROM schema_migrations ORDER BY version")]

    def migration(self, name: str) -> Path:
        return self.root / "migrations" / "postgres" / name

    def keep_migrations(self, *versions: int) -> None:
        """Remove the files of all other versions."""
        for file in self.migration(".").glob("*.sql"):
            if int(file.name.partition("_")[0]) not in versions:
                file.unlink()


def copy_project(root: Path, variables: Mapping[str, str]) -> Project:
    """Copy the project to `root`, with this Python's whimbrel in its .venv."""
    root.mkdir()
    for name in CONTENTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name)
        else:
            shutil.copy2(source, root / name)
    programs = root / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "whimbrel").symlink_to(Path(sys.executable).parent / "whimbrel")
    # The newest file of all: make then has nothing to install.
    (root / ".venv" / ".setup").touch()
    home = root.with_name(f"{root.name}-home")
    home.mkdir()
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment |= {"HOME": str(home), "LC_ALL": "C.UTF-8", "PSQL_PAGER": ""}
    return Project(root, {**environment, **variables})

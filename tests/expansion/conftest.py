"""A project whose database has a table to change, and whimbrel's commands on it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from whimbrel import cluster
from whimbrel.config import config_from
from whimbrel.execution import operations
from whimbrel.execution.opening import open_session
from whimbrel.expansion import Expansion, Request, expand, write_files
from whimbrel.source import next_version, read_migrations

from ..acceptance.programs import Project
from ..conftest import Server


@dataclass(frozen=True)
class Change(Project):
    """A project with an open connection to its database."""

    connection: psycopg.Connection[TupleRow] | None = None
    server: Server | None = None

    @property
    def dsn(self) -> str:
        """The database's connection string."""
        return str(self.database)

    def execute(self, text: str) -> None:
        """Run statements."""
        assert self.connection is not None
        self.connection.execute(text.encode())

    def rows(self, query: str) -> list[TupleRow]:
        """Return what a query gives."""
        assert self.connection is not None
        return self.connection.execute(query.encode()).fetchall()

    def value(self, query: str) -> object:
        """Return the first value that a query gives."""
        return self.rows(query)[0][0]

    def rename(self, column: str, name: str) -> Expansion:
        """Write the files that rename a column."""
        return self.expand(Request(column, name=name))

    def retype(self, column: str, type_name: str, using: str | None = None) -> Expansion:
        """Write the files that give a column another type."""
        return self.expand(Request(column, type=type_name, using=using))

    def expand(self, request: Request) -> Expansion:
        """Write the files of an expansion, as `create --expand` does."""
        config = config_from({"database": str(self.database)}, self.root)
        assert self.connection is not None
        expansion = expand(self.connection, request, config)
        self.migrations.mkdir(exist_ok=True)
        version, _ = next_version(read_migrations(self.migrations).migrations)
        write_files(expansion, self.migrations, [f"{version + each:06d}" for each in range(len(expansion.steps))])
        return expansion

    def text(self, version: int, direction: str = "up") -> str:
        """Return a file's text."""
        (path,) = self.migrations.glob(f"{version:06d}_*.{direction}.sql")
        return path.read_text()

    def up(self, to: int) -> None:
        """Apply up to a version; whatever goes wrong fails the test."""
        with open_session(config_from({"database": self.dsn})) as session:
            result = operations.up(session, read_migrations(self.migrations), to=to)
        assert result.error is None, result.error

    def down(self, to: int) -> None:
        """Undo everything above a version."""
        with open_session(config_from({"database": self.dsn})) as session:
            result = operations.down(session, read_migrations(self.migrations), to=to)
        assert result.error is None, result.error

    def schema(self) -> str:
        """Return a dump of the schema."""
        assert self.server is not None
        return dump(self.server, str(self.database))


def dump(server: Server, dsn: str) -> str:
    """Return pg_dump's text of a schema, without whimbrel's own tables and without what differs each time."""
    program = cluster.find_program(server.running.embedded, "pg_dump")
    if program is None:
        pytest.skip("pg_dump is not installed")
    command = [str(program), "--schema-only", "--no-owner", "--exclude-table=public.schema_migrations*"]
    done = subprocess.run([*command, "--dbname", dsn], check=False, capture_output=True, text=True, timeout=60)
    if "server version mismatch" in done.stderr:
        pytest.skip("there is no pg_dump for this server")
    assert done.returncode == 0, done.stderr
    return re.sub(r"^\\(?:un)?restrict \S+\n", "", done.stdout, flags=re.MULTILINE)


@pytest.fixture
def change(tmp_path: Path, dsn: str, server: Server, connection: psycopg.Connection[TupleRow]) -> Change:
    """Give an empty project on a fresh database."""
    return Change(tmp_path, dsn, connection=connection, server=server)

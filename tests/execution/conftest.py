"""A project in a temporary folder: its migrations as a mapping of file names to texts, and sessions on its database."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from whimbrel.config import config_from
from whimbrel.events import Event
from whimbrel.execution import operations
from whimbrel.execution.executor import Result
from whimbrel.execution.opening import Session, open_session
from whimbrel.plan import State
from whimbrel.source import Source, read_migrations


@dataclass
class Project:
    """Migrations in a folder, and the database that they are for. `events` are those of the last run."""

    folder: Path
    dsn: str
    connection: psycopg.Connection[TupleRow]
    settings: dict[str, str] = field(default_factory=dict[str, str])
    events: list[Event] = field(default_factory=list[Event])

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Write files; a text may be bytes."""
        for name, text in files.items():
            (self.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    def source(self) -> Source:
        """Read the folder."""
        return read_migrations(self.folder)

    @contextmanager
    def session(self) -> Generator[Session]:
        """Open a session as the command line does."""
        with open_session(config_from({**self.settings, "database": self.dsn})) as session:
            yield session

    def up(self, to: int | None = None) -> Result:
        """Apply what is pending."""
        self.events.clear()
        with self.session() as session:
            return operations.up(session, self.source(), to=to, emit=self.events.append)

    def down(self, to: int | None = None) -> Result:
        """Undo the last one, or all above a version."""
        self.events.clear()
        with self.session() as session:
            return operations.down(session, self.source(), to=to, emit=self.events.append)

    def force(self, version: int) -> Result:
        """Run one again."""
        self.events.clear()
        with self.session() as session:
            return operations.force(session, self.source(), version, emit=self.events.append)

    def states(self) -> list[State]:
        """Compare the folder with the database."""
        with self.session() as session:
            return operations.read_states(session, self.source())

    def applied(self) -> list[int]:
        """Return the recorded versions."""
        exists = self.value("SELECT to_regclass('public.schema_migrations') IS NOT NULL")
        if not exists:
            return []
        rows = self.connection.execute("SELECT version FROM public.schema_migrations ORDER BY version").fetchall()
        return [int(row[0]) for row in rows]

    def value(self, query: str) -> object:
        """Return the first value of a query."""
        row = self.connection.execute(query.encode()).fetchone()
        return row[0] if row is not None else None

    def has_table(self, name: str) -> bool:
        """Whether a table is there."""
        return bool(self.connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone() == (True,))


@pytest.fixture
def project(tmp_path: Path, dsn: str, connection: psycopg.Connection[TupleRow]) -> Project:
    """Give an empty project on a fresh database."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    return Project(folder, dsn, connection)

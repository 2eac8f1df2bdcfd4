"""A pg_dump of Echo's own database, with data, is a migration."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from whimbrel import cluster
from whimbrel.config import config_from
from whimbrel.execution import operations
from whimbrel.execution.opening import open_session
from whimbrel.source import read_migrations

from ..conftest import Server
from .conftest import Project

ROOT = Path(__file__).parents[2]
# Echo's own history is not part of what it would be moved to; a random key protects each dump.
OPTIONS = ["--no-owner", "--no-privileges", "--exclude-table=public.schema_migrations*"]


def dump(server: Server, dsn: str, *options: str) -> str:
    """Return what pg_dump writes."""
    program = cluster.find_program(server.running.embedded, "pg_dump")
    if program is None:
        pytest.skip("pg_dump is not installed")
    command = [str(program), *OPTIONS, *options, "--dbname", dsn]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return re.sub(r"(\\(?:un)?restrict) \S+", r"\1 key", text)


def test_a_dump_of_echos_database_is_a_migration(server: Server, project: Project) -> None:
    """Applied to an empty database it gives the same database: COPY data, functions, comments, identity values."""
    with cluster.throwaway_database(server.running) as echo:
        with open_session(config_from({"database": echo})) as session:
            assert operations.up(session, read_migrations(ROOT / "migrations/postgres")).error is None
            assert operations.seed(session, ROOT / "database/seeds").error is None
        text = dump(server, echo)
    assert "COPY auth.users" in text
    project.write({"1_echo.up.sql": text})

    result = project.up()

    assert result.error is None
    assert dump(server, project.dsn) == text


def test_an_extension_that_is_missing_says_where_to_get_it(project: Project) -> None:
    """The wheel has none of contrib; Debian's package has."""
    project.write({"1_a.up.sql": "CREATE EXTENSION nowhere_to_be_found;"})

    error = project.up().error

    assert error is not None
    assert error.message == 'extension "nowhere_to_be_found" is not available'
    assert error.hint == cluster.EXTENSION_HINT

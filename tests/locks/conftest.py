"""A project on a fresh database, of the shared server or of one whose autovacuum is eager."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project
from tests.conftest import FAST, Server, roomy_folder
from whimbrel import cluster
from whimbrel.cluster import Embedded, Running

from .vacuums import SETTINGS

OWNER = "owner_without_rights"


@pytest.fixture
def project(tmp_path: Path, dsn: str) -> Project:
    """Give an empty project whose DATABASE_URL is a fresh database."""
    return Project(tmp_path, dsn)


@pytest.fixture
def busy(connection: psycopg.Connection[TupleRow]) -> str:
    """Make a table with a few rows in it and return its name."""
    connection.execute("CREATE TABLE busy (id int PRIMARY KEY); INSERT INTO busy SELECT generate_series(1, 10)")
    return "busy"


@pytest.fixture(scope="session")
def vacuuming(server: Server) -> Generator[Running]:
    """Start a server whose autovacuum looks at every database each second, one for each worker."""
    data = Path(tempfile.mkdtemp(prefix="whimbrel-locks-", dir=roomy_folder())) / "data"
    data.parent.chmod(0o755)
    embedded = Embedded(data=data, dbname="postgres", version=None, bin=server.running.bin)
    try:
        running = cluster.start(embedded, settings={**FAST, **SETTINGS})
        with psycopg.connect(running.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {OWNER} LOGIN".encode())
        yield running
    finally:
        cluster.stop(embedded)
        shutil.rmtree(data.parent)


@pytest.fixture
def vacuumed(vacuuming: Running) -> Generator[psycopg.Connection[TupleRow]]:
    """Give the superuser's connection to a fresh database of that server."""
    with (
        cluster.throwaway_database(vacuuming) as conninfo,
        psycopg.connect(conninfo, autocommit=True) as connection,
    ):
        connection.execute(f"ALTER DATABASE {connection.info.dbname} OWNER TO {OWNER}".encode())
        yield connection


@pytest.fixture(params=["superuser", OWNER])
def role(request: pytest.FixtureRequest) -> str:
    """Give whose eyes the run looks with: a superuser's, or a plain owner's, from whom others' queries are hidden."""
    return str(request.param)


@pytest.fixture
def vacuumed_project(tmp_path: Path, vacuumed: psycopg.Connection[TupleRow], role: str) -> Project:
    """Give an empty project whose DATABASE_URL is that database, for the role."""
    user = role if role != "superuser" else vacuumed.info.user
    return Project(tmp_path, f"{vacuumed.info.dsn.replace(f'user={vacuumed.info.user}', '')} user={user}")

"""Databases with Echo's migrations applied, copied from a template that each worker makes once."""

from __future__ import annotations

from collections.abc import Generator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from whimbrel import cluster

from .programs import Server, migrate, run_files, seeds


@pytest.fixture(scope="session")
def echo_template(server: Server) -> Generator[str]:
    """Give the name of a database with all migrations and nothing else in it."""
    with cluster.throwaway_database(server.running) as conninfo:
        migrate(conninfo)
        yield str(conninfo_to_dict(conninfo)["dbname"])


@pytest.fixture(scope="session")
def seeded_template(server: Server, echo_template: str) -> Generator[str]:
    """Give the name of a database with all migrations and the seeds."""
    with cluster.throwaway_database(server.running, template=echo_template) as conninfo:
        run_files(server, conninfo, seeds())
        yield str(conninfo_to_dict(conninfo)["dbname"])


@pytest.fixture
def echo(server: Server, echo_template: str) -> Generator[str]:
    """Give the conninfo of a database with all migrations applied."""
    with cluster.throwaway_database(server.running, template=echo_template) as conninfo:
        yield conninfo


@pytest.fixture
def seeded(server: Server, seeded_template: str) -> Generator[str]:
    """Give the conninfo of a database with all migrations and the seeds."""
    with cluster.throwaway_database(server.running, template=seeded_template) as conninfo:
        yield conninfo


@pytest.fixture
def db(echo: str) -> Generator[psycopg.Connection[TupleRow]]:
    """Give an autocommit connection to the database of `echo`."""
    with psycopg.connect(echo, autocommit=True) as connection:
        yield connection

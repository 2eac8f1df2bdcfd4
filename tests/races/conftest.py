"""A project on a fresh database of the shared server, and a second person in that database."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from ..acceptance.programs import Project


@pytest.fixture
def project(tmp_path: Path, dsn: str) -> Project:
    """Give an empty project whose DATABASE_URL is a fresh database."""
    return Project(tmp_path, dsn)


@pytest.fixture
def other(dsn: str) -> Generator[psycopg.Connection[TupleRow]]:
    """Give the connection of somebody else, who says who that is."""
    with psycopg.connect(dsn, autocommit=True, application_name="a report") as connection:
        yield connection

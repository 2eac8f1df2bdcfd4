"""A project on a fresh database, and PgBouncers in front of that database."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.programs import Project

from .bouncer import PROGRAM, Bouncer, run_bouncer

Start = Callable[..., Bouncer]


@pytest.fixture
def start_bouncer(dsn: str) -> Generator[Start]:
    """Give a function that runs a PgBouncer of a mode, with settings, until the end of the test."""
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed (make integration-packages)")
    with ExitStack() as stack:

        def start(mode: str, route: str = "", **settings: str) -> Bouncer:
            return stack.enter_context(run_bouncer(dsn, mode, route, **settings))

        yield start


@pytest.fixture
def project(tmp_path: Path, dsn: str) -> Project:
    """Give an empty project whose DATABASE_URL is the database itself."""
    return Project(tmp_path, dsn)

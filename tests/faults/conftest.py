"""The harness on the server that all tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.faults.bench import ENVIRONMENT, Bench
from tests.faults.starter import Starter


@pytest.fixture(scope="session")
def bench(server: Server) -> Generator[Bench]:
    """Give a bench whose runs are forked."""
    with (
        tempfile.TemporaryDirectory(prefix="whimbrel-faults-") as folder,
        Starter(ENVIRONMENT) as starter,
        Bench(server.running, Path(folder), starter) as bench,
    ):
        yield bench


@pytest.fixture
def fresh_bench(server: Server, tmp_path: Path) -> Generator[Bench]:
    """Give a bench whose runs are new interpreters."""
    with Bench(server.running, tmp_path) as bench:
        yield bench

"""A project on a fresh database of the shared server."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import pytest

from .programs import Project
from .servers import TcpServer, tcp_server


class Server(Protocol):
    """What is used here of the fixture `server`."""

    @property
    def version(self) -> int: ...


@pytest.fixture
def project(tmp_path: Path, dsn: str) -> Project:
    """Give an empty project whose DATABASE_URL is a fresh database."""
    return Project(tmp_path, dsn)


@pytest.fixture(scope="session")
def tcp(server: Server) -> Generator[TcpServer]:
    """Give a server that asks for passwords, one for each worker."""
    with tcp_server(server.version) as found:
        yield found

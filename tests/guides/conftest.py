"""Copies of the project, each with a database of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from psycopg.conninfo import conninfo_to_dict

from whimbrel import cluster
from whimbrel.cluster import Running

from .project import Project, copy_project

LATEST = 4


class Server(Protocol):
    """What is used here of the fixture `server`."""

    @property
    def running(self) -> Running: ...


class ProjectAt(Protocol):
    """Give a copy of the project whose database is at a version, perhaps with the seed data."""

    def __call__(self, version: int, *, is_seeded: bool = False) -> Project: ...


@pytest.fixture(scope="session")
def template_at(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Callable[[int, bool], str | None]]:
    """Give the name of a database to copy for a version; each is made once, when it is first wanted."""
    made: dict[tuple[int, bool], str | None] = {(0, False): None}
    with ExitStack() as stack:

        def make(version: int, is_seeded: bool) -> str | None:
            if (version, is_seeded) not in made:
                below = make(version, False) if is_seeded else None
                conninfo = stack.enter_context(cluster.throwaway_database(server.running, template=below))
                root = tmp_path_factory.mktemp("template") / "project"
                project = copy_project(root, _variables(server, conninfo))
                project.run("infra/scripts/seed-data.sh" if is_seeded else f".venv/bin/whimbrel up --to {version}")
                made[version, is_seeded] = str(conninfo_to_dict(conninfo)["dbname"])
            return made[version, is_seeded]

        yield make


@pytest.fixture
def project_at(server: Server, template_at: Callable[[int, bool], str | None], tmp_path: Path) -> Generator[ProjectAt]:
    """Give copies of the project whose databases are at a version of choice, on the server that the tests share."""
    with ExitStack() as stack:

        def make(version: int, *, is_seeded: bool = False) -> Project:
            template = template_at(version, is_seeded)
            conninfo = stack.enter_context(cluster.throwaway_database(server.running, template=template))
            return copy_project(tmp_path / f"project-{version}", _variables(server, conninfo))

        yield make


@pytest.fixture
def project(project_at: ProjectAt) -> Project:
    """Give a copy of the project with an empty database."""
    return project_at(0)


@pytest.fixture
def fresh(tmp_path: Path) -> Generator[Project]:
    """Give a copy of the project as a clone is: no database, and nothing that says where one is."""
    project = copy_project(tmp_path / "echo", {})
    yield project
    project.run(".venv/bin/whimbrel cluster stop --quiet")
    shutil.rmtree(project.root)


def _variables(server: Server, conninfo: str) -> dict[str, str]:
    return {"DATABASE_URL": conninfo, "PATH": f"{server.running.bin}{os.pathsep}{os.environ['PATH']}"}

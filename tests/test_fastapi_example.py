"""The FastAPI example: the application migrates its own database when it starts."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, cast

import psycopg
import pytest
from psycopg.rows import TupleRow
from starlette.testclient import TestClient

from whimbrel.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

EXAMPLE = Path(__file__).parents[1] / "examples" / "fastapi_lifespan.py"


@pytest.fixture(scope="module")
def create_app() -> Callable[[str], FastAPI]:
    """Give the example's factory."""
    spec = importlib.util.spec_from_file_location("fastapi_lifespan", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast("Callable[[str], FastAPI]", module.create_app)


def test_the_application_is_up_to_date_once_it_has_started(create_app: Callable[[str], FastAPI], dsn: str) -> None:
    with TestClient(create_app(dsn)) as client:
        answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"applied": 2, "pending": []}


def test_a_second_start_finds_nothing_to_do(
    create_app: Callable[[str], FastAPI], dsn: str, connection: psycopg.Connection[TupleRow]
) -> None:
    for _ in range(2):
        with TestClient(create_app(dsn)):
            pass
    assert _attempts(connection) == [(1, "succeeded"), (2, "succeeded")]


def test_health_says_when_the_database_is_behind(
    create_app: Callable[[str], FastAPI], dsn: str, connection: psycopg.Connection[TupleRow]
) -> None:
    with TestClient(create_app(dsn)) as client:
        connection.execute("DELETE FROM schema_migrations WHERE version = 2")
        answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json() == {"applied": 1, "pending": [2]}


def test_two_applications_start_at_once_and_each_migration_runs_once(
    create_app: Callable[[str], FastAPI], dsn: str, connection: psycopg.Connection[TupleRow]
) -> None:
    together = Barrier(2)

    def start() -> object:
        together.wait(timeout=30)
        with TestClient(create_app(dsn)) as client:
            return client.get("/health").json()

    with ThreadPoolExecutor(2) as threads:
        answers = [each.result(timeout=60) for each in [threads.submit(start) for _ in range(2)]]
    assert answers == [{"applied": 2, "pending": []}] * 2
    assert _attempts(connection) == [(1, "succeeded"), (2, "succeeded")]


def test_the_application_does_not_start_without_its_database(create_app: Callable[[str], FastAPI]) -> None:
    with pytest.raises(ConnectionFailed), TestClient(create_app("host=127.0.0.1 port=1 dbname=none")):
        pass


def _attempts(connection: psycopg.Connection[TupleRow]) -> list[TupleRow]:
    return connection.execute("SELECT version, outcome FROM schema_migrations_log ORDER BY id").fetchall()

"""A connection that is lost in the middle: what was committed is found out, and the next run goes on."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from whimbrel.errors import ConnectionFailed
from whimbrel.events import Warned

from .conftest import Project
from .proxy import Proxy

FILES = {
    "1_a.up.sql": "CREATE TABLE a ();",
    "2_b.up.sql": "CREATE TABLE b ();",
    "3_c.up.sql": "CREATE TABLE c ();",
}


@pytest.fixture
def folder() -> Generator[Path]:
    """Give a folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def wait_until_committed(project: Project, version: int) -> None:
    """Look from outside until a version is recorded."""
    for _ in range(600):
        if project.applied()[-1:] == [version]:
            return
        time.sleep(0.05)
    pytest.fail("it was not committed within 30 seconds")


def test_commits_whose_answers_were_lost_are_found(project: Project, folder: Path) -> None:
    """Everything was committed: the run ends well, and says what it had to look up."""
    project.write(FILES)
    with Proxy(folder, project.dsn, b"CREATE TABLE a ()") as proxy:
        direct, project.dsn = project.dsn, proxy.dsn

        def cut() -> None:
            proxy.held.wait(30)
            wait_until_committed(project, 3)
            proxy.cut()

        thread = threading.Thread(target=cut)
        thread.start()
        result = project.up()
        thread.join()

    project.dsn = direct
    assert result.error is None
    assert [step.version for step in result.finished] == [1, 2, 3]
    told = [event.message for event in project.events if isinstance(event, Warned)]
    assert told == [f"{name} was committed; only the answer was lost" for name in ("1_a", "2_b", "3_c")]


def test_a_backend_that_is_terminated_leaves_what_was_committed_before(project: Project) -> None:
    """An administrator, a failover, a crash: the error says which migration did not happen."""
    project.write({**FILES, "2_b.up.sql": "CREATE TABLE b (); SELECT pg_sleep(600);"})
    sleeping = (
        "FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"
    )

    def terminate() -> None:
        while project.value(f"SELECT count(*) {sleeping}") != 1:
            time.sleep(0.02)
        project.value(f"SELECT pg_terminate_backend(pid) {sleeping}")

    thread = threading.Thread(target=terminate)
    thread.start()
    result = project.up()
    thread.join()

    assert isinstance(result.error, ConnectionFailed)
    assert result.error.message == ("connection lost: terminating connection due to administrator command (57P01)")
    assert result.error.detail == "2_b was not committed: nothing of it remains."
    assert [step.version for step in result.finished] == [1]
    assert not project.has_table("b")
    project.write(FILES)
    assert project.up().error is None
    assert project.applied() == [1, 2, 3]


def test_a_cut_before_the_commit_leaves_the_migration_undone(project: Project, folder: Path) -> None:
    """The server rolls back what it cannot answer for any more."""
    project.write({**FILES, "2_b.up.sql": "CREATE TABLE b (); SELECT pg_sleep(600);"})
    with Proxy(folder, project.dsn, b"pg_sleep(600)") as proxy:
        direct, project.dsn = project.dsn, proxy.dsn

        def cut() -> None:
            proxy.held.wait(30)
            wait_until_committed(project, 1)
            proxy.cut()

        thread = threading.Thread(target=cut)
        thread.start()
        result = project.up()
        thread.join()

    project.dsn = direct
    assert isinstance(result.error, ConnectionFailed)
    assert [step.version for step in result.finished] == [1]
    assert project.applied() == [1]


def test_a_backend_that_is_terminated_while_the_history_is_made_is_a_lost_connection(
    project: Project,
) -> None:
    project.write(FILES)
    making = "FROM pg_stat_activity WHERE query LIKE '%COMMENT ON TABLE%' AND wait_event_type = 'Lock'"

    def terminate() -> None:
        while project.value(f"SELECT count(*) {making} AND pid <> pg_backend_pid()") != 1:
            time.sleep(0.02)
        project.value(f"SELECT pg_terminate_backend(pid) {making} AND pid <> pg_backend_pid()")

    with psycopg.connect(project.dsn) as other:
        # The name is taken by a table that nobody sees yet: whoever makes another one waits for its end.
        other.execute("CREATE TABLE schema_migrations_log ()")
        thread = threading.Thread(target=terminate)
        thread.start()
        with pytest.raises(ConnectionFailed):
            project.up()
        thread.join()
        other.rollback()
    assert project.up().error is None

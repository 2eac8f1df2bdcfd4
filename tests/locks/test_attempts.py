"""Attempts where something is in the way: how long each may wait, how long the pauses are, and when there is an end."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project, eventually

from .remains import assert_untouched, columns, is_free, log
from .sampler import STRONG, sampling
from .sessions import holding
from .watched import Ended, watching

Connection = psycopg.Connection[TupleRow]
ALTER = "ALTER TABLE busy ADD COLUMN more int;\n"
HIDDEN = f"DO $$ BEGIN EXECUTE '{ALTER.strip()}'; END $$;\n"


def timeouts(ended: Ended) -> list[float | None]:
    """Return how long each attempt that was told had waited, in milliseconds."""
    return [each["timeout_ms"] for each in ended.of("lock_awaited")]


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_who_goes_away_after_some_attempts_is_followed_at_once_by_the_migration(
    project: Project, connection: Connection, dsn: str, busy: str, attempts: int
) -> None:
    project.migration(1, HIDDEN)
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up") as run:
        run.next("lock_awaited", lambda event: event["attempt"] == attempts)
        holder.end()
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert [each["attempt"] for each in ended.of("lock_awaited")] == list(range(1, attempts + 1))
    assert timeouts(ended) == [50, 100, 200][:attempts]
    assert columns(connection, busy) == ["id", "more"]
    eventually(lambda: is_free(connection))


def test_pauses_are_ten_times_as_long_as_the_attempts_and_the_budget_shrinks(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    project.migration(1, HIDDEN)
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up", "--lock-budget", "30s") as run:
        told = [run.next("lock_awaited") for _ in range(3)]
        holder.end()
        assert run.finish().code == 0
    for each in told:
        assert 10 * each["timeout_ms"] <= each["pause_ms"] <= 30 * each["timeout_ms"] + 1000
    left = [each["budget_ms"] for each in told]
    assert 30_000 > left[0] > left[1] > left[2] > 0
    for earlier, later, each in zip(left, left[1:], told, strict=False):
        assert earlier - later >= each["pause_ms"]


def test_what_is_told_is_what_the_server_goes_by(project: Project, connection: Connection, dsn: str, busy: str) -> None:
    tell = "RAISE NOTICE '%', current_setting('lock_timeout');"
    project.migration(1, f"DO $$ BEGIN {tell} EXECUTE '{ALTER.strip()}'; END $$;\n")
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up") as run:
        run.next("lock_awaited", lambda event: event["attempt"] == 3)
        holder.end()
        ended = run.finish()
    assert [each["message"] for each in ended.of("notice")] == ["50ms", "100ms", "200ms", "400ms"]
    assert timeouts(ended) == [50, 100, 200]


def test_nobody_waits_behind_an_attempt_for_longer_than_the_attempt(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    """Between the attempts the table is as free as it is without the run."""
    project.migration(1, HIDDEN)
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up") as run:
        run.next("lock_awaited")
        # Attempts of 100 and 200 ms, and before them pauses of at least 500 and 1000.
        with sampling(dsn, busy) as sampler:
            run.next("lock_awaited", lambda event: event["attempt"] == 3)
        assert set(sampler.waits) == {STRONG}
        assert sampler.waits[STRONG] <= 0.4 * sampler.looks
        holder.end()
        assert run.finish().code == 0


@contextmanager
def stream(dsn: str, table: str, seconds: float, streams: int = 3) -> Generator[None]:
    """Keep the table in use: transactions that read it, each so long, at least one of them open at any time."""
    stopped = threading.Event()

    def work(number: int) -> None:
        with psycopg.connect(dsn, autocommit=True, application_name=f"stream {number}") as session:
            while not stopped.is_set():
                with session.transaction():
                    session.execute(f"SELECT FROM {table}".encode())
                    stopped.wait(seconds)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(streams)]
    for number, thread in enumerate(threads):
        thread.start()
        if number < streams - 1:
            stopped.wait(seconds / streams)
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def test_among_short_transactions_there_is_a_gap_within_few_attempts(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    """Transactions of 30 ms overlap without end: who waits for 50 ms gets the lock when those before it have ended."""
    project.migration(1, ALTER)
    with stream(dsn, busy, 0.03), watching(project, "up", "--lock-budget", "40s") as run:
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert columns(connection, busy) == ["id", "more"]


@pytest.mark.parametrize("migration", [ALTER, HIDDEN], ids=["seen", "hidden"])
def test_among_long_transactions_the_budget_runs_out(
    project: Project, connection: Connection, dsn: str, busy: str, migration: str
) -> None:
    project.migration(1, migration)
    with stream(dsn, busy, 3.0), watching(project, "up", "--lock-budget", "3s") as run:
        ended = run.finish()
        assert ended.code == 5
        assert_untouched(connection)
    assert "stream" in ended.error["detail"]
    assert log(connection) == [(1, "up", "failed", "55P03")]


@pytest.mark.parametrize(
    ("file", "arguments", "variables", "toml"),
    [
        ("-- whimbrel: lock_budget = 500ms\n", ("--lock-budget", "1h"), {}, ""),
        ("", ("--lock-budget", "500ms"), {"WHIMBREL_LOCK_BUDGET": "1h"}, ""),
        ("", (), {"WHIMBREL_LOCK_BUDGET": "500ms"}, 'lock_budget = "1h"\n'),
        ("", (), {}, 'lock_budget = "500ms"\n'),
    ],
    ids=["annotation", "option", "variable", "file"],
)
def test_where_the_budget_is_given(
    project: Project,
    connection: Connection,
    dsn: str,
    busy: str,
    file: str,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    toml: str,
) -> None:
    """Each is used rather than those behind it, which would let the test wait for an hour."""
    project.migration(1, file + ALTER)
    project.write("whimbrel.toml", toml)
    with holding(dsn, "SELECT FROM busy"), watching(project, "up", *arguments, variables=variables) as run:
        ended = run.finish()
        assert ended.code == 5
        assert_untouched(connection)


@pytest.mark.parametrize(
    ("file", "arguments", "variables", "toml"),
    [
        ("-- whimbrel: lock_timeout = 70ms\n", ("--lock-timeout", "1h"), {}, ""),
        ("", ("--lock-timeout", "70ms"), {"WHIMBREL_LOCK_TIMEOUT": "1h"}, ""),
        ("", (), {"WHIMBREL_LOCK_TIMEOUT": "70ms"}, 'lock_timeout = "1h"\n'),
        ("", (), {}, 'lock_timeout = "70ms"\n'),
    ],
    ids=["annotation", "option", "variable", "file"],
)
def test_a_fixed_timeout_is_that_of_every_attempt(
    project: Project,
    connection: Connection,
    dsn: str,
    busy: str,
    file: str,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    toml: str,
) -> None:
    project.migration(1, file + HIDDEN)
    project.write("whimbrel.toml", toml)
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up", *arguments, variables=variables) as run:
        run.next("lock_awaited", lambda event: event["attempt"] == 2)
        holder.end()
        ended = run.finish()
    assert ended.code == 0
    assert timeouts(ended) == [70, 70]


def test_auto_is_the_ladder_whatever_the_file_of_the_project_says(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    project.write("whimbrel.toml", 'lock_timeout = "1h"\n')
    project.migration(1, HIDDEN)
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up", "--lock-timeout", "auto") as run:
        assert run.next("lock_awaited")["timeout_ms"] == 50
        holder.end()
        assert run.finish().code == 0


def test_without_a_budget_there_is_one_attempt(project: Project, connection: Connection, dsn: str, busy: str) -> None:
    project.migration(1, ALTER)
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up", "--lock-budget", "0") as run:
        ended = run.finish()
        assert ended.code == 5
        assert_untouched(connection)
    assert ended.of("lock_awaited") == []
    assert f"process {holder.pid}" in ended.error["detail"]

"""What a person reads of what takes long: who is in the way, how far it is, and not oftener than anybody wants."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from whimbrel.cli.progress import living, telling
from whimbrel.cli.render import Reporter
from whimbrel.events import BackfillAdvanced, Blocker, LockAwaited, StatementRunning
from whimbrel.migration import Direction
from whimbrel.plan import Step
from whimbrel.source import read_migrations

PSQL = Blocker(
    4711, "psql", "10.0.0.7", "idle in transaction", timedelta(minutes=3), "UPDATE orders SET note = '…'", "orders"
)
VACUUM = Blocker(812, "", "local socket", "autovacuum", timedelta(seconds=9), "", "orders", is_autovacuum=True)


@pytest.fixture
def step(tmp_path: Path) -> Step:
    (tmp_path / "000007_index_orders.up.sql").write_text("SELECT 1;")
    (migration,) = read_migrations(tmp_path).migrations
    return Step(Direction.UP, 7, "index_orders", migration.up, migration)


def awaited(step: Step, *blockers: Blocker, attempt: int = 4, budget: float = 588) -> LockAwaited:
    timeout = timedelta(milliseconds=400)
    return LockAwaited(step, attempt, timeout, timedelta(seconds=4), timedelta(seconds=budget), blockers)


def running(step: Step, passed: float, phase: str | None = None, fraction: float | None = None) -> StatementRunning:
    remaining = timedelta(seconds=95.4) if fraction is not None else None
    return StatementRunning(step, "REINDEX\n  TABLE orders", timedelta(seconds=passed), phase, fraction, remaining)


def backfill(step: Step | None, pause: str | None = None) -> BackfillAdvanced:
    return BackfillAdvanced(step, "orders", 1_200_000, 4_800_000, 11, 5000, 25_431.7, timedelta(seconds=141.5), pause)


def test_a_line_says_who_is_in_the_way_of_a_lock(step: Step) -> None:
    assert telling(awaited(step, PSQL), "000007_index_orders.up.sql") == (
        "  000007_index_orders.up.sql waits for a lock on orders (attempt 4, gives up in 9 min 48 s): psql (process"
        " 4711, 10.0.0.7), idle in transaction for 3 min 0 s: UPDATE orders SET note = '…'"
    )
    assert telling(awaited(step, VACUUM), "x").endswith(": autovacuum (process 812) for 9.0 s")
    assert telling(replace(awaited(step), timeout=None), "x") == "  x waits for a lock (gives up in 9 min 48 s)"
    assert "): 2 sessions, the first psql (process 4711, 10.0.0.7), idle" in telling(awaited(step, PSQL, VACUUM), "x")


def test_a_line_says_how_far_a_statement_is(step: Step) -> None:
    assert telling(running(step, 12.3), "x") == "  x has been running for 12 s: REINDEX TABLE orders"
    assert telling(running(step, 90, "building index: scanning table", 0.471), "x") == (
        "  x has been running for 1 min 30 s, building index: scanning table: 47%, about 1 min 35 s left"
    )
    blocked = replace(running(step, 60, "waiting for writers before build", 0.0), blockers=(PSQL,))
    assert telling(blocked, "x").startswith(
        "  x has been running for 1 min, waiting for writers before build: psql (process 4711, 10.0.0.7), idle in"
    )
    assert telling(replace(blocked, phase=None), "x").startswith(
        "  x has been running for 1 min, waiting for psql (process 4711, 10.0.0.7), idle in transaction for 3 min"
    )


def test_a_line_says_how_far_a_backfill_is(step: Step) -> None:
    words = "orders: 1,200,000 of about 4,800,000 rows, 11 changed, 25,432 a second, about 2 min 22 s left"
    assert telling(backfill(step), "x") == f"  x: {words}"
    assert telling(backfill(None, "a standby lags"), "backfill") == f"  backfill: {words}; pauses: a standby lags"


def test_what_lives_grows_older_by_itself_until_there_should_have_been_news(step: Step) -> None:
    beside, under = living(awaited(step, PSQL), 5)
    assert beside == "waits for a lock on orders (attempt 4, gives up in 9 min 43 s)"
    assert under.startswith("waiting for psql (process 4711, 10.0.0.7), idle in transaction for 3 min 5 s: UPDATE")
    assert living(running(step, 2, "building index: scanning table", 0.5), 1.4) == (
        "",
        "building index: scanning table  ━━━━━━━━━━━━──────────── 50%, about 1 min 34 s left",
    )
    soon = replace(running(step, 2, "building index: scanning table", 0.5), remaining=timedelta(seconds=2))
    assert living(soon, 1.4)[1].endswith(" 50%")
    assert living(backfill(step, "a standby lags"), 0)[0] == "pauses: a standby lags"
    for event in (awaited(step, PSQL), running(step, 2), backfill(step)):
        assert living(event, 60) == ("", "")


def test_what_is_awaited_is_a_line_when_it_changes(step: Step, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(is_quiet=False)
    for attempt in range(1, 6):
        reporter.handle(awaited(step, PSQL, attempt=attempt))
    reporter.handle(awaited(step, replace(PSQL, state="active", age=timedelta(seconds=1))))
    reporter.handle(awaited(step, replace(PSQL, state="active", age=timedelta(seconds=2))))
    reporter.handle(awaited(step, PSQL, VACUUM))
    reporter.handle(awaited(replace(step, version=8), PSQL, VACUUM))
    lines = capsys.readouterr().out.splitlines()
    assert [("active" in line, "2 sessions" in line) for line in lines] == [
        (False, False),
        (True, False),
        (False, True),
        (False, True),
    ]


def test_what_runs_is_a_line_now_and_then(step: Step, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(is_quiet=False)
    for passed in (1, 3, 5, 7, 9, 11, 13):
        reporter.handle(running(step, passed))
    reporter.handle(backfill(step))
    assert capsys.readouterr().out == "  000007_index_orders.up.sql has been running for 11 s: REINDEX TABLE orders\n"
    # One that waits is worth a line at once.
    reporter = Reporter(is_quiet=False)
    for _ in range(2):
        reporter.handle(replace(running(step, 1), blockers=(PSQL,)))
    assert len(capsys.readouterr().out.splitlines()) == 1
    for event in (backfill(None), awaited(step, PSQL), replace(running(step, 1), blockers=(PSQL,))):
        Reporter(is_quiet=True).handle(event)
    assert capsys.readouterr().out == ""

"""How patient a step is: pure decisions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.execution.blockers import CONFLICTS
from whimbrel.execution.retry import JITTER, LADDER, PAUSE, Nature, Patience, choose_timeouts, pause_after


def test_the_attempts_become_longer_and_then_stay_as_long() -> None:
    patience = Patience(choose_timeouts(Nature.TABLES), 600)
    assert [patience.timeout(rung) for rung in range(8)] == [0.05, 0.1, 0.2, 0.4, 0.8, 0.8, 0.8, 0.8]


def test_no_attempt_on_a_table_lasts_as_long_as_the_deadlock_timeout() -> None:
    """Beyond it, 1 s by default, the server looks for a deadlock and may end the application's transaction."""
    assert max(LADDER) < 1


def test_rows_are_waited_for_longer_than_tables() -> None:
    assert min(choose_timeouts(Nature.ROWS)) > max(choose_timeouts(Nature.TABLES))


@given(st.floats(0.001, 100), st.floats(0, 1))
def test_a_pause_is_ten_times_as_long_as_the_attempt_or_longer(lasted: float, jitter: float) -> None:
    pause = pause_after(lasted, jitter)
    assert lasted * PAUSE <= pause <= lasted * PAUSE * (1 + JITTER)


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=5), st.integers(0, 100))
def test_the_last_timeout_is_that_of_all_further_attempts(timeouts: list[float], rung: int) -> None:
    patience = Patience(tuple(timeouts), 1)
    assert patience.timeout(len(timeouts) + rung) == timeouts[-1]


@pytest.mark.parametrize("mode", CONFLICTS)
def test_locks_conflict_both_ways(mode: str) -> None:
    assert {other for other, conflicting in CONFLICTS.items() if mode in conflicting} == set(CONFLICTS[mode])

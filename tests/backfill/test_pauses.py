"""What a backfill makes way for, and for how long: pure, with a clock that is passed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whimbrel.backfills.pauses import BYTES_BEHIND, Patience, Sight

CLEAR = Sight()
VACUUM = Sight(is_autovacuumed=True)


def test_it_looks_once_a_second() -> None:
    patience = Patience(5.0)
    assert patience.is_due(100.0)
    assert patience.decide(CLEAR, 100.0) is None
    assert not patience.is_due(100.9)
    assert patience.is_due(101.0)


def test_a_standby_that_lags_is_waited_for_as_long_as_it_does() -> None:
    patience = Patience(5.0)
    assert patience.decide(Sight(lag=5.0), 0.0) is None
    for hour in range(100):
        assert patience.decide(Sight(lag=6.5), hour * 3600.0) == "a standby is behind by 6.5 s"
    assert patience.decide(CLEAR, 1e6) is None


def test_a_standby_that_does_not_answer_is_behind_by_what_it_has_not_replayed() -> None:
    patience = Patience(5.0)
    assert patience.decide(Sight(behind=BYTES_BEHIND), 0.0) is None
    assert patience.decide(Sight(behind=BYTES_BEHIND + 1), 1.0) == "a standby is behind by 128 MB"


def test_any_lag_can_be_allowed() -> None:
    assert Patience(0.0).decide(Sight(lag=1e6, behind=1 << 50), 0.0) is None


def test_an_autovacuum_is_waited_for_ten_minutes_and_not_once_more() -> None:
    patience = Patience(5.0)
    assert patience.decide(VACUUM, 0.0) == "autovacuum works on the table"
    assert patience.decide(VACUUM, 599.0) is not None
    assert patience.decide(VACUUM, 600.0) is None
    assert patience.decide(VACUUM, 3600.0) is None
    assert patience.decide(CLEAR, 3601.0) is None
    assert patience.decide(VACUUM, 3602.0) is not None


def test_sessions_that_wait_for_somebody_else_are_waited_for_a_minute() -> None:
    patience = Patience(5.0)
    assert patience.decide(Sight(waiters=1), 0.0) == "other sessions wait for a lock on the table"
    assert patience.decide(Sight(waiters=3), 59.0) is not None
    assert patience.decide(Sight(waiters=3), 60.0) is None


def test_what_is_over_its_limit_hides_nothing_else() -> None:
    patience = Patience(5.0)
    patience.decide(VACUUM, 0.0)
    assert patience.decide(Sight(waiters=1, is_autovacuumed=True), 700.0) is not None


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 2), st.booleans())))
def test_without_a_reason_there_is_no_pause(looks: list[tuple[float, int, bool]]) -> None:
    patience = Patience(5.0)
    now = 0.0
    for lag, waiters, vacuum in looks:
        now += 1.0
        pause = patience.decide(Sight(lag, 0, waiters, vacuum), now)
        if lag <= 5.0 and not waiters and not vacuum:
            assert pause is None
        if lag > 5.0:
            assert pause is not None

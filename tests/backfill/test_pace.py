"""How large a batch is: pure."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from whimbrel.annotations import MAX_BATCH
from whimbrel.backfills.pace import BRIEF, CALM, CALM_AFTER, FIRST_BATCH, Pace, first_pace, rest_after

SECONDS = st.floats(0, 100)
ROWS = st.integers(0, MAX_BATCH)


@st.composite
def paces(draw: st.DrawFn) -> Pace:
    fixed = draw(st.none() | st.integers(1, MAX_BATCH))
    pace = first_pace(fixed)
    for rows, seconds, is_in_the_way in draw(st.lists(st.tuples(ROWS, SECONDS, st.booleans()), max_size=8)):
        pace = pace.after(rows, seconds, is_in_the_way=is_in_the_way)
    return pace


@given(paces(), ROWS, SECONDS, st.booleans())
@example(pace=Pace(), rows=1000, seconds=2.2250738585072014e-308, waited=False)
def test_a_batch_keeps_its_bounds_and_at_most_doubles(pace: Pace, rows: int, seconds: float, waited: bool) -> None:
    after = pace.after(rows, seconds, is_in_the_way=waited)
    assert 1 <= after.batch <= after.most
    assert after.batch <= 2 * pace.batch


@given(paces(), ROWS, SECONDS)
def test_what_was_in_the_way_is_halved(pace: Pace, rows: int, seconds: float) -> None:
    half = max(1, pace.batch // 2)
    assert pace.after(rows, seconds, is_in_the_way=True).batch == half
    assert pace.after_failure().batch == half


@given(paces(), ROWS, st.floats(CALM[1], 1000, exclude_min=True))
def test_what_took_too_long_shrinks_at_once_whatever_was_before(pace: Pace, rows: int, seconds: float) -> None:
    if pace.fixed is None:
        after = pace.after(rows, seconds)
        assert after.batch < pace.batch or after.batch == 1


@given(st.floats(1e-6, 0.02), st.integers(1, MAX_BATCH))
def test_a_steady_cost_leads_to_batches_of_the_time_that_is_aimed_at(cost: float, first: int) -> None:
    pace = first_pace(None, first)
    for _ in range(40):
        pace = pace.after(pace.batch, pace.batch * cost)
    assert pace.batch == MAX_BATCH or BRIEF[0] - cost <= pace.batch * cost <= BRIEF[1]
    for _ in range(CALM_AFTER + 40):
        pace = pace.after(pace.batch, pace.batch * cost)
    assert pace.batch == MAX_BATCH or CALM[0] - cost <= pace.batch * cost <= CALM[1]


@given(st.floats(1e-6, 0.02), st.integers(0, 200))
def test_batches_are_brief_again_as_soon_as_somebody_has_waited(cost: float, calm: int) -> None:
    pace = first_pace(None)
    for _ in range(calm):
        pace = pace.after(pace.batch, pace.batch * cost)
    pace = pace.after(pace.batch, pace.batch * cost, is_in_the_way=True)
    assert pace.bounds == BRIEF
    for _ in range(CALM_AFTER - 1):
        pace = pace.after(pace.batch, pace.batch * cost)
        assert pace.bounds == BRIEF


@given(st.integers(1, MAX_BATCH), st.lists(st.booleans(), max_size=30))
def test_a_fixed_batch_comes_back_to_its_size(size: int, failures: list[bool]) -> None:
    pace = first_pace(size)
    assert pace.batch == size
    for is_failure in failures:
        pace = pace.after_failure() if is_failure else pace.after(pace.batch, 60.0)
        assert pace.batch <= size
    for _ in range(17):
        pace = pace.after(pace.batch, 60.0)
    assert pace.batch == size


def test_it_begins_with_a_thousand_rows_or_where_an_interrupted_run_was() -> None:
    assert first_pace(None).batch == FIRST_BATCH == 1000
    assert first_pace(None, 7).batch == 7
    assert first_pace(20, 7).batch == 20


def test_the_last_batch_of_a_walk_lets_nothing_grow() -> None:
    pace = Pace(batch=1000)
    assert pace.after(3, 0.001).batch == 1000


def test_others_have_a_tenth_of_the_time_and_a_second_at_most() -> None:
    assert rest_after(0.5) == 0.05
    assert rest_after(60.0) == 1.0

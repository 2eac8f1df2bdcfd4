"""Files and history become a plan, or a refusal; nothing runs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.errors import MissingDown, Modified, OutOfOrder, PlanError, Unsettled
from whimbrel.migration import Applied, Direction, Interruption, Migration
from whimbrel.plan import (
    Condition,
    Plan,
    State,
    compare,
    plan_baseline,
    plan_down,
    plan_force,
    plan_redo,
    plan_up,
)
from whimbrel.statements import Script, script_from


def script(text: str, name: str) -> Script:
    return script_from(text.encode(), name)


def migration(version: int, up: str = "SELECT 1", down: str | None = "SELECT 2") -> Migration:
    stem = f"migrations/{version:06d}_m{version}"
    return Migration(
        version,
        f"m{version}",
        script(up, f"{stem}.up.sql"),
        script(down, f"{stem}.down.sql") if down is not None else None,
    )


def applied(version: int, ordinal: int | None = None, up: str = "SELECT 1") -> Applied:
    was = script(up, "then")
    return Applied(
        version,
        f"m {version}",
        datetime(2026, 1, 1, tzinfo=UTC),
        ordinal=version if ordinal is None else ordinal,
        name=f"m{version}",
        checksum=was.checksum,
        token_checksum=was.token_checksum(),
        tool_version="1",
    )


def states(files: Iterable[int], rows: Iterable[int] = (), interruptions: Iterable[Interruption] = ()) -> list[State]:
    return compare([migration(each) for each in files], [applied(each) for each in rows], interruptions)


def interrupted(version: int, direction: Direction) -> Interruption:
    return Interruption(version, direction, 2, datetime(2026, 1, 1, tzinfo=UTC))


def versions(plan: Plan) -> list[int]:
    return [step.version for step in plan.steps]


# ----------------------------------------------------------------------------------------------- comparing


def test_a_state_knows_what_is_pending_applied_missing_and_late() -> None:
    found = states([1, 2, 4], [1, 3])
    assert [(each.version, each.condition, each.is_missing, each.is_late) for each in found] == [
        (1, Condition.APPLIED, False, False),
        (2, Condition.PENDING, False, True),
        (3, Condition.APPLIED, True, False),
        (4, Condition.PENDING, False, False),
    ]
    assert [each.name for each in found] == ["m1", "m2", "m3", "m4"]


@pytest.mark.parametrize(
    ("now", "is_modified", "is_reformatted"),
    [
        ("SELECT 1", False, False),
        ("-- why\nselect\n1;", False, True),
        ("SELECT 2", True, False),
        ("SELECT 1; SELECT 2", True, False),
    ],
)
def test_an_edited_file_is_modified_and_a_reformatted_one_is_not(
    now: str, is_modified: bool, is_reformatted: bool
) -> None:
    (found,) = compare([migration(1, now)], [applied(1)])
    assert (found.is_modified, found.is_reformatted) == (is_modified, is_reformatted)


def test_a_row_without_checksums_is_accepted_as_it_is() -> None:
    (found,) = compare([migration(1)], [Applied(1, "by hand", None)])
    assert (found.is_modified, found.is_reformatted, found.name) == (False, False, "m1")


def test_a_large_file_is_modified_by_any_change() -> None:
    """It has no token checksum."""
    row = applied(1)
    (found,) = compare([migration(1, "select 1")], [Applied(1, None, None, checksum=row.checksum)])
    assert found.is_modified


# ----------------------------------------------------------------------------------------------- up


def test_up_applies_what_is_pending_in_order() -> None:
    plan = plan_up(states([3, 1, 2], [1]))
    assert versions(plan) == [2, 3]
    assert [step.direction for step in plan.steps] == [Direction.UP] * 2
    assert plan.warnings == ()


def test_up_to_a_version_stops_there() -> None:
    assert versions(plan_up(states([1, 2, 3]), to=2)) == [1, 2]
    assert versions(plan_up(states([1, 2, 3], [1, 2]), to=1)) == []


def test_up_to_an_unknown_version_is_refused() -> None:
    with pytest.raises(PlanError, match="there is no version 4") as caught:
        plan_up(states([1, 2]), to=4)
    assert caught.value.hint == "The newest versions are: 1, 2."


def test_a_late_version_is_applied_and_marked() -> None:
    plan = plan_up(states([1, 2, 3, 4], [1, 3]))
    assert [(step.version, step.is_late) for step in plan.steps] == [(2, True), (4, False)]


def test_a_late_version_can_be_refused() -> None:
    with pytest.raises(OutOfOrder, match=r"^pending migration 2 \(m2\) is below the newest applied version"):
        plan_up(states([1, 2, 3, 4], [1, 3]), refuse_late=True)
    assert versions(plan_up(states([1, 3, 4], [1, 3]), refuse_late=True)) == [4]


def test_a_missing_file_is_a_warning() -> None:
    plan = plan_up(states([1, 3], [1, 2]))
    assert versions(plan) == [3]
    assert plan.warnings == ("version 2 (m2) is applied, but its file is missing",)


def test_a_modified_file_stops_up() -> None:
    found = compare([migration(1, "SELECT 2"), migration(2, "x"), migration(3)], [applied(1), applied(2)])
    with pytest.raises(Modified, match=r"^applied migrations 1 \(m1\), 2 \(m2\) were changed since"):
        plan_up(found)
    with pytest.raises(Modified, match=r"^applied migration 1 \(m1\) was changed since"):
        plan_up([found[0], found[2]])


def test_up_does_not_go_on_over_an_interrupted_down() -> None:
    with pytest.raises(Unsettled, match="the down of version 1 was interrupted at statement 2") as caught:
        plan_up(states([1, 2], [1], [interrupted(1, Direction.DOWN)]))
    assert caught.value.hint == "Let it end first: whimbrel down"
    assert versions(plan_up(states([1, 2], [1], [interrupted(2, Direction.UP)]))) == [2]


# ----------------------------------------------------------------------------------------------- down


def test_down_undoes_the_last_applied() -> None:
    plan = plan_down(states([1, 2, 3], [1, 2]), {})
    assert [(step.version, step.direction) for step in plan.steps] == [(2, Direction.DOWN)]
    assert plan.steps[0].script.path.endswith("000002_m2.down.sql")


def test_down_one_stops_at_one() -> None:
    assert versions(plan_down(states([1, 2, 3], [1, 2, 3]), {}, to=1)) == [3, 2]
    assert versions(plan_down(states([1, 2, 3], [1, 2, 3]), {}, to=0)) == [3, 2, 1]
    assert versions(plan_down(states([1, 2, 3], [1, 2, 3]), {}, to=3)) == []
    assert versions(plan_down(states([1, 2, 3]), {})) == []


def test_down_goes_in_reverse_order_of_application() -> None:
    rows = [applied(1, 1), applied(3, 2), applied(2, 3)]
    found = compare([migration(each) for each in (1, 2, 3)], rows)
    assert versions(plan_down(found, {})) == [2]
    assert versions(plan_down(found, {}, to=1)) == [2, 3]


def test_down_to_an_unknown_version_is_refused() -> None:
    with pytest.raises(PlanError, match="there is no version 9"):
        plan_down(states([1], [1]), {}, to=9)


def test_a_missing_down_stops_the_run_before_anything_is_undone() -> None:
    found = compare([migration(1, down=None), migration(2)], [applied(1), applied(2)])
    with pytest.raises(MissingDown, match=r"^version 1 \(m1\) has no down file") as caught:
        plan_down(found, {}, to=0)
    assert caught.value.hint == "Write migrations/000001_m1.down.sql."


def test_the_stored_down_script_is_used_where_the_files_are_gone() -> None:
    stored = script("SELECT 3", "stored")
    (step,) = plan_down(states([], [1]), {1: stored}).steps
    assert (step.script, step.down_is_stored, step.name) == (stored, True, "m1")
    with pytest.raises(MissingDown, match="has neither a down file nor a stored down script"):
        plan_down(states([], [1]), {})


def test_the_file_goes_before_the_stored_down_script() -> None:
    (step,) = plan_down(states([1], [1]), {1: script("SELECT 3", "stored")}).steps
    assert (step.script.path, step.down_is_stored) == ("migrations/000001_m1.down.sql", False)


def test_down_does_not_go_on_over_an_interrupted_up() -> None:
    with pytest.raises(Unsettled, match="the up of version 2 was interrupted"):
        plan_down(states([1, 2], [1], [interrupted(2, Direction.UP)]), {})


# ----------------------------------------------------------------------------------------------- others


def test_redo_goes_down_and_up_again() -> None:
    plan = plan_redo(states([1, 2, 3], [1, 2]), {})
    assert [(step.version, step.direction) for step in plan.steps] == [(2, Direction.DOWN), (2, Direction.UP)]
    assert versions(plan_redo(states([1, 2], [1, 2]), {}, 1)) == [1, 1]


def test_redo_needs_something_applied_and_its_files() -> None:
    with pytest.raises(PlanError, match=r"^nothing is applied"):
        plan_redo(states([1]), {})
    with pytest.raises(PlanError, match=r"^version 1 is not applied"):
        plan_redo(states([1]), {}, 1)
    with pytest.raises(PlanError, match=r"^version 1 cannot be done again: its file is gone"):
        plan_redo(states([], [1]), {1: script("x", "stored")})


def test_force_runs_a_version_whether_or_not_it_is_applied() -> None:
    found = states([1, 2], [1])
    assert [plan_force(found, each).steps[0].applied is not None for each in (1, 2)] == [True, False]
    with pytest.raises(PlanError, match="there is no version 3"):
        plan_force(found, 3)
    with pytest.raises(PlanError, match="cannot be run again: its file is gone"):
        plan_force(states([], [1]), 1)


def test_a_baseline_takes_what_is_pending_up_to_a_version() -> None:
    assert [each.version for each in plan_baseline(states([1, 2, 3, 4], [2]), 3)] == [1, 3]
    with pytest.raises(PlanError, match="there is no version 5"):
        plan_baseline(states([1]), 5)
    with pytest.raises(PlanError) as caught:
        plan_baseline([], 1)
    assert caught.value.hint == "There are no migrations."


# ----------------------------------------------------------------------------------------------- always

SETS = st.sets(st.integers(1, 12))


@given(SETS, SETS, st.integers(1, 12) | st.none())
def test_up_covers_exactly_the_pending_versions_up_to_the_end(files: set[int], rows: set[int], to: int | None) -> None:
    found = states(files, rows)
    if to is not None and to not in files | rows:
        with pytest.raises(PlanError):
            plan_up(found, to)
        return
    plan = plan_up(found, to)
    assert versions(plan) == sorted(each for each in files - rows if to is None or each <= to)
    assert {step.version for step in plan.steps if step.is_late} == {
        each for each in versions(plan) if each < max(rows, default=0)
    }
    assert len(plan.warnings) == len(rows - files)


@given(st.permutations(range(1, 9)), st.integers(0, 8))
def test_down_is_the_reverse_of_the_order_of_application(order: list[int], to: int) -> None:
    found = compare(
        [migration(each) for each in order], [applied(each, ordinal) for ordinal, each in enumerate(order, 1)]
    )
    assert versions(plan_down(found, {}, to)) == [each for each in reversed(order) if each > to]
    assert versions(plan_down(found, {})) == order[-1:]


@given(SETS, SETS)
def test_after_up_nothing_is_pending_and_down_to_zero_undoes_it_all(files: set[int], rows: set[int]) -> None:
    rows &= files
    plan = plan_up(states(files, rows))
    order = [*sorted(rows), *versions(plan)]
    after = compare([migration(each) for each in files], [applied(each, at) for at, each in enumerate(order, 1)])
    assert plan_up(after).steps == ()
    assert versions(plan_down(after, {}, 0)) == order[::-1]

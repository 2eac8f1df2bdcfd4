"""A column that is renamed: the catalog at each step, forward, back, and in the end."""

from __future__ import annotations

import pytest

from .conftest import Change
from .tables import PARTITIONED, SCHEMA, assert_same

CONTRACT = 4


@pytest.mark.parametrize("column", ["body", "kind", "id", "seq", "word", "number", "price", "answers"])
def test_each_step_leads_back_and_the_end_is_what_rename_column_makes(change: Change, column: str) -> None:
    change.execute(SCHEMA)
    change.rename(f"app.notes.{column}", "content")
    seen = [change.schema()]
    for version in range(1, CONTRACT):
        change.up(version)
        seen.append(change.schema())
    for version in reversed(range(CONTRACT - 1)):
        change.down(version)
        assert change.schema() == seen[version]

    change.up(CONTRACT)

    assert_same(change, SCHEMA, f"ALTER TABLE app.notes RENAME COLUMN {column} TO content")
    assert change.value("SELECT count(*) FROM app.notes WHERE content IS NOT NULL") == (
        0 if column == "answers" else 500
    )


def test_a_partitioned_table_gets_its_indexes_partition_by_partition(change: Change) -> None:
    change.execute(PARTITIONED)
    before = change.schema()
    change.rename("app.events.body", "content")
    change.up(3)
    change.down(0)
    assert change.schema() == before

    change.up(CONTRACT)

    assert_same(change, PARTITIONED, "ALTER TABLE app.events RENAME COLUMN body TO content")
    assert change.value("SELECT bool_and(indisvalid) FROM pg_index WHERE NOT indisvalid") is None
    assert change.value("SELECT count(*) FROM app.events WHERE content = 'event ' || id") == 400

"""A column that gets another type: the catalog at each step, forward, back, and in the end."""

from __future__ import annotations

import pytest

from whimbrel.errors import ConfigError

from .conftest import Change
from .tables import PARTITIONED, SCHEMA, assert_same

SWAP, CONTRACT = 4, 5
CASES = [
    ("id", "bigint", None),
    ("seq", "bigint", None),
    ("number", "bigint", None),
    ("seq", "text", None),
    ("body", "varchar(900)", None),
    ("kind", "text", "upper(kind) || id"),
    ("price", "numeric(14, 4)", None),
    ("answers", "bigint", None),
    ("word", "varchar(50)", None),
]


@pytest.mark.parametrize(("column", "wanted", "using"), CASES)
def test_each_step_leads_back_and_the_end_is_what_alter_column_type_makes(
    change: Change, column: str, wanted: str, using: str | None
) -> None:
    removal = ""
    if column == "seq" and wanted == "text":
        removal = "ALTER TABLE app.notes DROP CONSTRAINT seq_range; DROP INDEX app.notes_seq;"
        removal += "ALTER TABLE app.pairs DROP CONSTRAINT pair;"
    change.execute(SCHEMA)
    change.execute(removal)
    change.retype(f"app.notes.{column}", wanted, using)
    seen = [change.schema()]
    for version in range(1, CONTRACT):
        change.up(version)
        seen.append(change.schema())
    for version in reversed(range(CONTRACT - 1)):
        change.down(version)
        assert change.schema() == seen[version]

    change.up(CONTRACT)

    statement = f"{removal} ALTER TABLE app.notes ALTER COLUMN {column} TYPE {wanted}"
    statement += f" USING {using}" if using else ""
    if column == "id":
        # Which PostgreSQL leaves to the person, and is what the change is for.
        statement += "; ALTER SEQUENCE app.notes_id_seq AS bigint"
    assert_same(change, SCHEMA, statement)


@pytest.mark.parametrize(("column", "wanted"), [("size", "bigint"), ("body", "varchar(40)")])
def test_a_partitioned_table_gets_its_indexes_partition_by_partition(change: Change, column: str, wanted: str) -> None:
    change.execute(PARTITIONED)
    before = change.schema()
    change.retype(f"app.events.{column}", wanted)
    change.up(3)
    unswapped = change.schema()
    change.up(SWAP)
    change.down(3)
    assert change.schema() == unswapped
    change.down(0)
    assert change.schema() == before

    change.up(CONTRACT)

    assert_same(change, PARTITIONED, f"ALTER TABLE app.events ALTER COLUMN {column} TYPE {wanted}")
    assert change.value("SELECT count(*) FROM app.events WHERE size = id AND body = 'event ' || id") == 400
    assert change.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0


def test_a_type_that_a_foreign_key_cannot_compare_is_refused(change: Change) -> None:
    change.execute(SCHEMA)

    with pytest.raises(ConfigError, match=r"foreign key constraint .* cannot be implemented"):
        change.retype("app.notes.answers", "text")

    assert not change.migrations.exists()

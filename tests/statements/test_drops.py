"""What a statement would destroy."""

from __future__ import annotations

import pytest

from whimbrel.statements.drops import Drop, find_drops


@pytest.mark.parametrize(
    ("sql", "drops"),
    [
        ("DROP TABLE t", [Drop("", "t")]),
        ('DROP TABLE IF EXISTS s.t, "T" CASCADE', [Drop("s", "t"), Drop("", "T")]),
        ("DROP TABLE d.s.t", [Drop("s", "t")]),
        ("DROP MATERIALIZED VIEW s.v", [Drop("s", "v")]),
        ("DROP SCHEMA s, u CASCADE", [Drop("s"), Drop("u")]),
        ("TRUNCATE t, s.u", [Drop("", "t"), Drop("s", "u")]),
        ("ALTER TABLE s.t DROP COLUMN a, ADD COLUMN b int, DROP c", [Drop("s", "t", "a"), Drop("s", "t", "c")]),
        ("DROP VIEW v", []),
        ("DROP INDEX i", []),
        ("DROP FUNCTION f()", []),
        ("ALTER TABLE t ALTER x DROP DEFAULT, DROP CONSTRAINT c", []),
        ("SELECT 'DROP TABLE t'", []),
        ("DROP GIZMO x", []),
        ("-- DROP TABLE t", []),
        ("SELECT 1", []),
    ],
)
def test_the_tables_schemas_and_columns_that_go_are_named(sql: str, drops: list[Drop]) -> None:
    assert find_drops(sql.encode()) == drops

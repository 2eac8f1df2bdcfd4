"""What a statement outside a transaction works on."""

from __future__ import annotations

import pytest

from whimbrel.statements.concurrent import Concurrent, Operation, find_concurrent


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (x)", Concurrent(Operation.CREATE_INDEX, '"t"', index="i")),
        ('CREATE INDEX CONCURRENTLY "I" ON s."a""b" (x)', Concurrent(Operation.CREATE_INDEX, '"s"."a""b"', index="I")),
        ("DROP INDEX CONCURRENTLY IF EXISTS s.i", Concurrent(Operation.DROP_INDEX, '"s"."i"')),
        ("VACUUM t", Concurrent(Operation.REPEATABLE)),
        ("CLUSTER", Concurrent(Operation.REPEATABLE)),
        ("ALTER SYSTEM SET work_mem = '1MB'", Concurrent(Operation.REPEATABLE)),
        ("CREATE INDEX CONCURRENTLY ON t (x)", Concurrent(Operation.CREATE_INDEX, '"t"')),
        ("REINDEX INDEX CONCURRENTLY s.i", Concurrent(Operation.REINDEX_INDEX, '"s"."i"')),
        ("REINDEX (CONCURRENTLY) TABLE t", Concurrent(Operation.REINDEX_TABLE, '"t"')),
        ("REINDEX SCHEMA CONCURRENTLY s", Concurrent(Operation.REINDEX_SCHEMA, "s")),
        ("REINDEX DATABASE CONCURRENTLY d", Concurrent(Operation.REPEATABLE)),
        (
            "ALTER TABLE s.p DETACH PARTITION s.c CONCURRENTLY",
            Concurrent(Operation.DETACH_PARTITION, '"s"."p"', partition='"s"."c"'),
        ),
        ("CREATE DATABASE d", Concurrent(Operation.CREATE_DATABASE, "d")),
        ("DROP DATABASE d", Concurrent(Operation.DROP_DATABASE, "d")),
        ("CALL p()", None),
        ("CREATE GIZMO", None),
        ("", None),
    ],
)
def test_what_is_worked_on_is_named_where_it_can_be_looked_up(sql: str, found: Concurrent | None) -> None:
    assert find_concurrent(sql.encode()) == found

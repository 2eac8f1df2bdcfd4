"""About how many rows a table has."""

from __future__ import annotations

import psycopg

from whimbrel.database import Connection, roll_back
from whimbrel.statements.batch import Batch

# Up to here counting takes no time worth mentioning.
_TINY = 10_000
_COUNT_TIMEOUT, _LOCK_TIMEOUT = "2s", "200ms"

_ESTIMATE = """
WITH RECURSIVE part (oid) AS (
    SELECT %s::oid
    UNION
    SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN part ON i.inhparent = part.oid
)
SELECT coalesce(sum(c.reltuples), 0)::bigint,
       -- -1 (0 before 14): never analysed.
       coalesce(bool_or(c.reltuples < 0 OR (c.reltuples = 0 AND c.relpages = 0)), true)
FROM pg_catalog.pg_class AS c
JOIN part ON part.oid = c.oid
WHERE c.relkind = 'r'
"""


def estimate_rows(connection: Connection, relation: int, batch: Batch) -> int:
    """Return about how many rows a table has, with its partitions; `relation` is its oid.

    From the statistics; counted where it is tiny or never was analysed, for two seconds at most. After that the
    planner's guess from the size of its files has to do.
    """
    row = connection.execute(_ESTIMATE, [relation]).fetchone()
    assert row is not None
    rows, is_unknown = int(row[0]), bool(row[1])
    if not is_unknown and rows > _TINY:
        return rows
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT pg_catalog.set_config('statement_timeout', %s, true)", [_COUNT_TIMEOUT])
        connection.execute("SELECT pg_catalog.set_config('lock_timeout', %s, true)", [_LOCK_TIMEOUT])
        counted = connection.execute(f"SELECT count(*) FROM {batch.target}".encode()).fetchone()  # noqa: S608
        return int(counted[0]) if counted is not None else 0
    except psycopg.errors.LockNotAvailable:
        return max(0, rows)
    except psycopg.errors.QueryCanceled:
        pass
    finally:
        if not connection.closed:
            roll_back(connection)
    return _guess(connection, batch)


def _guess(connection: Connection, batch: Batch) -> int:
    row = connection.execute(f"EXPLAIN (FORMAT JSON) SELECT FROM {batch.target}".encode()).fetchone()
    return int(row[0][0]["Plan"]["Plan Rows"]) if row is not None else 0

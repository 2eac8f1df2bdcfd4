"""A table → what a backfill looks at between two batches: standbys, waiting sessions, autovacuum."""

from __future__ import annotations

from whimbrel.backfills.pauses import Sight
from whimbrel.database import Connection

_PARTS = """
    WITH RECURSIVE part (oid) AS (
        SELECT %(table)s::oid
        UNION
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN part ON i.inhparent = part.oid
    )
"""

_LOOK = """
    , held AS (
        SELECT l.granted, l.mode, l.pid, l.locktype
        FROM pg_catalog.pg_locks AS l
        WHERE l.locktype IN ('relation', 'tuple')
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
          AND l.relation IN (SELECT oid FROM part)
          AND l.pid <> pg_catalog.pg_backend_pid()
          AND (NOT l.granted OR l.mode = 'ShareUpdateExclusiveLock')
    )
    SELECT
        (SELECT coalesce(max(extract(epoch FROM r.replay_lag)), 0)::float8 FROM pg_catalog.pg_stat_replication AS r),
        (SELECT coalesce(max(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), r.replay_lsn)), 0)::bigint
         FROM pg_catalog.pg_stat_replication AS r WHERE r.state IN ('streaming', 'catchup')),
        (SELECT count(*) FROM held WHERE NOT granted),
        EXISTS (
            SELECT FROM held JOIN pg_catalog.pg_stat_activity AS a ON a.pid = held.pid
            -- A worker has no role; its query is hidden from roles without pg_read_all_stats, its missing role is not.
            WHERE held.granted AND a.usesysid IS NULL AND a.datid IS NOT NULL
        )
    """

# Who has had the table's rows for longest, when a batch could not get them.
_HOLDER = """
    SELECT a.pid, coalesce(a.application_name, ''), coalesce(a.state, ''),
           extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float8
    FROM pg_catalog.pg_stat_activity AS a
    WHERE a.pid <> pg_catalog.pg_backend_pid() AND a.xact_start IS NOT NULL AND a.usesysid IS NOT NULL
      AND a.pid IN (
        SELECT l.pid FROM pg_catalog.pg_locks AS l
        WHERE l.locktype = 'relation' AND l.granted AND l.relation IN (SELECT oid FROM part)
          AND l.mode NOT IN ('AccessShareLock')
      )
    ORDER BY a.xact_start
    LIMIT 1
    """


def look(connection: Connection, table: int) -> Sight:
    """Look once; `table` is its oid. What this role may not see counts as not there."""
    row = connection.execute((_PARTS + _LOOK).encode(), {"table": table}).fetchone()
    assert row is not None
    lag, behind, waiters, is_autovacuumed = row
    return Sight(float(lag), int(behind), int(waiters), bool(is_autovacuumed))


def find_holder(connection: Connection, table: int) -> str | None:
    """Return who has rows of a table in the oldest transaction, for messages; None where there is nobody."""
    row = connection.execute((_PARTS + _HOLDER).encode(), {"table": table}).fetchone()
    if row is None:
        return None
    pid, application, state, age = row
    name = f"process {pid}" + (f" ({application})" if application else "")
    return f"{name}, {state or 'active'}, in a transaction for {max(0, round(float(age or 0)))} s"

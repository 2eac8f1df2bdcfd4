"""A server whose autovacuum comes every second, and tables that it takes minutes for."""

from __future__ import annotations

import psycopg
from psycopg.rows import TupleRow

from tests.acceptance.programs import eventually, value

Connection = psycopg.Connection[TupleRow]
SETTINGS = {
    "autovacuum_naptime": "1s",
    "autovacuum_max_workers": "6",
    "max_connections": "50",
    "max_prepared_transactions": "5",
}
# Each page costs at least one unit: one page in a tenth of a second, or more slowly.
_SLOW = (
    "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, autovacuum_analyze_threshold = 1000000000"
)
_PROGRESS = """
    SELECT count(*)
    FROM pg_stat_progress_vacuum AS p
    JOIN pg_stat_activity AS a ON a.pid = p.pid
    WHERE a.backend_type = 'autovacuum worker' AND p.relid = '{}'::regclass
"""
# The least that the option takes.
_FREEZE_AGE = 100_000


def begin_vacuum(superuser: Connection, table: str, *, owner: str | None = None) -> None:
    """Make a table and wait until an ordinary autovacuum of it is under way, which takes minutes."""
    _make(superuser, table, owner)
    superuser.execute(f"DELETE FROM {table} WHERE id % 2 = 0".encode())
    superuser.execute(f"ALTER TABLE {table} SET (autovacuum_vacuum_threshold = 1)".encode())
    superuser.execute("SELECT pg_stat_force_next_flush()")
    superuser.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = on)".encode())
    eventually(lambda: is_vacuumed(superuser, table), 30)


def begin_vacuum_beside(superuser: Connection, relation: str, made: str, *, owner: str | None = None) -> None:
    """Make a table `busy` and, by the statement `made`, a relation; wait until an autovacuum of that is under way.

    An empty `made` is for the table that keeps the long values of `busy`, which is then vacuumed itself.
    """
    prefix = "toast." if not made else ""
    options = _SLOW.replace("autovacuum_vacuum", f"{prefix}autovacuum_vacuum").partition(", autovacuum_analyze")[0]
    superuser.execute(
        """
        CREATE TABLE busy (id int, filler text);
        ALTER TABLE busy ALTER COLUMN filler SET STORAGE EXTERNAL;
        INSERT INTO busy SELECT n, repeat('x', 3000) FROM generate_series(1, 2000) AS n;
        """
    )
    if made:
        superuser.execute(made.encode())
    else:
        superuser.execute("ALTER TABLE busy SET (autovacuum_enabled = off)")
    kind = "MATERIALIZED VIEW" if "MATERIALIZED" in made else "TABLE"
    target = relation if made else "busy"
    superuser.execute(f"ALTER {kind} {target} SET ({options}, {prefix}autovacuum_vacuum_threshold = 1)".encode())
    if owner not in (None, "superuser"):
        superuser.execute(f"ALTER TABLE busy OWNER TO {owner}".encode())
        if made:
            superuser.execute(f"ALTER {kind} {relation} OWNER TO {owner}".encode())
    superuser.execute(("REFRESH MATERIALIZED VIEW CONCURRENTLY " + relation if made else "DELETE FROM busy").encode())
    superuser.execute("SELECT pg_stat_force_next_flush()")
    found = relation if made else str(value(superuser, "SELECT reltoastrelid FROM pg_class WHERE relname = 'busy'"))
    eventually(lambda: is_vacuumed(superuser, found), 30)


def begin_wraparound_vacuum(superuser: Connection, table: str, *, owner: str | None = None) -> None:
    """Make a table and wait until an autovacuum of it to prevent wraparound is under way, which takes minutes."""
    _make(superuser, table, owner)
    # Each round of the loop is a transaction that has a number of its own.
    superuser.execute(
        f"""
        DO $$ BEGIN FOR i IN 1 .. {_FREEZE_AGE + 1000} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$
        """.encode()
    )
    # Such a vacuum comes whether or not autovacuum is enabled for the table.
    superuser.execute(f"ALTER TABLE {table} SET (autovacuum_freeze_max_age = {_FREEZE_AGE})".encode())
    eventually(lambda: is_vacuumed(superuser, table), 30)
    worker = f"query LIKE 'autovacuum: VACUUM % (to prevent wraparound)' AND query LIKE '%{table}%'"
    assert value(superuser, f"SELECT count(*) FROM pg_stat_activity WHERE {worker}") == 1


def workers(superuser: Connection, table: str) -> list[int]:
    """Return the server processes of autovacuum that have the table."""
    rows = superuser.execute(
        """
        SELECT pid
        FROM pg_locks
        JOIN pg_stat_activity USING (pid)
        WHERE relation = %s::regclass AND granted AND backend_type = 'autovacuum worker'
        """,
        [table],
    )
    return [int(row[0]) for row in rows]


def is_vacuumed(superuser: Connection, table: str) -> bool:
    """Say whether an autovacuum of the table is under way."""
    return value(superuser, _PROGRESS.format(table)) == 1


def _make(superuser: Connection, table: str, owner: str | None) -> None:
    superuser.execute(
        f"""
        CREATE TABLE {table} (id int, filler text) WITH (autovacuum_enabled = off, fillfactor = 10, {_SLOW});
        INSERT INTO {table} SELECT n, repeat('x', 500) FROM generate_series(1, 2000) AS n;
        """.encode()
    )
    if owner not in (None, "superuser"):
        superuser.execute(f"ALTER TABLE {table} OWNER TO {owner}".encode())

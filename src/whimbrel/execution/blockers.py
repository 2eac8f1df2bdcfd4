"""Who stands in the way: sessions that hold a lock on a table, or that a server process waits for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg import sql

from whimbrel.database import Connection, hide_texts
from whimbrel.durations import show_duration
from whimbrel.events import Blocker
from whimbrel.execution.reach import WANTED, parameters
from whimbrel.statements.locks import TableLock
from whimbrel.statements.tablelock import MODES

# Which of the others' locks a lock conflicts with (PostgreSQL 18 documentation, 13.3.1 Table-Level Locks).
CONFLICTS = {
    "AccessShareLock": MODES[7:],
    "RowShareLock": MODES[6:],
    "RowExclusiveLock": MODES[4:],
    "ShareUpdateExclusiveLock": MODES[3:],
    # The only one that tolerates its like and not all that are weaker.
    "ShareLock": tuple(mode for mode in MODES[2:] if mode != "ShareLock"),
    "ShareRowExclusiveLock": MODES[2:],
    "ExclusiveLock": MODES[1:],
    "AccessExclusiveLock": MODES,
}

_SESSION = sql.SQL(
    """
    coalesce(a.application_name, x.gid, ''), coalesce(pg_catalog.host(a.client_addr), 'local socket'),
    coalesce(a.state, CASE WHEN x.gid IS NOT NULL THEN 'prepared' END, ''),
    pg_catalog.clock_timestamp() - coalesce(a.xact_start, a.query_start, x.prepared),
    CASE a.query WHEN '<insufficient privilege>' THEN '' ELSE coalesce(a.query, '') END,
    -- A worker has no role. Roles without pg_read_all_stats see that, and not what it does.
    a.datid IS NOT NULL AND a.usesysid IS NULL
    """
)
_BLOCKING = sql.SQL(
    """
    SELECT b.pid, {session},
        coalesce((
            SELECT l.relation::pg_catalog.regclass::text FROM pg_catalog.pg_locks AS l
            WHERE l.pid = %(process)s AND NOT l.granted AND l.locktype = 'relation' LIMIT 1
        ), ''), ''
    FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids(%(process)s)) AS b (pid)
    LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid
    -- A prepared transaction has no process.
    LEFT JOIN pg_catalog.pg_prepared_xacts AS x ON b.pid = 0 AND x.database = pg_catalog.current_database()
    ORDER BY 5 DESC NULLS LAST, 1
    """
).format(session=_SESSION)
_HOLDERS = sql.SQL(
    """
    WITH RECURSIVE {wanted}
    SELECT coalesce(a.pid, l.pid, 0), {session}, w.oid::pg_catalog.regclass::text, l.mode, l.virtualtransaction
    FROM wanted AS w
    JOIN pg_catalog.pg_locks AS l
        ON l.locktype = 'relation' AND l.granted AND l.relation = w.oid
        AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        AND w.mode || ' ' || l.mode = ANY (%(conflicts)s)
    LEFT JOIN pg_catalog.pg_stat_activity AS worker ON worker.pid = l.pid
    -- The workers of a parallel query are its session's.
    LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = coalesce(worker.leader_pid, l.pid)
    LEFT JOIN pg_catalog.pg_locks AS t
        ON l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid' AND t.granted
        AND t.virtualtransaction = l.virtualtransaction
    LEFT JOIN pg_catalog.pg_prepared_xacts AS x ON x.transaction = t.transactionid
    ORDER BY 5 DESC NULLS LAST, 1
    """
).format(session=_SESSION, wanted=WANTED)
_PAIRS = [f"{mode} {other}" for mode, others in CONFLICTS.items() for other in others]
_SHOWN = 72
# So many of those in the way an error names.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Holder:
    """A session that holds a lock with which another conflicts.

    `transaction` tells its transaction from the next one of the same session.
    """

    blocker: Blocker
    transaction: str


def find_holders(connection: Connection, locks: Iterable[TableLock]) -> list[Holder]:
    """Return who holds locks at this moment with which these conflict, the oldest transaction first."""
    values = {**parameters(list(locks)), "conflicts": _PAIRS}
    rows = connection.execute(_HOLDERS, values).fetchall()
    return [Holder(_blocker(row[:9]), str(row[9])) for row in rows]


def find_blocking(connection: Connection, process: int) -> tuple[Blocker, ...]:
    """Return whom a server process waits for at this moment, be it in front of it in the same queue."""
    # Members of a parallel group come more than once.
    found = {row[0]: _blocker(row) for row in connection.execute(_BLOCKING, {"process": process}).fetchall()}
    return tuple(found.values())


def find_lockable(connection: Connection, tables: Iterable[str]) -> tuple[str, ...]:
    """Return those of some names that are tables which this role may lock."""
    rows = connection.execute(
        """
        SELECT n FROM pg_catalog.unnest(%s::text[]) AS n
        JOIN pg_catalog.pg_class AS k ON k.oid = pg_catalog.to_regclass(n)
        WHERE k.relkind = 'r' AND pg_catalog.has_table_privilege(k.oid, 'UPDATE, DELETE, TRUNCATE')
        """,
        # That schema is closed to ordinary roles, and what is in it cannot be locked by itself.
        [[table for table in tables if not table.startswith("pg_toast.")]],
    ).fetchall()
    return tuple(str(row[0]) for row in rows)


def deadlock_timeout(connection: Connection) -> float:
    """Return after how many seconds of waiting the server looks for deadlocks, and cancels an autovacuum."""
    row = connection.execute(
        "SELECT extract(epoch FROM pg_catalog.current_setting('deadlock_timeout')::interval)::float"
    ).fetchone()
    assert row is not None
    return float(row[0])


def describe(blocker: Blocker) -> str:
    """Return a blocker in a few words: who, from where, since when, doing what."""
    age = f" for {show_duration(blocker.age)}" if blocker.age is not None else ""
    if not blocker.pid:
        return f"the prepared transaction {_quoted(blocker.application)}{', there' if age else ''}{age}"
    name = "autovacuum" if blocker.is_autovacuum else blocker.application or "a session"
    place = f"process {blocker.pid}" if blocker.is_autovacuum else f"process {blocker.pid}, {blocker.client}"
    state = "" if blocker.is_autovacuum or not blocker.state else f", {blocker.state}"
    query = " ".join(blocker.query.split())
    query = query[: _SHOWN - 1] + "…" if len(query) > _SHOWN else query
    return f"{name} ({place}){state}{age}{': ' if query else ''}{query}"


def tell_blockers(blockers: Sequence[Blocker]) -> str:
    """Return the sentence of an error's detail that names those in the way, empty where nobody is known."""
    if not blockers:
        return ""
    named = "; ".join(describe(each) for each in blockers[:_NAMED])
    more = f", and {len(blockers) - _NAMED} more" if len(blockers) > _NAMED else ""
    return f"In the way: {named}{more}. "


def advise(blockers: Sequence[Blocker]) -> str:
    """Return the hint for who has waited long enough."""
    hint = "Run the command again when they are done, or give it more time: --lock-budget 1h"
    first = next((each for each in blockers if not each.is_autovacuum), None)
    if first is not None:
        end = (
            f"SELECT pg_terminate_backend({first.pid})"
            if first.pid
            else f"ROLLBACK PREPARED {_quoted(first.application)}"
        )
        hint += f"\n      To end the first one: {end};"
    return hint


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _blocker(row: Sequence[Any]) -> Blocker:
    pid, application, client, state, age, query, is_autovacuum, relation, mode = row
    return Blocker(
        int(pid),
        application,
        client,
        "autovacuum" if is_autovacuum else state,
        max(age, timedelta(0)) if age is not None else None,
        hide_texts(query),
        relation,
        mode,
        is_autovacuum,
        is_autovacuum and "(to prevent wraparound)" in query,
    )

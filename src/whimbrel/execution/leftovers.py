"""What interrupted concurrent statements leave in the catalog: invalid indexes, pending detaches."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import sql

from whimbrel.database import Connection
from whimbrel.errors import LockNotObtained
from whimbrel.events import Listener, Warned
from whimbrel.statements.concurrent import Concurrent, Operation
from whimbrel.statements.shape import find_shape


class Index(NamedTuple):
    """An index in the catalog; `label` is its name with its schema, quoted where SQL wants that."""

    oid: int
    schema: str
    name: str
    label: str


# The columns of an Index.
_INDEX = "c.oid, n.nspname, c.relname, pg_catalog.format('%%I.%%I', n.nspname, c.relname)"


def _index(row: Sequence[Any]) -> Index:
    oid, schema, name, label = row[:4]
    return Index(int(oid), str(schema), str(name), str(label))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for others, in seconds, who is told, and what is called while a statement runs.

    `on_idle` is that of a Pipeline.
    """

    seconds: float
    emit: Listener
    on_idle: Callable[[], None] | None = None


def find_index(connection: Connection, table: str, index: str) -> tuple[Index, bool] | None:
    """Return a table's index, and whether it is valid; None where there is none of that name."""
    row = connection.execute(
        f"""
        SELECT {_INDEX}, i.indisvalid FROM pg_catalog.pg_index AS i
        JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE i.indrelid = pg_catalog.to_regclass(%s) AND c.relname = %s
        """.encode(),  # noqa: S608
        [table, index],
    ).fetchone()
    return (_index(row), bool(row[4])) if row is not None else None


# The tables that a statement works on.
_TABLES = {
    Operation.CREATE_INDEX: "SELECT pg_catalog.to_regclass(%(target)s)",
    Operation.DROP_INDEX: """
        SELECT indrelid FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass(%(target)s)
        """,
    # A partitioned one is reindexed partition by partition.
    Operation.REINDEX_INDEX: """
        SELECT indrelid FROM pg_catalog.pg_index
        WHERE indexrelid = pg_catalog.to_regclass(%(target)s)
           OR indexrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass(%(target)s)))
        """,
    Operation.REINDEX_TABLE: """
        SELECT pg_catalog.to_regclass(%(target)s)
        UNION ALL SELECT relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass(%(target)s))
        """,
    Operation.REINDEX_SCHEMA: """
        SELECT k.oid FROM pg_catalog.pg_class AS k
        JOIN pg_catalog.pg_namespace AS s ON s.oid = k.relnamespace
        WHERE s.nspname = %(target)s AND k.relkind IN ('r', 'm')
        """,
    Operation.DETACH_PARTITION: """
        SELECT pg_catalog.to_regclass(%(target)s)
        UNION ALL SELECT pg_catalog.to_regclass(%(partition)s)
        """,
}


def _query(text: str, concurrent: Concurrent) -> tuple[bytes, dict[str, str | None]]:
    values = {
        "target": concurrent.target,
        "partition": concurrent.partition,
        "index": concurrent.index,
        "pattern": None if concurrent.operation is Operation.CREATE_INDEX else "_cc(new|old)[0-9]*$",
    }
    text = text.replace("{tables}", _TABLES[concurrent.operation]).replace("{index}", _INDEX)
    return text.encode(), values


def find_invalid(connection: Connection, concurrent: Concurrent) -> list[Index]:
    """Return the invalid indexes that a statement may have left, or that somebody is building at this moment.

    Of a REINDEX they are the `_ccnew` and `_ccold`, those of TOAST tables among them. A partitioned index is invalid
    until all partitions have theirs: that is no leftover.
    """
    rows = connection.execute(
        *_query(
            """
            SELECT {index} FROM pg_catalog.pg_index AS i
            JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i'
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE (i.indrelid IN ({tables}) OR i.indrelid IN (
                    SELECT t.reltoastrelid FROM pg_catalog.pg_class AS t WHERE t.oid IN ({tables})))
              AND NOT i.indisvalid
              AND CASE WHEN %(pattern)s::text IS NULL THEN c.relname = %(index)s ELSE c.relname ~ %(pattern)s END
            ORDER BY n.nspname, c.relname
            """,
            concurrent,
        )
    ).fetchall()
    return [_index(row) for row in rows]


def find_begun(
    connection: Connection, concurrent: Concurrent, statement: bytes, started: sql.Composable
) -> list[tuple[Index, bool]]:
    """Return the indexes without a name of their own that came after a statement was journalled as started.

    Those that the statement cannot have made, by their shape, are left out. With each, whether it is valid. `started`
    is a query for the age of the journal's row, in transactions: the rows of a younger index are of later ones, since
    the statement was sent behind the commit of its row.
    """
    rows = connection.execute(
        sql.SQL(
            """
            SELECT {}, i.indisvalid, pg_catalog.pg_get_indexdef(c.oid) FROM pg_catalog.pg_index AS i
            JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i'
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            -- Made with the index and not changed by what may be done to it, a new name or new statistics.
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = 1
            WHERE i.indrelid = pg_catalog.to_regclass(%s) AND c.relname ~ '_idx[0-9]*$'
              AND pg_catalog.age(a.xmin) < ({})
            ORDER BY n.nspname, c.relname
            """
        ).format(sql.SQL(_INDEX), started),
        [concurrent.target],
    ).fetchall()
    own = find_shape(statement)
    alike = [row for row in rows if own is None or find_shape(str(row[5]).encode()) in (own, None)]
    return [(_index(row), bool(row[4])) for row in alike]


def find_abandoned(connection: Connection, concurrent: Concurrent, patience: Patience) -> list[Index]:
    """Return the invalid indexes that a statement may have left and that nobody is building.

    Waits for others as `wait_for_others` does: whether an index that is being built is one's own leftover cannot be
    told before the end of that.
    """
    while True:
        before = find_invalid(connection, concurrent)
        wait_for_others(connection, concurrent, patience)
        after = find_invalid(connection, concurrent)
        # What has come up in between may be under construction.
        if all(index in before for index in after):
            return after


def wait_for_others(connection: Connection, concurrent: Concurrent, patience: Patience) -> None:
    """Wait for those who work on a statement's tables with a lock like its own, and tell that it waits.

    The server's progress views keep back what other roles do, its list of locks does not. Looks again and again instead
    of waiting for the lock: a statement that waits for it holds a snapshot, for which a concurrent build that has it
    waits in its turn, and the server ends one of the two (seen on 18). Raises LockNotObtained when the time is over.
    """
    deadline = time.monotonic() + patience.seconds
    is_told = False
    while other := _find_other(connection, concurrent):
        if time.monotonic() >= deadline:
            raise other
        if not is_told:
            patience.emit(Warned(f"waiting: {other.message}"))
            is_told = True
        time.sleep(random.uniform(0.1, 0.5))  # noqa: S311


def _find_other(connection: Connection, concurrent: Concurrent) -> LockNotObtained | None:
    # Autovacuum, which has no role, gives way by itself.
    row = connection.execute(
        *_query(
            """
            SELECT l.relation::pg_catalog.regclass::text, l.pid, a.usename, coalesce(a.application_name, '')
            FROM pg_catalog.pg_locks AS l
            JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid AND a.usesysid IS NOT NULL
            WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'ShareUpdateExclusiveLock'
              AND l.pid <> pg_catalog.pg_backend_pid()
              AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
              AND l.relation IN ({tables})
            LIMIT 1
            """,
            concurrent,
        )
    ).fetchone()
    if row is None:
        return None
    table, pid, role, application = row
    return LockNotObtained(
        f"another session works on table {table} (process {pid})",
        detail=(
            f"It is {application or 'a session'} of role {role}, with an index build, a VACUUM or such. A concurrent"
            " statement beside it could end in a deadlock, and its index looks like one that was left behind."
        ),
        hint="Wait for it and run the command again, or give it more time: --lock-wait 10min",
    )


def relation_exists(connection: Connection, name: str) -> bool:
    """Whether a relation is there."""
    row = connection.execute("SELECT pg_catalog.to_regclass(%s) IS NOT NULL", [name]).fetchone()
    return row is not None and bool(row[0])


def database_exists(connection: Connection, name: str) -> bool:
    """Whether a database is there."""
    return connection.execute("SELECT FROM pg_catalog.pg_database WHERE datname = %s", [name]).fetchone() is not None


def is_detach_pending(connection: Connection, concurrent: Concurrent) -> bool | None:
    """Whether a DETACH PARTITION CONCURRENTLY was begun and not finished, None where there is no such partition."""
    row = connection.execute(
        """
        SELECT inhdetachpending FROM pg_catalog.pg_inherits
        WHERE inhparent = pg_catalog.to_regclass(%s) AND inhrelid = pg_catalog.to_regclass(%s)
        """,
        [concurrent.target, concurrent.partition],
    ).fetchone()
    return bool(row[0]) if row is not None else None


def finish_detach(connection: Connection, concurrent: Concurrent) -> str | None:
    """Finish an interrupted DETACH PARTITION CONCURRENTLY; None where it has not begun."""
    is_pending = is_detach_pending(connection, concurrent)
    if is_pending is None:
        return "the partition is detached"
    if not is_pending:
        return None
    # The names come quoted from the parsed statement.
    connection.execute(f"ALTER TABLE {concurrent.target} DETACH PARTITION {concurrent.partition} FINALIZE".encode())
    return "the detach was finalized"

"""What interrupted concurrent statements leave in the catalog: invalid indexes, pending detaches."""

from __future__ import annotations

from psycopg import sql

from whimbrel.database import Connection
from whimbrel.statements.concurrent import Concurrent, Operation

Name = tuple[str, str]


def find_index(connection: Connection, table: str, index: str) -> bool | None:
    """Return whether a table's index is valid, None where there is none of that name."""
    row = connection.execute(
        """
        SELECT i.indisvalid FROM pg_catalog.pg_index AS i
        JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indrelid = pg_catalog.to_regclass(%s) AND c.relname = %s
        """,
        [table, index],
    ).fetchone()
    return bool(row[0]) if row is not None else None


def find_invalid(connection: Connection, table: str, index: str | None) -> list[Name]:
    """Return a table's invalid indexes, or the one of a name; not those that are being built at this moment.

    A partitioned index is invalid until all partitions have theirs: that is no leftover.
    """
    rows = connection.execute(
        """
        SELECT n.nspname, c.relname FROM pg_catalog.pg_index AS i
        JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i'
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE i.indrelid = pg_catalog.to_regclass(%(table)s) AND NOT i.indisvalid
          AND c.relname = coalesce(%(index)s, c.relname)
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.index_relid = c.oid)
        ORDER BY c.relname
        """,
        {"table": table, "index": index},
    ).fetchall()
    return [(str(schema), str(name)) for schema, name in rows]


_REINDEXED = {
    Operation.REINDEX_INDEX: sql.SQL(
        "i.indrelid = (SELECT indrelid FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass(%s))"
    ),
    Operation.REINDEX_TABLE: sql.SQL("i.indrelid = pg_catalog.to_regclass(%s)"),
    Operation.REINDEX_SCHEMA: sql.SQL("n.nspname = %s"),
}


def find_reindexed(connection: Connection, concurrent: Concurrent) -> list[Name]:
    """Return the `_ccnew` and `_ccold` indexes that an interrupted REINDEX CONCURRENTLY left.

    Those of TOAST tables are left alone: dropping them needs a superuser who allows it.
    """
    query = sql.SQL(
        """
        SELECT n.nspname, c.relname FROM pg_catalog.pg_index AS i
        JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i'
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE {} AND NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.index_relid = c.oid)
        ORDER BY c.relname
        """
    ).format(_REINDEXED[concurrent.operation])
    rows = connection.execute(query, [concurrent.target]).fetchall()
    return [(str(schema), str(name)) for schema, name in rows]


def drop_index(connection: Connection, name: Name) -> None:
    """Drop an index without standing in anybody's way."""
    connection.execute("SET lock_timeout = 0")
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(*name)))


def relation_exists(connection: Connection, name: str) -> bool:
    """Whether a relation is there."""
    row = connection.execute("SELECT pg_catalog.to_regclass(%s) IS NOT NULL", [name]).fetchone()
    return row is not None and bool(row[0])


def database_exists(connection: Connection, name: str) -> bool:
    """Whether a database is there."""
    return connection.execute("SELECT FROM pg_catalog.pg_database WHERE datname = %s", [name]).fetchone() is not None


def finish_detach(connection: Connection, concurrent: Concurrent) -> str | None:
    """Finish an interrupted DETACH PARTITION CONCURRENTLY; None where it has not begun."""
    row = connection.execute(
        """
        SELECT inhdetachpending FROM pg_catalog.pg_inherits
        WHERE inhparent = pg_catalog.to_regclass(%s) AND inhrelid = pg_catalog.to_regclass(%s)
        """,
        [concurrent.target, concurrent.partition],
    ).fetchone()
    if row is None:
        return "the partition is detached"
    if not row[0]:
        return None
    # The names come quoted from the parsed statement.
    connection.execute(f"ALTER TABLE {concurrent.target} DETACH PARTITION {concurrent.partition} FINALIZE".encode())
    return "the detach was finalized"

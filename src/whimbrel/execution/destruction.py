"""What a plan would destroy: the tables that it drops with their rows, and the columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psycopg
from psycopg import sql

from whimbrel.database import Connection
from whimbrel.execution.task import Task
from whimbrel.statements.drops import Drop, find_drops

# Above this, counting reads too much of the table for a plan; the planner's estimate is shown instead.
COUNTED_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class Loss:
    """A table that would be dropped or emptied, or a column of it, with the number of rows that it has now.

    `rows` is None where they could not be counted; `is_estimate` says that it is pg_class.reltuples.
    """

    version: int
    table: str
    column: str | None
    rows: int | None
    is_estimate: bool = False


def find_losses(connection: Connection, tasks: Iterable[Task]) -> list[Loss]:
    """Return what the tasks' scripts would destroy of what is there now. Reads only."""
    losses: list[Loss] = []
    seen: set[tuple[int, str]] = set()
    for task in tasks:
        for statement in task.statements():
            for drop in find_drops(statement.sql):
                for oid, name in _tables(connection, drop):
                    if not drop.column and (oid, "") in seen:
                        continue
                    seen.add((oid, drop.column))
                    rows, is_estimate = _count(connection, oid)
                    losses.append(Loss(task.step.version, name, drop.column or None, rows, is_estimate))
    return losses


def _tables(connection: Connection, drop: Drop) -> Iterator[tuple[int, str]]:
    if drop.table:
        parts = [part for part in (drop.schema, drop.table) if part]
        name = sql.Identifier(*parts).as_string(connection)
        rows = connection.execute(
            "SELECT c.oid, c.oid::regclass::text FROM pg_catalog.pg_class AS c"
            " WHERE c.oid = pg_catalog.to_regclass(%s) AND c.relkind IN ('r', 'p', 'm')",
            [name],
        ).fetchall()
    else:
        rows = connection.execute(
            "SELECT c.oid, c.oid::regclass::text FROM pg_catalog.pg_class AS c"
            " WHERE c.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %s)"
            " AND c.relkind IN ('r', 'p', 'm') ORDER BY c.relname",
            [drop.schema],
        ).fetchall()
    for oid, name in rows:
        yield int(oid), str(name)


def _count(connection: Connection, oid: int) -> tuple[int | None, bool]:
    row = connection.execute(
        "SELECT c.reltuples::bigint, n.nspname, c.relname FROM pg_catalog.pg_class AS c"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = %s",
        [oid],
    ).fetchone()
    if row is None:
        return None, False
    if int(row[0]) > COUNTED_ROWS:
        return int(row[0]), True
    try:
        with connection.transaction():
            connection.execute("SET LOCAL statement_timeout = '5s'")
            connection.execute("SET LOCAL lock_timeout = '1s'")
            counted = connection.execute(
                sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(str(row[1]), str(row[2])))
            ).fetchone()
    except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
        # Never analysed: -1.
        return (int(row[0]), True) if int(row[0]) >= 0 else (None, False)
    except psycopg.Error:
        return None, False
    return (int(counted[0]) if counted else None), False

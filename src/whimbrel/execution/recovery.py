"""What an interrupted run of an autocommit migration left behind, and how to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg import pq, sql

from whimbrel import history
from whimbrel.database import Connection
from whimbrel.errors import Unsettled
from whimbrel.execution.task import Task
from whimbrel.statements import Statement
from whimbrel.statements.concurrent import Concurrent, Operation, find_concurrent


@dataclass(frozen=True, slots=True)
class Entry:
    """A journalled statement: its checksum, and whether it ended."""

    checksum: str
    is_finished: bool


def read_journal(connection: Connection, task: Task) -> Mapping[int, Entry]:
    """Return the journalled statements of a task by their numbers, which count from 1."""
    rows = connection.execute(
        sql.SQL(
            "SELECT statement, checksum, finished_at IS NOT NULL FROM {} WHERE version = %s AND direction = %s"
        ).format(history.identifier(task.config, "_journal")),
        [task.step.version, task.step.direction.value],
    ).fetchall()
    return {int(number): Entry(str(checksum), bool(is_finished)) for number, checksum, is_finished in rows}


def server_time(connection: Connection) -> datetime:
    """Return the time on the server's clock."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0]


def check_unchanged(task: Task, entry: Entry, number: int, statement: Statement, checksum: str) -> None:
    """Raise Unsettled if a journalled statement is no longer what the file says."""
    if entry.checksum != checksum:
        raise Unsettled(
            f"statement {number} was changed after it had been {'run' if entry.is_finished else 'started'}",
            detail="The migration was interrupted, and the statements before this one are in place.",
            hint="Restore the statement as it was, let the migration end, and write a new one for the change.",
            position=task.step.script.position(statement),
        )


def settle(connection: Connection, task: Task, number: int, statement: Statement) -> str | None:
    """Decide what became of a statement that was started and not finished.

    Returns the reason why it counts as done, or None where it is to be run again: what it left behind is then removed.
    Raises Unsettled, with the evidence, where that cannot be told.
    """
    concurrent = find_concurrent(statement.sql)
    if concurrent is None:
        raise Unsettled(
            f"statement {number} was started and not seen to end",
            detail="It may have been done, wholly or in part; nothing in the catalog tells.",
            hint=f"Look, then say: whimbrel resolve {task.step.version} --done, or --retry to run it again.",
            position=task.step.script.position(statement),
        )
    match concurrent.operation:
        case Operation.CREATE_INDEX:
            return _settle_create_index(connection, concurrent)
        case Operation.DROP_INDEX:
            return None if _index_exists(connection, concurrent) else "the index is gone"
        case Operation.REPEATABLE:
            return None


def _settle_create_index(connection: Connection, concurrent: Concurrent) -> str | None:
    is_valid = _find_index(connection, concurrent)
    if is_valid is None:
        return None
    if is_valid:
        return "the index is there and valid"
    _drop_index(connection, concurrent)
    return None


def find_invalid_index(connection: Connection, statement: Statement) -> str | None:
    """Return the name of the index that a CREATE INDEX CONCURRENTLY should have built, if it is invalid."""
    concurrent = find_concurrent(statement.sql)
    if concurrent is None or concurrent.operation is not Operation.CREATE_INDEX:
        return None
    return concurrent.index if _find_index(connection, concurrent) is False else None


def _find_index(connection: Connection, concurrent: Concurrent) -> bool | None:
    """Return whether the index is valid, None where it does not exist or has no name in the statement."""
    row = connection.execute(
        """
        SELECT i.indisvalid FROM pg_catalog.pg_index AS i
        JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indrelid = pg_catalog.to_regclass(%s) AND c.relname = %s
        """,
        [concurrent.table, concurrent.index],
    ).fetchone()
    return bool(row[0]) if row is not None else None


def _index_exists(connection: Connection, concurrent: Concurrent) -> bool:
    row = connection.execute("SELECT pg_catalog.to_regclass(%s) IS NOT NULL", [concurrent.table]).fetchone()
    return row is not None and bool(row[0])


def _drop_index(connection: Connection, concurrent: Concurrent) -> None:
    row = connection.execute(
        """
        SELECT n.nspname, c.relname FROM pg_catalog.pg_index AS i
        JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE i.indrelid = pg_catalog.to_regclass(%s) AND c.relname = %s AND NOT i.indisvalid
        """,
        [concurrent.table, concurrent.index],
    ).fetchone()
    if row is not None:
        name = sql.Identifier(str(row[0]), str(row[1]))
        connection.execute("SET lock_timeout = 0")
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(name))


def roll_back(connection: Connection) -> None:
    """End a transaction that is open or failed, if there is one."""
    if connection.info.transaction_status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR):
        connection.execute("ROLLBACK")

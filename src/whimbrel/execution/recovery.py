"""What an interrupted run of an autocommit migration left behind, and how to go on."""

from __future__ import annotations

import re
from datetime import datetime

from psycopg import pq

from whimbrel.database import Connection
from whimbrel.errors import Unsettled
from whimbrel.execution import leftovers
from whimbrel.execution.task import Task
from whimbrel.history.journal import Entry
from whimbrel.pipeline import CANCEL_TIMEOUT
from whimbrel.statements import Statement
from whimbrel.statements.concurrent import Concurrent, Operation, find_concurrent


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
    match concurrent.operation if concurrent is not None else None:
        case Operation.CREATE_INDEX if concurrent is not None:
            outcome = _settle_create_index(connection, concurrent)
        case Operation.DROP_INDEX if concurrent is not None:
            outcome = None if leftovers.relation_exists(connection, concurrent.target) else "the index is gone"
        case Operation.REINDEX_INDEX | Operation.REINDEX_TABLE | Operation.REINDEX_SCHEMA if concurrent is not None:
            for index in leftovers.find_reindexed(connection, concurrent):
                leftovers.drop_index(connection, index)
            outcome = None
        case Operation.DETACH_PARTITION if concurrent is not None:
            outcome = leftovers.finish_detach(connection, concurrent)
        case Operation.CREATE_DATABASE if concurrent is not None:
            outcome = "the database is there" if leftovers.database_exists(connection, concurrent.target) else None
        case Operation.DROP_DATABASE if concurrent is not None:
            outcome = None if leftovers.database_exists(connection, concurrent.target) else "the database is gone"
        case Operation.REPEATABLE:
            outcome = None
        case _:
            outcome = _UNKNOWN
    if outcome == _UNKNOWN:
        raise Unsettled(
            f"statement {number} was started and not seen to end",
            detail="It may have been done, wholly or in part; nothing in the catalog tells.",
            hint=f"Look, then say: whimbrel resolve {task.step.version} --done, or --retry to run it again.",
            position=task.step.script.position(statement),
        )
    return outcome


_UNKNOWN = "unknown"


def _settle_create_index(connection: Connection, concurrent: Concurrent) -> str | None:
    if concurrent.index:
        is_valid = leftovers.find_index(connection, concurrent.target, concurrent.index)
        if is_valid:
            return "the index is there and valid"
        if is_valid is None:
            return None
    left = leftovers.find_invalid(connection, concurrent.target, concurrent.index or None)
    for index in left:
        leftovers.drop_index(connection, index)
    # Without a name, and with nothing invalid left, it was built whole or not begun.
    return None if left or concurrent.index else _UNKNOWN


def find_invalid_index(connection: Connection, statement: Statement) -> str | None:
    """Return the name of the index that a CREATE INDEX CONCURRENTLY should have built, if it is invalid."""
    concurrent = find_concurrent(statement.sql)
    if concurrent is None or concurrent.operation is not Operation.CREATE_INDEX or not concurrent.index:
        return None
    is_valid = leftovers.find_index(connection, concurrent.target, concurrent.index)
    return concurrent.index if is_valid is False else None


_CONCURRENT = frozenset(
    {
        Operation.CREATE_INDEX,
        Operation.DROP_INDEX,
        Operation.REINDEX_INDEX,
        Operation.REINDEX_TABLE,
        Operation.REINDEX_SCHEMA,
        Operation.DETACH_PARTITION,
    }
)
_MAY_COMMIT = re.compile(rb"\bcall\b|\bcommit\b", re.IGNORECASE)
# Syntax and access, features, schemas, transaction state, prerequisites: found before anything is done.
_REFUSALS = ("42", "0A", "3F", "25", "55000", "55006")


def waits_without_blocking(statement: Statement) -> bool:
    """Whether a statement is one of the CONCURRENTLY kind, which keep nobody waiting while they wait."""
    concurrent = find_concurrent(statement.sql)
    return concurrent is not None and concurrent.operation in _CONCURRENT and b"concurrently" in statement.sql.lower()


def is_undone_by_error(statement: Statement, sqlstate: str | None) -> bool:
    """Whether a statement that the server refused with an error is known to have left nothing behind."""
    concurrent = find_concurrent(statement.sql)
    if concurrent is not None and concurrent.operation in _CONCURRENT:
        return sqlstate is not None and sqlstate.startswith(_REFUSALS)
    return concurrent is not None or not _MAY_COMMIT.search(statement.sql)


def abandon(connection: Connection) -> None:
    """Cancel what a signal found running outside a pipeline, and read its end, so that the connection is usable."""
    if connection.closed or connection.pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
        return
    connection.cancel_safe(timeout=CANCEL_TIMEOUT)
    while connection.pgconn.get_result() is not None:
        pass


def roll_back(connection: Connection) -> None:
    """End a transaction that is open or failed, if there is one."""
    if connection.info.transaction_status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR):
        connection.execute("ROLLBACK")

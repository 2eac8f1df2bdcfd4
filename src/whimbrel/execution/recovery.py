"""What an interrupted run of an autocommit migration left behind, and how to go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import assert_never

import psycopg

from whimbrel.database import Connection
from whimbrel.durations import seconds
from whimbrel.errors import LockNotObtained, StatementFailed, Unsettled
from whimbrel.events import Listener, Warned
from whimbrel.execution import leftovers
from whimbrel.execution.removal import drop_index
from whimbrel.execution.task import Task
from whimbrel.history import journal
from whimbrel.history.journal import Entry, Place
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


def settle(
    connection: Connection,
    task: Task,
    number: int,
    statement: Statement,
    emit: Listener,
    on_idle: Callable[[], None] | None = None,
) -> str | None:
    """Decide what became of a statement that was started and not finished.

    Returns the reason why it counts as done, or None where it is to be run again: what it left behind is then removed.
    Raises Unsettled, with the evidence, where that cannot be told, and LockNotObtained where somebody else works on the
    table for longer than one waits for the lock. `on_idle` is that of a Pipeline, and may raise LockNotObtained.
    """
    concurrent = find_concurrent(statement.sql)
    if concurrent is not None and concurrent.operation is Operation.REPEATABLE:
        return None
    reason: str | None = None
    evidence: str | None = _NOTHING
    if concurrent is not None:
        with _positioned(task, statement):
            reason, evidence = _look(connection, task, number, statement, concurrent, _patience(task, emit, on_idle))
    if evidence is None:
        return reason
    raise Unsettled(
        f"statement {number} was started and not seen to end",
        detail=evidence,
        hint=f"Look, then say: whimbrel resolve {task.step.version} --done, or --retry to run it again.",
        position=task.step.script.position(statement),
    )


_NOTHING = "It may have been done, wholly or in part; nothing in the catalog tells."


def _patience(task: Task, emit: Listener, on_idle: Callable[[], None] | None = None) -> leftovers.Patience:
    return leftovers.Patience(seconds(task.config.lock_wait), emit, on_idle)


def _look(
    connection: Connection,
    task: Task,
    number: int,
    statement: Statement,
    concurrent: Concurrent,
    patience: leftovers.Patience,
) -> tuple[str | None, str | None]:
    """Return why a statement counts as done, None where it is to be run again, and why that cannot be told."""
    reason = evidence = None
    match concurrent.operation:
        case Operation.CREATE_INDEX:
            if concurrent.index:
                reason = _look_for_named(connection, concurrent, patience)
            else:
                reason, evidence = _look_for_unnamed(connection, task, number, statement, concurrent, patience)
        case Operation.DROP_INDEX:
            leftovers.wait_for_others(connection, concurrent, patience)
            reason = None if leftovers.relation_exists(connection, concurrent.target) else "the index is gone"
        case Operation.REINDEX_INDEX | Operation.REINDEX_TABLE | Operation.REINDEX_SCHEMA:
            _drop_copies(connection, concurrent, patience)
        case Operation.DETACH_PARTITION:
            leftovers.wait_for_others(connection, concurrent, patience)
            reason = leftovers.finish_detach(connection, concurrent)
        case Operation.CREATE_DATABASE:
            reason = "the database is there" if leftovers.database_exists(connection, concurrent.target) else None
        case Operation.DROP_DATABASE:
            reason = None if leftovers.database_exists(connection, concurrent.target) else "the database is gone"
        case Operation.REPEATABLE:
            pass
        case _:
            assert_never(concurrent.operation)
    return reason, evidence


def _look_for_named(connection: Connection, concurrent: Concurrent, patience: leftovers.Patience) -> str | None:
    left = leftovers.find_abandoned(connection, concurrent, patience)
    found = leftovers.find_index(connection, concurrent.target, concurrent.index)
    if found is not None and found[1]:
        return "the index is there and valid"
    for index in left:
        drop_index(connection, index, patience.on_idle)
    return None


def _look_for_unnamed(
    connection: Connection,
    task: Task,
    number: int,
    statement: Statement,
    concurrent: Concurrent,
    patience: leftovers.Patience,
) -> tuple[str | None, str | None]:
    leftovers.wait_for_others(connection, concurrent, patience)
    place = Place(task.step.version, task.step.direction, number)
    begun = leftovers.find_begun(connection, concurrent, statement.sql, journal.age_of(task.config, place))
    invalid = [index for index, is_valid in begun if not is_valid]
    # Beside an invalid one a valid one is somebody else's.
    left = invalid or [index for index, _ in begun]
    if len(left) > 1:
        names = ", ".join(index.name for index in left)
        return None, f"It gives its index no name, and any of these may be what it left: {names}."
    if left and not invalid:
        return f"index {left[0].name} is there and valid", None
    for index in invalid:
        drop_index(connection, index, patience.on_idle)
    return None, None


def _drop_copies(connection: Connection, concurrent: Concurrent, patience: leftovers.Patience) -> None:
    """Drop what a REINDEX left; of a TOAST table only where this role may, since nothing but space depends on it."""
    for index in leftovers.find_abandoned(connection, concurrent, patience):
        try:
            drop_index(connection, index, patience.on_idle)
        except psycopg.errors.InsufficientPrivilege:
            if index.schema != "pg_toast":
                raise
            patience.emit(
                Warned(
                    f"an interrupted REINDEX left an invalid index, which this role may not drop; it takes space until"
                    f" a superuser does: DROP INDEX CONCURRENTLY {index.label};"
                )
            )


def find_passed_over(connection: Connection, task: Task, statement: Statement) -> StatementFailed | None:
    """Return the error for a CREATE INDEX CONCURRENTLY that ended well and has not left a valid index.

    That is what IF NOT EXISTS does where the name is taken, be it by an invalid index.
    """
    concurrent = find_concurrent(statement.sql)
    if concurrent is None or concurrent.operation is not Operation.CREATE_INDEX or not concurrent.index:
        return None
    found = leftovers.find_index(connection, concurrent.target, concurrent.index)
    if found is not None and found[1]:
        return None
    index = concurrent.index
    if found is None:
        return StatementFailed(
            f'index "{index}" was not built: the name belongs to something else',
            detail=f"IF NOT EXISTS looks at the name only, and table {concurrent.target} has no such index.",
            hint="Give the index another name.",
            position=task.step.script.position(statement),
        )
    return StatementFailed(
        f'index "{index}" is invalid',
        detail="A build of it was interrupted earlier, and IF NOT EXISTS passes over what that left.",
        hint=f"Drop it and run the command again: DROP INDEX CONCURRENTLY {found[0].label};",
        position=task.step.script.position(statement),
    )


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


def wait_for_others(connection: Connection, task: Task, statement: Statement, emit: Listener) -> None:
    """Wait, before a statement of the CONCURRENTLY kind, for those whom it would meet in a deadlock."""
    concurrent = find_concurrent(statement.sql)
    if concurrent is not None and concurrent.operation in _CONCURRENT:
        with _positioned(task, statement):
            leftovers.wait_for_others(connection, concurrent, _patience(task, emit))


@contextmanager
def _positioned(task: Task, statement: Statement) -> Generator[None]:
    try:
        yield
    except LockNotObtained as error:
        error.position = task.step.script.position(statement)
        raise


def is_undone_by_error(statement: Statement, sqlstate: str | None) -> bool:
    """Whether a statement that the server refused with an error is known to have left nothing behind."""
    concurrent = find_concurrent(statement.sql)
    if concurrent is not None and concurrent.operation in _CONCURRENT:
        return sqlstate is not None and sqlstate.startswith(_REFUSALS)
    return concurrent is not None or not _MAY_COMMIT.search(statement.sql)

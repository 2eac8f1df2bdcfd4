"""What a concurrent statement that has just failed left behind: removed at once, or named."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg

from whimbrel.database import Connection
from whimbrel.errors import LockNotObtained
from whimbrel.events import Listener
from whimbrel.execution import leftovers
from whimbrel.execution.leftovers import Index, Patience
from whimbrel.execution.removal import drop_index_in_time
from whimbrel.execution.task import Task
from whimbrel.history import journal
from whimbrel.history.journal import Place
from whimbrel.statements import Statement
from whimbrel.statements.concurrent import Concurrent, Operation, find_concurrent

_BUILDS = frozenset(
    {Operation.CREATE_INDEX, Operation.REINDEX_INDEX, Operation.REINDEX_TABLE, Operation.REINDEX_SCHEMA}
)
# How much of the time may be spent on looking whether somebody else works on the table.
_LOOKING = 0.3


@dataclass(frozen=True, slots=True)
class Before:
    """A concurrent statement, what it works on, and which invalid indexes were there before it."""

    statement: Statement
    concurrent: Concurrent
    indexes: frozenset[Index] = frozenset()


@dataclass(frozen=True, slots=True)
class Remains:
    """What became of a failed statement's leftovers. `is_clean`: nothing of it remains, as if it had never been sent.

    `told` are sentences for people, empty where there is nothing to be told.
    """

    is_clean: bool
    told: str


def look_before(connection: Connection, task: Task, place: Place, statement: Statement) -> Before | None:
    """Look at what is there before a statement; None for one that is none of the CONCURRENTLY kind.

    `place` is journalled by then.
    """
    concurrent = find_concurrent(statement.sql)
    if concurrent is None:
        return None
    before = Before(statement, concurrent)
    if concurrent.operation not in _BUILDS:
        return before
    return replace(before, indexes=frozenset(_find_invalid(connection, task, place, before)))


def clear(connection: Connection, task: Task, place: Place, before: Before, seconds: float, emit: Listener) -> Remains:
    """Drop the invalid indexes that a failed statement left, within some seconds; of other statements tell only.

    Never drops what was there before the statement, nor anything while somebody else works on the table. The statement
    is journalled as started. What is not dropped now is found in the next run by `recovery.settle`.
    """
    concurrent = before.concurrent
    if concurrent.operation not in _BUILDS:
        return Remains(is_clean=False, told=_tell_other(connection, concurrent))
    deadline = time.monotonic() + seconds
    left = _find_left(connection, task, place, before)
    if not left:
        return Remains(is_clean=not _is_done(connection, task, place, before), told="")
    if len(left) > 1 and concurrent.operation is Operation.CREATE_INDEX:
        return Remains(is_clean=False, told=_tell_left(left))
    kept: list[Index] = []
    try:
        leftovers.wait_for_others(connection, concurrent, Patience(seconds * _LOOKING, emit))
        # What has come up in between may be somebody else's.
        left = [index for index in _find_left(connection, task, place, before) if index in left]
        kept = [index for index in left if not _drop(connection, index, deadline - time.monotonic())]
    except LockNotObtained:
        kept = left
    if kept:
        return Remains(is_clean=False, told=_tell_left(kept))
    dropped = ", ".join(index.label for index in left)
    return Remains(is_clean=True, told=f"The invalid index that it left was dropped: {dropped}." if left else "")


def _find_invalid(connection: Connection, task: Task, place: Place, before: Before) -> list[Index]:
    if before.concurrent.operation is Operation.CREATE_INDEX and not before.concurrent.index:
        return [index for index, is_valid in _find_begun(connection, task, place, before) if not is_valid]
    return leftovers.find_invalid(connection, before.concurrent)


def _find_begun(connection: Connection, task: Task, place: Place, before: Before) -> list[tuple[Index, bool]]:
    started = journal.age_of(task.config, place)
    return leftovers.find_begun(connection, before.concurrent, before.statement.sql, started)


def _find_left(connection: Connection, task: Task, place: Place, before: Before) -> list[Index]:
    return [index for index in _find_invalid(connection, task, place, before) if index not in before.indexes]


def _is_done(connection: Connection, task: Task, place: Place, before: Before) -> bool:
    """Whether an index may have been built: the error came too late to undo it."""
    concurrent = before.concurrent
    if concurrent.operation is not Operation.CREATE_INDEX:
        return False
    if concurrent.index:
        found = leftovers.find_index(connection, concurrent.target, concurrent.index)
        return found is not None and found[0] not in before.indexes
    return any(index not in before.indexes for index, _ in _find_begun(connection, task, place, before))


def _drop(connection: Connection, index: Index, seconds: float) -> bool:
    if seconds <= 0:
        return False
    try:
        drop_index_in_time(connection, index, seconds)
    except psycopg.Error:
        # Be it a lack of time or of rights: what is left is told.
        return False
    return True


def _tell_left(indexes: Sequence[Index]) -> str:
    names = ", ".join(index.label for index in indexes)
    drops = " ".join(f"DROP INDEX CONCURRENTLY {index.label};" for index in indexes)
    one = len(indexes) == 1
    return (
        f"{'An invalid index was' if one else 'Invalid indexes were'} left: {names}. No query uses"
        f" {'it, and it costs' if one else 'them, and they cost'} writes until {'it is' if one else 'they are'} gone."
        f" The next run removes {'it' if one else 'them'}; by hand: {drops}"
    )


def _tell_other(connection: Connection, concurrent: Concurrent) -> str:
    match concurrent.operation:
        case Operation.DROP_INDEX:
            row = connection.execute(
                "SELECT indisvalid FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass(%s)",
                [concurrent.target],
            ).fetchone()
            if row is None:
                return "The index is gone."
            if row[0]:
                return "The index is there and valid."
            return "The index is invalid by now: no query uses it, and it costs writes until the next run drops it."
        case Operation.DETACH_PARTITION:
            if leftovers.is_detach_pending(connection, concurrent):
                return "The detach is pending: no rows go to the partition any more. The next run finishes it."
            return ""
        case _:
            return ""

"""A migration that cannot run in a transaction: statement by statement, journalling each."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from datetime import timedelta

from whimbrel.database import Connection
from whimbrel.errors import WhimbrelError
from whimbrel.events import Listener, StatementSkipped, StepAdvanced, StepFinished, StepStarted
from whimbrel.execution import recovery
from whimbrel.execution.budget import find_bound
from whimbrel.execution.guard import SessionGuard
from whimbrel.execution.journalling import Journalling
from whimbrel.execution.task import Task
from whimbrel.execution.watch import Watch
from whimbrel.history import journal
from whimbrel.history.journal import Place
from whimbrel.interruption import deferred
from whimbrel.plan import Step

# What changes the session and not the database: a later run has to do it again.
_SESSION = re.compile(rb"(?:set|reset)\b|select\s+(?:pg_catalog\s*\.\s*)?set_config\b", re.IGNORECASE)


def run(
    connection: Connection,
    task: Task,
    emit: Listener,
    on_finished: Callable[[Step], None],
    guard: SessionGuard,
    reconnect: Callable[[], Connection] | None = None,
) -> tuple[Task, WhimbrelError] | None:
    """Run one autocommit task, going on where an interrupted run of it ended; return it with the error, if any.

    A statement that may run in a transaction shares one with its journal row: it is done and journalled, or neither.
    The others are journalled as started before and as finished after; one that was started and not finished is settled
    by `recovery`. The history row and the end of the journal are one transaction. Each transaction, and each statement
    outside one just before, looks whether the session is still that of `guard`. `reconnect` opens the connection from
    which a long statement is watched; without one it has no budget for its waiting.
    """
    # Looked at often enough for a short budget.
    bound = find_bound(task)
    often = max(bound / 2, 0.1) if bound else 2.0
    with Watch(reconnect, guard.process, task.step, emit, after=min(1.0, often), every=min(2.0, often)) as watch:
        return _run(Journalling(connection, task, guard, emit, watch), on_finished)


def _run(statements: Journalling, on_finished: Callable[[Step], None]) -> tuple[Task, WhimbrelError] | None:
    connection, task, emit = statements.connection, statements.task, statements.emit
    started = time.monotonic()
    started_at = recovery.server_time(connection)
    emit(StepStarted(task.step, task.outline.statements, is_transactional=False))
    entries = journal.read_journal(connection, task.config, task.step.version, task.step.direction)
    for number, statement in enumerate(task.statements(), 1):
        place = Place(task.step.version, task.step.direction, number)
        checksum = f"sha256:{hashlib.sha256(statement.sql).hexdigest()}"
        entry = entries.get(number)
        reason = None
        if entry is not None:
            recovery.check_unchanged(task, entry, number, statement, checksum)
            reason = "done before" if entry.is_finished else statements.settle(number, statement)
        if reason is None:
            failure = statements.run_statement(place, statement, checksum)
            if failure is not None:
                return task, failure
            emit(StepAdvanced(task.step, number, task.outline.statements))
        else:
            if entry is not None and not entry.is_finished:
                statements.write([journal.mark_finished(task.config, place, checksum)])
            elif _SESSION.match(statement.sql):
                connection.execute(statement.sql)
            emit(StatementSkipped(task.step, number, reason))
    with deferred():
        failure = statements.record(started_at)
        if failure is not None:
            return task, failure
        on_finished(task.step)
    emit(StepFinished(task.step, timedelta(seconds=time.monotonic() - started)))
    return None

"""A migration that cannot run in a transaction: statement by statement, journalling each."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from psycopg import sql
from psycopg.pq.abc import PGresult

from whimbrel import database, history
from whimbrel.database import Connection
from whimbrel.errors import StatementFailed, WhimbrelError
from whimbrel.events import Listener, StatementSkipped, StepAdvanced, StepFinished, StepStarted
from whimbrel.execution import recovery
from whimbrel.execution.task import Task
from whimbrel.execution.transaction import restore
from whimbrel.history import Record
from whimbrel.pipeline import Pipeline
from whimbrel.plan import Step
from whimbrel.statements import Kind, Statement

# What may commit by itself, and so cannot share a transaction with its journal row.
_BARE = re.compile(rb"(?:call|do)\b", re.IGNORECASE)


def run(
    connection: Connection, task: Task, emit: Listener, on_finished: Callable[[Step], None]
) -> tuple[Task, WhimbrelError] | None:
    """Run one autocommit task, going on where an interrupted run of it ended; return it with the error, if any.

    A statement that may run in a transaction shares one with its journal row: it is done and journalled, or neither.
    The others are journalled as started before and as finished after; one that was started and not finished is settled
    by `recovery`. The history row and the end of the journal are one transaction.
    """
    started = time.monotonic()
    started_at = recovery.server_time(connection)
    emit(StepStarted(task.step, task.outline.statements, is_transactional=False))
    journal = recovery.read_journal(connection, task)
    for number, statement in enumerate(task.statements(), 1):
        checksum = f"sha256:{hashlib.sha256(statement.sql).hexdigest()}"
        entry = journal.get(number)
        if entry is not None:
            recovery.check_unchanged(task, entry, number, statement, checksum)
            reason = "done before" if entry.is_finished else recovery.settle(connection, task, number, statement)
            if reason is not None:
                if not entry.is_finished:
                    connection.execute(_finish_statement(task), [task.step.version, _direction(task), number])
                emit(StatementSkipped(task.step, number, reason))
                continue
        failure = _run_statement(connection, task, number, statement, checksum)
        if failure is not None:
            return task, failure
        emit(StepAdvanced(task.step, number, task.outline.statements))
    failure = _record(connection, task, started_at)
    if failure is not None:
        return task, failure
    on_finished(task.step)
    emit(StepFinished(task.step, timedelta(seconds=time.monotonic() - started)))
    return None


def _run_statement(
    connection: Connection, task: Task, number: int, statement: Statement, checksum: str
) -> WhimbrelError | None:
    is_bare = statement.kind is Kind.AUTOCOMMIT or (
        not task.outline.annotations.transaction and _BARE.match(statement.sql) is not None
    )
    values = [
        str(task.step.version).encode(),
        _direction(task).encode(),
        str(number).encode(),
        checksum.encode(),
    ]
    own = task.settings()
    if is_bare:
        # A lock timeout would leave an invalid index behind; CONCURRENTLY waits without blocking anybody.
        own["lock_timeout"] = "0"
    with Pipeline[Statement | None](connection, _ignore_result) as pipeline:
        if is_bare:
            pipeline.send(None, *database.settings_statement(own))
            pipeline.send(None, _start_statement(task), values)
            pipeline.finish()
            if pipeline.failure is None:
                pipeline.send(statement, statement.sql)
        else:
            pipeline.send(None, b"BEGIN")
            pipeline.send(None, *database.settings_statement(own))
            pipeline.send(None, _start_statement(task), values)
            if statement.kind is Kind.COPY_IN:
                pipeline.copy_in(statement, statement.sql, task.step.script.copy_data(statement))
            else:
                pipeline.send(statement, statement.sql)
            pipeline.send(None, b"RESET SESSION AUTHORIZATION")
            pipeline.send(None, _finish_sql(task), values[:3])
            pipeline.send(None, b"COMMIT")
        failure = pipeline.finish()
    if failure is not None:
        recovery.roll_back(connection)
        if is_bare and recovery.is_undone_by_error(statement):
            connection.execute(_forget_statement(task), [task.step.version, _direction(task), number])
        return task.error(failure[1], failure[0])
    if not is_bare:
        return None
    problem = recovery.find_invalid_index(connection, statement)
    if problem is not None:
        return StatementFailed(
            f'index "{problem}" is invalid',
            detail="A build of it was interrupted earlier, and IF NOT EXISTS passes over what that left.",
            hint=f"Drop it and run the command again: DROP INDEX CONCURRENTLY {problem};",
            position=task.step.script.position(statement),
        )
    connection.execute(_finish_statement(task), [task.step.version, _direction(task), number])
    return None


def _record(connection: Connection, task: Task, started_at: datetime) -> WhimbrelError | None:
    before, after = task.records(started_at)
    resets = [Record(text, tuple(values)) for text, values in restore(task, connection.info.server_version)]
    journal = Record(
        b"DELETE FROM " + history.quoted(task.config, "_journal") + b" WHERE version = $1::bigint AND direction = $2",
        (str(task.step.version).encode(), _direction(task).encode()),
    )
    diagnostic = history.write(connection, [*resets, *before, *after, journal])
    return task.error(diagnostic, None) if diagnostic is not None else None


def _ignore_result(tag: Statement | None, result: PGresult) -> None:
    del tag, result


def _direction(task: Task) -> str:
    return task.step.direction.value


def _start_statement(task: Task) -> bytes:
    return (
        b"INSERT INTO "
        + history.quoted(task.config, "_journal")
        + b" AS j (version, direction, statement, checksum) VALUES ($1::bigint, $2, $3::integer, $4)"
        b" ON CONFLICT (version, direction, statement) DO UPDATE"
        b" SET checksum = excluded.checksum, started_at = excluded.started_at, finished_at = NULL"
    )


def _finish_sql(task: Task) -> bytes:
    return (
        b"UPDATE " + history.quoted(task.config, "_journal") + b" SET finished_at = clock_timestamp()"
        b" WHERE version = $1::bigint AND direction = $2 AND statement = $3::integer"
    )


def _finish_statement(task: Task) -> sql.Composed:
    return sql.SQL(
        "UPDATE {} SET finished_at = clock_timestamp() WHERE version = %s AND direction = %s AND statement = %s"
    ).format(history.identifier(task.config, "_journal"))


def _forget_statement(task: Task) -> sql.Composed:
    return sql.SQL("DELETE FROM {} WHERE version = %s AND direction = %s AND statement = %s").format(
        history.identifier(task.config, "_journal")
    )

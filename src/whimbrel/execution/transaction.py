"""Transactional migrations, each with its history row in one transaction, several of them in one pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import Enum
from typing import TypeAlias

from psycopg.pq.abc import PGresult

from whimbrel import database, history
from whimbrel.database import Connection
from whimbrel.errors import WhimbrelError
from whimbrel.events import Listener, StepAdvanced, StepFinished, StepStarted
from whimbrel.execution import recovery
from whimbrel.execution.task import Task
from whimbrel.pipeline import Pipeline
from whimbrel.plan import Step
from whimbrel.statements import Kind, Statement

# How often progress within a step is told, in seconds.
PROGRESS_INTERVAL = 0.1


class _Part(Enum):
    BEGIN = "begin"
    SETTING = "setting"
    STATEMENT = "statement"
    RECORD = "record"
    COMMIT = "commit"


_Tag: TypeAlias = tuple[Task, _Part, Statement | None]


class _Progress:
    """Turns results into events."""

    def __init__(self, emit: Listener, on_finished: Callable[[Step], None]) -> None:
        self.emit = emit
        self.on_finished = on_finished
        self.done = 0
        self.started = self.told = 0.0
        self.duration: timedelta | None = None

    def take(self, tag: _Tag, result: PGresult) -> None:
        task, part, _ = tag
        if part is _Part.BEGIN:
            self.done = 0
            self.duration = None
            self.started = self.told = time.monotonic()
            self.emit(StepStarted(task.step, task.outline.statements, is_transactional=True))
        elif part is _Part.STATEMENT:
            self.done += 1
            if self.done & 15 == 0 and time.monotonic() - self.told > PROGRESS_INTERVAL:
                self.told = time.monotonic()
                self.emit(StepAdvanced(task.step, self.done, task.outline.statements))
        elif part is _Part.RECORD:
            # The server's own measure: results of a batch come here together, long after the statements ran.
            if result.ntuples:
                self.duration = timedelta(milliseconds=float(result.get_value(0, 0) or b"0"))
        elif part is _Part.COMMIT:
            self.on_finished(task.step)
            self.emit(StepFinished(task.step, self.duration or timedelta(seconds=time.monotonic() - self.started)))


def run(
    connection: Connection, tasks: Sequence[Task], emit: Listener, on_finished: Callable[[Step], None]
) -> tuple[Task, WhimbrelError] | None:
    """Run transactional tasks in one pipeline; return the one that failed, if any.

    `on_finished` is called for a step when its COMMIT is confirmed. The tasks before the one that failed are committed,
    it is rolled back, and nothing behind it has run.
    """
    return _run(connection, tasks, emit, on_finished, rehearsed=False)


def rehearse(
    connection: Connection, tasks: Sequence[Task], emit: Listener, on_finished: Callable[[Step], None]
) -> tuple[Task, WhimbrelError] | None:
    """Run transactional tasks in one transaction that is rolled back; return the one that failed, if any."""
    connection.execute("BEGIN")
    try:
        # A file that records itself needs the table.
        history.ensure_history(connection, tasks[0].config)
        return _run(connection, tasks, emit, on_finished, rehearsed=True)
    finally:
        recovery.roll_back(connection)


def _run(
    connection: Connection,
    tasks: Sequence[Task],
    emit: Listener,
    on_finished: Callable[[Step], None],
    *,
    rehearsed: bool,
) -> tuple[Task, WhimbrelError] | None:
    progress = _Progress(emit, on_finished)
    try:
        with Pipeline[_Tag](connection, progress.take) as pipeline:
            for task in tasks:
                _send(pipeline, task, connection.info.server_version, rehearsed=rehearsed)
                if pipeline.failure is not None:
                    break
                pipeline.flush()
            failure = pipeline.finish()
    finally:
        if not rehearsed:
            recovery.roll_back(connection)
    if failure is None:
        return None
    (task, _, statement), diagnostic = failure
    return task, task.error(diagnostic, statement)


def _send(pipeline: Pipeline[_Tag], task: Task, version: int, *, rehearsed: bool) -> None:
    before, after = task.records()
    pipeline.send((task, _Part.BEGIN, None), b"SELECT" if rehearsed else b"BEGIN")
    # Or its result, which says that the step has begun, would come with those of the whole step.
    pipeline.request_flush()
    pipeline.send((task, _Part.SETTING, None), *database.settings_statement(task.settings(), local=True))
    for record in before if not rehearsed else ():
        pipeline.send((task, _Part.SETTING, None), record.sql, record.parameters)
    for statement in task.statements():
        if pipeline.failure is not None:
            return
        tag = (task, _Part.STATEMENT, statement)
        if statement.kind is Kind.COPY_IN:
            pipeline.copy_in(tag, statement.sql, task.step.script.copy_data(statement))
        else:
            pipeline.send(tag, statement.sql)
    # What a migration sets must not reach its own record, nor the next migration.
    for sql, parameters in restore(task, version):
        pipeline.send((task, _Part.SETTING, None), sql, parameters)
    if rehearsed:
        # As a COMMIT would, and as the next transaction would begin.
        pipeline.send((task, _Part.SETTING, None), b"SET CONSTRAINTS ALL IMMEDIATE")
        pipeline.send((task, _Part.COMMIT, None), b"SET CONSTRAINTS ALL DEFERRED")
        return
    for record in after:
        pipeline.send((task, _Part.RECORD, None), record.sql, record.parameters)
    pipeline.send((task, _Part.COMMIT, None), b"COMMIT")


def restore(task: Task, version: int) -> list[tuple[bytes, list[bytes]]]:
    """Return the statements that give the session back the settings and the role that it began with."""
    return [
        (b"RESET ALL", []),
        # Also undoes SET ROLE, which RESET ALL does not.
        (b"RESET SESSION AUTHORIZATION", []),
        database.settings_statement(database.settings(task.config, version)),
    ]

"""Transactional migrations, each with its history row in one transaction, several of them in one pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from enum import Enum
from typing import TypeAlias

from psycopg import pq
from psycopg.pq.abc import PGresult

from whimbrel import database, history
from whimbrel.database import Connection
from whimbrel.durations import seconds
from whimbrel.errors import WhimbrelError
from whimbrel.events import Listener, StepAdvanced, StepFinished, StepStarted
from whimbrel.execution.guard import REFUSED, Guard, Obstacle, SessionGuard, Stopped, TransactionGuard
from whimbrel.execution.restoration import FLUSH, KEPT, leave, restore
from whimbrel.execution.retry import LADDER, Attempt
from whimbrel.execution.task import Task
from whimbrel.execution.watch import Watch
from whimbrel.pipeline import SIGNAL_INTERVAL, UNKNOWN_PREPARED, Pipeline
from whimbrel.plan import Step
from whimbrel.statements import Kind, Statement

# How often progress within a step is told, in seconds.
PROGRESS_INTERVAL = 0.1


class _Part(Enum):
    BEGIN = "begin"
    # The two that fail by themselves where the transaction must not go on.
    LOCK = "lock"
    CHECK = "check"
    KEPT = "kept"
    SETTING = "setting"
    STATEMENT = "statement"
    RECORD = "record"
    COMMIT = "commit"


_Tag: TypeAlias = tuple[Task, _Part, Statement | None]
# A task with how it asks for its locks.
Tried: TypeAlias = tuple[Task, Attempt]


class _Progress:
    """Turns results into events."""

    def __init__(self, emit: Listener, on_finished: Callable[[Step], None], *, is_repeating: bool) -> None:
        self.is_repeating = is_repeating
        self.emit = emit
        self.on_finished = on_finished
        self.process = 0
        self.kept: dict[str, str] | None = None
        self.done = 0
        self.started = self.told = 0.0
        self.duration: timedelta | None = None

    def take(self, tag: _Tag, result: PGresult) -> None:
        task, part, _ = tag
        if part is _Part.KEPT:
            cells = [[result.get_value(row, column) or b"" for column in (0, 1)] for row in range(result.ntuples)]
            self.kept = {name.decode(): bytes.fromhex(value.decode()).decode() for name, value in cells}
        elif part in (_Part.BEGIN, _Part.CHECK):
            if part is _Part.CHECK:
                self.process = int(result.get_value(0, 0) or b"0")
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
    connection: Connection,
    tasks: Sequence[Tried],
    emit: Listener,
    on_finished: Callable[[Step], None],
    guard: Guard,
    watch: Watch | None = None,
) -> tuple[Task, WhimbrelError] | None:
    """Run transactional tasks in one pipeline; return the one that failed, if any.

    `on_finished` is called for a step when its COMMIT is confirmed. The tasks before the one that failed are committed,
    it is rolled back, and nothing behind it has run. Raises Stopped where a TransactionGuard lets one not begin.
    `watch` looks on while nothing arrives.
    """
    # Behind a pooler of transactions the session, with what was prepared in it, is somebody else's next.
    is_repeating = isinstance(guard, SessionGuard) and len(tasks) > 1
    try:
        return _run(connection, tasks, emit, on_finished, guard, watch, is_repeating=is_repeating)
    except _Deallocated as gone:
        place = next(place for place, (task, _) in enumerate(tasks) if task is gone.task)
        return _run(connection, tasks[place:], emit, on_finished, guard, watch)


def _only_timeout(task: Task) -> float:
    """Return how long a rehearsal waits for a lock: what is locked stays so to its end, and nothing is tried again."""
    configured = task.outline.annotations.lock_timeout or task.config.lock_timeout
    return LADDER[-1] if configured == "auto" else seconds(configured)


class _Deallocated(Exception):
    """A migration deallocated what was prepared for the next; it is rolled back, and nothing behind it has run."""

    def __init__(self, task: Task) -> None:
        self.task = task
        super().__init__(task.label)


def rehearse(
    connection: Connection, tasks: Sequence[Task], emit: Listener, on_finished: Callable[[Step], None]
) -> tuple[Task, WhimbrelError] | None:
    """Run transactional tasks in one transaction that is rolled back; return the one that failed, if any.

    In a transaction block that is open it is that one.
    """
    if connection.info.transaction_status == pq.TransactionStatus.IDLE:
        connection.execute("BEGIN")
    try:
        # A file that records itself needs the table.
        history.ensure_history(connection, tasks[0].config)
        tried = [(task, Attempt(_only_timeout(task))) for task in tasks]
        return _run(connection, tried, emit, on_finished, None)
    finally:
        database.roll_back(connection)


def _run(
    connection: Connection,
    tasks: Sequence[Tried],
    emit: Listener,
    on_finished: Callable[[Step], None],
    guard: Guard | None,
    watch: Watch | None = None,
    *,
    is_repeating: bool = False,
) -> tuple[Task, WhimbrelError] | None:
    progress = _Progress(emit, on_finished, is_repeating=is_repeating)
    try:
        look, interval = (watch.look, watch.interval) if watch is not None else (None, SIGNAL_INTERVAL)
        with Pipeline[_Tag](connection, progress.take, look, interval) as pipeline:
            for tried in tasks:
                _send(pipeline, tried, connection.info.server_version, guard, progress)
                if pipeline.failure is not None:
                    break
                pipeline.flush()
            for statement in FLUSH if progress.kept is not None else ():
                pipeline.send((tasks[-1][0], _Part.SETTING, None), statement)
            failure = pipeline.finish()
    finally:
        if isinstance(guard, TransactionGuard):
            guard.process = progress.process or guard.process
        if guard is not None:
            database.roll_back(connection)
    if failure is None:
        return None
    (task, part, statement), diagnostic = failure
    if is_repeating and statement is None and diagnostic.sqlstate == UNKNOWN_PREPARED:
        raise _Deallocated(task)
    if diagnostic.sqlstate == REFUSED and part in (_Part.LOCK, _Part.CHECK):
        if isinstance(guard, SessionGuard):
            return task, database.swapped(guard.process)
        raise Stopped(Obstacle.HELD if part is _Part.LOCK else Obstacle.OVERTAKEN)
    return task, task.error(diagnostic, statement)


def _begin(pipeline: Pipeline[_Tag], tried: Tried, version: int, guard: Guard | None, progress: _Progress) -> None:
    task, attempt = tried
    own = task.settings() | {"lock_timeout": milliseconds(attempt.timeout)}
    if not isinstance(guard, TransactionGuard):
        pipeline.send((task, _Part.BEGIN, None), b"SELECT" if guard is None else b"BEGIN")
        # Or its result, which says that the step has begun, would come with those of the whole step.
        pipeline.request_flush()
        process = guard.process if guard is not None else None
        statement = database.settings_statement(own, local=True, process=process)
        _send_own(pipeline, (task, _Part.LOCK, None), *statement, is_repeating=progress.is_repeating)
        for sql in displacement(attempt, own["statement_timeout"]):
            pipeline.send((task, _Part.SETTING, None), sql)
        return
    pipeline.send((task, _Part.SETTING, None), database.BEGIN)
    lock, check = guard.lock(task.config), guard.check(task.config)
    pipeline.send((task, _Part.LOCK, None), lock.sql, lock.parameters)
    if progress.kept is None:
        pipeline.send((task, _Part.KEPT, None), KEPT)
    pinned = database.settings(task.config, version) | own
    pipeline.send((task, _Part.SETTING, None), *database.settings_statement(pinned, local=True))
    pipeline.send((task, _Part.CHECK, None), check.sql, check.parameters)
    if progress.kept is None:
        # Up to the end of the pipeline the server process stays the same one: a pooler can change it only at a
        # synchronisation point outside a transaction.
        pipeline.finish()
    else:
        pipeline.request_flush()
    for sql in displacement(attempt, own["statement_timeout"]):
        pipeline.send((task, _Part.SETTING, None), sql)


def displacement(attempt: Attempt, statement_timeout: str) -> Iterator[bytes]:
    """Yield the statements that take the tables from autovacuum, to be sent first in the transaction.

    The server cancels it for whoever has waited for deadlock_timeout (ProcSleep in the source, 13 to 18). No reader and
    no writer queues behind this lock; behind a strong one that waited so long everybody would. The timeouts are then
    those of the attempt.
    """
    if not attempt.displaced:
        return
    yield f"SET LOCAL lock_timeout = {milliseconds(attempt.displacing)}".encode()
    # It is for the file's statements, and this is none.
    yield b"SET LOCAL statement_timeout = 0"
    for table in attempt.displaced:
        # The name comes quoted from the catalog.
        yield f"LOCK TABLE ONLY {table} IN SHARE UPDATE EXCLUSIVE MODE".encode()
    yield f"SET LOCAL lock_timeout = {milliseconds(attempt.timeout)}".encode()
    yield f"SET LOCAL statement_timeout = '{statement_timeout}'".encode()


def milliseconds(duration: float) -> str:
    """Return a duration in seconds as the value of a setting."""
    return str(round(duration * 1000))


def _send(pipeline: Pipeline[_Tag], tried: Tried, version: int, guard: Guard | None, progress: _Progress) -> None:
    task = tried[0]
    before, after = task.records()
    _begin(pipeline, tried, version, guard, progress)
    rehearsed = guard is None
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
    is_repeating = progress.is_repeating
    for sql, parameters in restore(task, version, local=progress.kept is not None):
        _send_own(pipeline, (task, _Part.SETTING, None), sql, parameters, is_repeating=is_repeating)
    if rehearsed:
        # As a COMMIT would, and as the next transaction would begin.
        pipeline.send((task, _Part.SETTING, None), b"SET CONSTRAINTS ALL IMMEDIATE")
        pipeline.send((task, _Part.COMMIT, None), b"SET CONSTRAINTS ALL DEFERRED")
        return
    for record in after:
        _send_own(pipeline, (task, _Part.RECORD, None), record.sql, record.parameters, is_repeating=is_repeating)
    for sql, parameters in leave(progress.kept) if progress.kept is not None else ():
        pipeline.send((task, _Part.SETTING, None), sql, parameters)
    pipeline.send((task, _Part.COMMIT, None), b"COMMIT")


def _send_own(
    pipeline: Pipeline[_Tag], tag: _Tag, sql: bytes, parameters: Sequence[bytes | None], *, is_repeating: bool
) -> None:
    """Send a statement that every migration of a batch has."""
    if is_repeating and parameters:
        pipeline.send_again(tag, sql, parameters)
    else:
        pipeline.send(tag, sql, parameters)

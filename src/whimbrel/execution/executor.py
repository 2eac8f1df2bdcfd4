"""Run a Plan step by step, emit Events, return a Result."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import psycopg
from psycopg import pq

from whimbrel import database, history
from whimbrel.config import Config
from whimbrel.database import Connection, explain
from whimbrel.errors import Interrupted, WhimbrelError
from whimbrel.events import Listener, RunFinished, ServerNotice, StepFailed, Warned
from whimbrel.execution.guard import Guard, Obstacle, SessionGuard, Stopped
from whimbrel.execution.opening import Session
from whimbrel.execution.task import Action, Task
from whimbrel.migration import outline
from whimbrel.plan import Plan, Step


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a plan: the steps that are committed, the one that failed, and those that were not begun.

    `failed_after` is how long the one that failed had run. `obstacle` is why the next step could not begin, where
    another run came between and this one has to plan again; the result of a whole run has none.
    """

    finished: tuple[Step, ...]
    failed: Step | None = None
    remaining: tuple[Step, ...] = ()
    error: WhimbrelError | None = None
    failed_after: timedelta | None = None
    obstacle: Obstacle | None = None


def prepare(plan: Plan, config: Config, action: Action, run: str) -> tuple[Task, ...]:
    """Read every script of a plan through, before the first statement is sent; `run` is the run's number in the log.

    Raises SourceError for the first file that cannot be run as it is.
    """
    return tuple(
        Task(step, action.of(step.direction), outline(step.script, step.version, config.history_name), config, run)
        for step in plan.steps
    )


def execute(session: Session, tasks: Sequence[Task], emit: Listener, guard: Guard) -> Result:
    """Run the tasks in order, up to the first that fails; the caller calls `conclude` at the end.

    `guard` is the session lock that the caller holds, or how each transaction takes the lock for itself; then all tasks
    have to be transactional.

    A transactional migration is committed together with its history row or not at all. Errors are the result's `error`.
    After an Interrupted, or a lost connection, the connection may be closed.
    """
    # A run with nothing to do needs none of them.
    from whimbrel.execution import attempts, autocommit
    from whimbrel.execution.claims import find_claims

    connection = session.connection
    finished: list[Step] = []
    since = time.monotonic()

    def finish(step: Step) -> None:
        nonlocal since
        finished.append(step)
        since = time.monotonic()

    failure: tuple[Task | None, WhimbrelError] | None = None
    batches: list[list[attempts.Claimed]] = []
    try:
        batches = attempts.batches(tasks, find_claims(connection, tasks))
    except (WhimbrelError, psycopg.Error, KeyboardInterrupt) as caught:
        failure = _current(tasks, finished), _told(caught)
    for batch in batches:
        try:
            if batch[0][0].outline.is_transactional:
                failure = attempts.run(session, batch, emit, finish, guard)
            else:
                assert isinstance(guard, SessionGuard)
                failure = autocommit.run(connection, batch[0][0], emit, finish, guard, session.reconnect)
        except Stopped as stopped:
            remaining = tuple(task.step for task in tasks[len(finished) :])
            return Result(tuple(finished), remaining=remaining, obstacle=stopped.obstacle)
        except (WhimbrelError, psycopg.Error, KeyboardInterrupt) as caught:
            failure = _current(tasks, finished), _told(caught)
        if failure is not None:
            break
    failed, error = failure or (None, None)
    remaining = tuple(task.step for task in tasks[len(finished) + (failed is not None) :])
    passed = timedelta(seconds=time.monotonic() - since) if failed is not None else None
    return Result(tuple(finished), failed.step if failed is not None else None, remaining, error, passed)


def _current(tasks: Sequence[Task], finished: Sequence[Step]) -> Task | None:
    """Return the task that was under way, None where a signal came when all was done."""
    return tasks[len(finished)] if len(finished) < len(tasks) else None


def _told(error: BaseException) -> WhimbrelError:
    if isinstance(error, WhimbrelError):
        return error
    return explain(error) if isinstance(error, psycopg.Error) else Interrupted(signal.SIGINT)


def conclude(connection: Connection, tasks: Sequence[Task], result: Result, started: float, emit: Listener) -> Result:
    """Log the attempt that failed, if one did, and tell how the run ended; return the result.

    `started` is time.monotonic() at the beginning of the run.
    """
    if result.error is not None and result.failed is not None:
        emit(StepFailed(result.failed, result.error))
        passed = result.failed_after or timedelta(0)
        _log_failure(connection, tasks[len(result.finished)], result.error, passed, emit)
    remaining = len(result.remaining) + (result.failed is not None)
    emit(RunFinished(len(result.finished), remaining, timedelta(seconds=time.monotonic() - started)))
    return result


@contextmanager
def notices(connection: Connection, config: Config, emit: Listener) -> Generator[None]:
    """Emit what the server says besides results while the block runs."""

    def tell(diagnostic: psycopg.errors.Diagnostic) -> None:
        # A file that can also be run by hand makes the history table; here it is always there already.
        if diagnostic.sqlstate == "42P07" and f'"{config.history_name}"' in (diagnostic.message_primary or ""):
            return
        emit(ServerNotice(diagnostic.severity_nonlocalized or "NOTICE", diagnostic.message_primary or ""))

    connection.add_notice_handler(tell)
    try:
        yield
    finally:
        connection.remove_notice_handler(tell)


def _log_failure(connection: Connection, task: Task, error: WhimbrelError, passed: timedelta, emit: Listener) -> None:
    if task.action is Action.SEED or connection.closed or connection.pgconn.status != pq.ConnStatus.OK:
        return
    try:
        database.abandon(connection)
        database.roll_back(connection)
        diagnostic = history.log_failure(
            connection,
            task.config,
            version=task.step.version,
            name=task.step.name,
            action=task.action.value,
            outcome="interrupted" if isinstance(error, Interrupted) else "failed",
            duration=passed,
            sqlstate=error.sqlstate,
            message=error.message,
            run=task.run,
        )
    except (WhimbrelError, psycopg.Error) as second:
        text = second.message if isinstance(second, WhimbrelError) else second.diag.message_primary or second
        emit(Warned(f"the failed attempt could not be logged: {text}"))
    else:
        if diagnostic is not None:
            emit(Warned(f"the failed attempt could not be logged: {diagnostic.message}"))

"""Run a Plan step by step, emit Events, return a Result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import pq

from whimbrel import history
from whimbrel.config import Config
from whimbrel.database import Connection
from whimbrel.errors import Interrupted, WhimbrelError
from whimbrel.events import Listener, RunFinished, StepFailed, Warned
from whimbrel.execution import autocommit, transaction
from whimbrel.execution.task import Action, Task
from whimbrel.migration import outline
from whimbrel.plan import Plan, Step


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a plan: the steps that are committed, the one that failed, and those that were not begun."""

    finished: tuple[Step, ...]
    failed: Step | None = None
    remaining: tuple[Step, ...] = ()
    error: WhimbrelError | None = None


def prepare(plan: Plan, config: Config, action: Action) -> tuple[Task, ...]:
    """Read every script of a plan through, before the first statement is sent.

    Raises SourceError for the first file that cannot be run as it is.
    """
    return tuple(
        Task(step, action.of(step.direction), outline(step.script, step.version, config.history_name), config)
        for step in plan.steps
    )


def execute(connection: Connection, tasks: Sequence[Task], emit: Listener) -> Result:
    """Run the tasks in order, up to the first that fails; the caller holds the lock.

    A transactional migration is committed together with its history row or not at all. Never raises WhimbrelError: it
    is the result's `error`. After an Interrupted, or a lost connection, the connection may be closed.
    """
    start = time.monotonic()
    finished: list[Step] = []
    started_at = datetime.now(UTC)
    error: WhimbrelError | None = None
    failed: Task | None = None
    for batch in _batches(tasks):
        started_at = datetime.now(UTC)
        try:
            failure = (
                transaction.run(connection, batch, emit, finished.append)
                if batch[0].outline.is_transactional
                else autocommit.run(connection, batch[0], emit, finished.append)
            )
        except WhimbrelError as caught:
            failure = tasks[len(finished)], caught
        except KeyboardInterrupt:
            failure = tasks[len(finished)], Interrupted(2)
        if failure is not None:
            failed, error = failure
            break
    if failed is not None and error is not None:
        emit(StepFailed(failed.step, error))
        _log_failure(connection, failed, error, started_at, emit)
    remaining = tuple(task.step for task in tasks[len(finished) + (failed is not None) :])
    emit(
        RunFinished(
            len(finished),
            len(remaining) + (failed is not None),
            timedelta(seconds=time.monotonic() - start),
        )
    )
    return Result(tuple(finished), failed.step if failed else None, remaining, error)


def _batches(tasks: Sequence[Task]) -> list[list[Task]]:
    """Put transactional tasks that follow each other together; an autocommit task stands alone."""
    batches: list[list[Task]] = []
    for task in tasks:
        if batches and task.outline.is_transactional and batches[-1][-1].outline.is_transactional:
            batches[-1].append(task)
        else:
            batches.append([task])
    return batches


def _log_failure(
    connection: Connection, task: Task, error: WhimbrelError, started_at: datetime, emit: Listener
) -> None:
    if task.action is Action.SEED or connection.closed or connection.pgconn.status != pq.ConnStatus.OK:
        return
    try:
        if connection.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
        history.log_failure(
            connection,
            task.config,
            version=task.step.version,
            name=task.step.name,
            action=task.action.value,
            outcome="interrupted" if isinstance(error, Interrupted) else "failed",
            started_at=started_at,
            sqlstate=error.sqlstate,
            message=error.message,
        )
    except psycopg.Error as second:
        emit(Warned(f"the failed attempt could not be logged: {second.diag.message_primary or second}"))

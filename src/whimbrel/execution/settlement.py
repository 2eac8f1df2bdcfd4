"""A connection that was lost in the middle of a run: find out what was committed, by looking."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace

from whimbrel import database, history
from whimbrel.database import Connection
from whimbrel.errors import ConnectionFailed, Interrupted, WhimbrelError
from whimbrel.events import Listener, Warned
from whimbrel.execution.executor import Result
from whimbrel.execution.guard import TransactionGuard
from whimbrel.execution.opening import Session
from whimbrel.execution.task import Task

# How long a server may take to come back, and the lost session to end, in seconds.
PATIENCE = 30.0


def settle(
    session: Session, tasks: Sequence[Task], result: Result, emit: Listener, guard: TransactionGuard | None = None
) -> Result:
    """Return the result with what the server really committed.

    A COMMIT whose answer was lost has happened or not: the log, which is written in the same transaction, tells. It is
    read on a new connection that holds the lock, so that the lost session is known to be gone. Where each transaction
    has a lock of its own, `guard` says whose end is waited for besides. `tasks` are all of the run, and the rows are
    those with its number. Where everything was committed, the result has no error.
    """
    if session.reconnect is None:
        return result
    try:
        with _reconnect(session) as connection:
            key = database.lock_key(session.config)
            if guard is not None:
                _wait_for_end(connection, guard.process)
            hold = database.hold_lock if guard is None else database.hold_transaction_lock
            with hold(connection, key, PATIENCE, emit):
                committed = history.successes_of(connection, session.config, session.run)
    except Interrupted:
        raise
    except WhimbrelError as error:
        emit(Warned(f"it could not be looked up what was committed: {error.message}"))
        return result
    done = 0
    for task, row in zip(tasks, committed, strict=False):
        if row != (task.step.version, task.action.value):
            break
        done += 1
    for task in tasks[len(result.finished) : done]:
        emit(Warned(f"{task.label} was committed; only the answer was lost"))
    steps = tuple(task.step for task in tasks)
    if done == len(tasks):
        return Result(steps)
    assert result.error is not None
    detail = f"{tasks[done].label} was not committed: nothing of it remains."
    if not tasks[done].outline.is_transactional:
        detail = f"{tasks[done].label} is not done: its statements are journalled."
    result.error.detail = detail
    return replace(result, finished=steps[:done], failed=steps[done], remaining=steps[done + 1 :])


def _wait_for_end(connection: Connection, process: int) -> None:
    """Wait until a server process has ended what it was sent: between two transactions it holds no lock, and goes on.

    Behind a pooler it may live on. It is idle only behind a synchronisation point, where the pipeline ends.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        found = connection.execute(
            "SELECT FROM pg_catalog.pg_stat_activity WHERE pid = %s AND state IS DISTINCT FROM 'idle'", [process]
        ).fetchone()
        if found is None:
            return
        if time.monotonic() > deadline:
            raise ConnectionFailed(f"server process {process} of the lost connection is still there")
        time.sleep(random.uniform(0.1, 0.3))  # noqa: S311


def _reconnect(session: Session) -> Connection:
    assert session.reconnect is not None
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return session.reconnect()
        except ConnectionFailed:
            if time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.2, 1.0))  # noqa: S311

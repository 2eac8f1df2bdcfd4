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
from whimbrel.execution.opening import Session
from whimbrel.execution.task import Task

# How long a server may take to come back, and the lost session to end, in seconds.
PATIENCE = 30.0


def settle(session: Session, tasks: Sequence[Task], result: Result, last_attempt: int, emit: Listener) -> Result:
    """Return the result with what the server really committed.

    A COMMIT whose answer was lost has happened or not: the log, which is written in the same transaction, tells. It is
    read on a new connection that holds the lock, so that the lost session is known to be gone. `last_attempt` is the
    log's newest row before the run. Where everything was committed, the result has no error.
    """
    if session.reconnect is None:
        return result
    try:
        with _reconnect(session) as connection:
            key = database.lock_key(session.config)
            with database.hold_lock(connection, key, PATIENCE, emit):
                committed = history.successes_after(connection, session.config, last_attempt)
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

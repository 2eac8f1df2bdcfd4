"""A statement in batches: one of a migration, or one that is run by itself over an address or an open connection."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import psycopg

from whimbrel import backfills, database
from whimbrel.annotations import Backfill
from whimbrel.backfills import Order, Origin, Progress, Terms
from whimbrel.config import Config, config_from
from whimbrel.database import Connection
from whimbrel.durations import seconds
from whimbrel.errors import (
    ConfigError,
    ConnectionFailed,
    SourceError,
    StatementFailed,
    Unsettled,
    WhimbrelError,
)
from whimbrel.events import Listener, Warned, ignore
from whimbrel.execution.executor import notices
from whimbrel.execution.opening import Session, open_session
from whimbrel.execution.ordering import read_order
from whimbrel.execution.startup import Database, session_on
from whimbrel.execution.task import Task
from whimbrel.history import Record, journal
from whimbrel.history.journal import Place
from whimbrel.pipeline import Diagnostic
from whimbrel.statements import Script, Statement


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What became of a backfill: `changed` rows in `walks` through the table and in `batches`.

    They are those of this run and of the ones that it went on from, `duration` is this run's.
    """

    table: str
    changed: int
    walks: int
    batches: int
    duration: timedelta


def run_statement(
    connection: Connection,
    task: Task,
    process: int,
    emit: Listener,
    place: Place,
    statement: Statement,
    checksum: str,
    asked: Backfill,
) -> WhimbrelError | None:
    """Run a migration's statement in batches, and journal that it is done; return the error, if any.

    `process` is the server process that holds the lock. Its first batch journals that it was started, in the same
    transaction.
    """
    budget = task.outline.annotations.lock_budget or task.config.lock_budget
    terms = Terms(
        connection,
        task.config,
        emit,
        lambda diagnostic, is_statement: _task_error(task, statement, diagnostic, is_statement=is_statement),
        seconds(budget),
        task.step,
        process,
        as_oneself=_sent(journal.as_oneself(task.config)),
        on_begin=_sent([journal.mark_started(task.config, place, checksum)]),
        on_finish=_sent([journal.mark_finished(task.config, place, checksum)]),
    )
    origin = Origin(place.version, place.direction.value, place.number)
    order = Order(statement.sql, origin, asked.table, asked.key, asked.batch)
    text, values = database.settings_statement(task.settings(), process=process)
    try:
        _execute(connection, text, values)
        backfills.run(terms, order)
    except (SourceError, Unsettled, StatementFailed) as error:
        if error.position is None:
            error.position = task.step.script.position(statement)
        return error
    return None


def backfill(
    statement: str | Path,
    database: Database,
    *,
    table: str | None = None,
    by: str | Sequence[str] | None = None,
    batch: int | str | None = None,
    max_lag: str = "5s",
    emit: Listener = ignore,
    **settings: str,
) -> Backfilled:
    """Run one UPDATE or DELETE in batches, each a transaction of its own, until it finds no row any more.

    `statement` is the SQL, or the Path of a file that holds it. `database` and `settings` are those of `migrate`.
    `table` is only checked: it has to be the one that the statement changes. `by` are the columns that the table is
    walked by, those of its primary key by default: "a, b" as SQL writes them, or a sequence of names. `batch` is a
    number of rows, or "auto". What is not given is what an annotation above the statement says. `max_lag` is how far a
    standby may lag behind before it waits, "0" for any. `emit` is called with each Event.

    After an error, or a kill, the same call goes on behind the last batch that was committed. With an address it
    connects again by itself when the connection is lost, for as long as `lock_budget` says. Raises a WhimbrelError.
    """
    script, only, order = read_order(statement, table=table, by=by, batch=batch, max_lag=max_lag)
    if isinstance(database, str):
        return run_order(config_from({**settings, "database": database}), script, only, order, emit)
    with session_on(database, settings) as session:
        return _run_in(session, script, only, order, emit, time.monotonic())


def run_order(config: Config, script: Script, statement: Statement, order: Order, emit: Listener) -> Backfilled:
    """Run a backfill on a configuration's database, connecting again when the connection is lost.

    `statement` is the one of `script`. Raises ConnectionFailed where there was no connection, or none again for as long
    as the lock budget says.
    """
    start = time.monotonic()
    patience = seconds(config.lock_budget)
    # When the connection was lost, None while there is one; and whether there ever was one.
    lost: float | None = None
    has_connected = False
    while True:
        try:
            with open_session(config) as session:
                if lost is not None:
                    emit(Warned("connected again: it goes on at the cursor"))
                lost, has_connected = None, True
                return _run_in(session, script, statement, order, emit, start)
        except ConnectionFailed as error:
            if not has_connected:
                raise
            now = time.monotonic()
            if lost is None:
                lost = now
                emit(Warned(f"{error.message}; trying to connect again"))
            if patience and now - lost > patience:
                raise
        time.sleep(random.uniform(0.2, 1.0))  # noqa: S311


def read_progress(session: Session) -> list[Progress]:
    """Return all backfills that were ever begun, newest first. Changes nothing."""
    return backfills.read_all(session.connection, session.config)


def _run_in(
    session: Session, script: Script, statement: Statement, order: Order, emit: Listener, start: float
) -> Backfilled:
    connection, config = session.connection, session.config
    session.refuse_replica()
    if session.locks_transactions:
        raise ConfigError(
            'a backfill cannot run with lock = "transaction"',
            detail="Nothing would hold its lock between two batches.",
            hint='Give the address that goes around the pooler, direct_url = "postgresql://…" or DIRECT_URL.',
        )
    session.look_for_pooler()
    pinned = database.settings(config, connection.info.server_version)
    pinned["application_name"] = f"whimbrel: backfill {order.origin.file or ''}".strip()[:63]
    _execute(connection, *database.settings_statement(pinned, process=session.process))

    def error(diagnostic: Diagnostic, is_statement: bool) -> WhimbrelError:
        return _failure(script, statement, diagnostic, is_statement=is_statement)

    terms = Terms(connection, config, emit, error, seconds(config.lock_budget), process=session.process)
    key, wait = backfills.lock_key(config, order), seconds(config.lock_wait)
    with database.hold_lock(connection, key, wait, emit, session.process), notices(connection, config, emit):
        try:
            done = backfills.run(terms, order)
        except (SourceError, Unsettled, StatementFailed) as failure:
            if failure.position is None:
                failure.position = script.position(statement)
            raise
    return Backfilled(done.table, done.changed, done.walk, done.batches, timedelta(seconds=time.monotonic() - start))


def _execute(connection: Connection, text: bytes, values: Iterable[bytes]) -> None:
    psycopg.RawCursor(connection).execute(text, [value.decode() for value in values])


def _sent(records: Iterable[Record]) -> tuple[tuple[bytes, Sequence[bytes | None]], ...]:
    return tuple((record.sql, record.parameters) for record in records)


def _task_error(task: Task, statement: Statement, diagnostic: Diagnostic, *, is_statement: bool) -> WhimbrelError:
    return task.error(_within(diagnostic, statement), statement if is_statement else None)


def _failure(script: Script, statement: Statement, diagnostic: Diagnostic, *, is_statement: bool) -> WhimbrelError:
    index = _within(diagnostic, statement).index or 0
    return StatementFailed(
        diagnostic.message,
        sqlstate=diagnostic.sqlstate,
        detail=diagnostic.detail,
        hint=diagnostic.hint,
        context=diagnostic.context,
        position=script.position(statement, index if is_statement else 0),
    )


def _within(diagnostic: Diagnostic, statement: Statement) -> Diagnostic:
    """Return what the server says with a place in the statement as it is in the file: more was added at its end."""
    if diagnostic.index is not None and diagnostic.index >= len(statement.sql.decode()):
        return replace(diagnostic, index=None)
    return diagnostic

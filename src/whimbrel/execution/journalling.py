"""One statement of a migration that cannot run in a transaction: run and journalled, tried again, cleaned up after."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import psycopg
from psycopg.pq.abc import PGresult

from whimbrel import database, history
from whimbrel.database import Connection
from whimbrel.errors import Interrupted, LockNotObtained, WhimbrelError
from whimbrel.events import Listener, Warned
from whimbrel.execution import recovery, remains
from whimbrel.execution.budget import Budget
from whimbrel.execution.claims import claim
from whimbrel.execution.guard import REFUSED, SessionGuard
from whimbrel.execution.ladder import Ladder
from whimbrel.execution.restoration import restore
from whimbrel.execution.retry import LOCK_NOT_AVAILABLE, RETRIED, Attempt
from whimbrel.execution.task import Task
from whimbrel.execution.transaction import displacement, milliseconds
from whimbrel.execution.watch import Watch
from whimbrel.history import Record, journal
from whimbrel.history.journal import Place
from whimbrel.migration import backfill_of
from whimbrel.pipeline import Diagnostic, Pipeline
from whimbrel.statements import Kind, Statement

# What may commit by itself, and so cannot share a transaction with its journal row.
_MAY_COMMIT = re.compile(rb"(?:call|do)\b", re.IGNORECASE)
_IN_TRANSACTION_BLOCK = "25001"

# How long what a failed statement left is tried to be removed, in seconds; a person who presses Ctrl-C waits less long.
CLEARING = 3.0
CLEARING_INTERRUPTED = 2.5

# What a result belongs to: a statement of the script, the look whether the session is still the same, or neither.
_Tag: TypeAlias = Statement | SessionGuard | None


@dataclass(frozen=True, slots=True)
class Journalling:
    """One run of a task: in which session, and who is told."""

    connection: Connection
    task: Task
    guard: SessionGuard
    emit: Listener
    watch: Watch

    def settle(self, number: int, statement: Statement) -> str | None:
        if backfill_of(self.task.step.script, statement) is not None:
            # Its cursor tells how far it is.
            return None
        self.watch.begin(statement.sql)
        budget = Budget(self.task, statement, self.watch)
        return recovery.settle(self.connection, self.task, number, statement, self.emit, budget.look)

    def run_statement(self, place: Place, statement: Statement, checksum: str) -> WhimbrelError | None:
        backfill = backfill_of(self.task.step.script, statement)
        if backfill is not None:
            # Few files have one.
            from whimbrel.execution import backfilling

            return backfilling.run_statement(
                self.connection, self.task, self.guard.process, self.emit, place, statement, checksum, backfill
            )
        asks_for_autocommit = not self.task.outline.annotations.transaction
        if statement.kind is Kind.AUTOCOMMIT or (asks_for_autocommit and _MAY_COMMIT.match(statement.sql)):
            return self._run_alone(place, statement, checksum)
        failure = self._run_with_journal(place, statement, checksum)
        if failure is None:
            return None
        if asks_for_autocommit and failure[0] is statement and failure[1].sqlstate == _IN_TRANSACTION_BLOCK:
            # The server knows better than the grammar; nothing was done yet.
            return self._run_alone(place, statement, checksum)
        return self._error(failure)

    def _error(self, failure: tuple[_Tag, Diagnostic]) -> WhimbrelError:
        tag, diagnostic = failure
        if tag is self.guard and diagnostic.sqlstate == REFUSED:
            return database.swapped(self.guard.process)
        return self.task.error(diagnostic, tag if isinstance(tag, Statement) else None)

    def _ladder(self, statement: Statement) -> Ladder:
        return Ladder(self.connection, self.task, claim(self.connection, statement), self.emit)

    def _run_with_journal(self, place: Place, statement: Statement, checksum: str) -> tuple[_Tag, Diagnostic] | None:
        ladder = self._ladder(statement)
        self.watch.begin(statement.sql)
        while True:
            failure = self._try_with_journal(place, statement, checksum, ladder.begin())
            if failure is None or failure[1].sqlstate not in RETRIED:
                return failure
            ladder.fail(self._error(failure), self.watch.blockers)
            self.watch.begin(statement.sql, is_brief=ladder.is_blind)

    def _try_with_journal(
        self, place: Place, statement: Statement, checksum: str, attempt: Attempt
    ) -> tuple[_Tag, Diagnostic] | None:
        own = self.task.settings() | {"lock_timeout": milliseconds(attempt.timeout)}
        with Pipeline[_Tag](self.connection, _ignore_result, self.watch.look, self.watch.interval) as pipeline:
            pipeline.send(None, b"BEGIN")
            pipeline.send(self.guard, *database.settings_statement(own, process=self.guard.process))
            for sql in displacement(attempt, own["statement_timeout"]):
                pipeline.send(None, sql)
            if statement.kind is Kind.COPY_IN:
                pipeline.copy_in(statement, statement.sql, self.task.step.script.copy_data(statement))
            else:
                pipeline.send(statement, statement.sql)
            for record in (
                *journal.as_oneself(self.task.config),
                journal.mark_finished(self.task.config, place, checksum),
            ):
                pipeline.send(None, record.sql, record.parameters)
            pipeline.send(None, b"COMMIT")
            failure = pipeline.finish()
        database.roll_back(self.connection)
        return failure

    def _run_alone(self, place: Place, statement: Statement, checksum: str) -> WhimbrelError | None:
        if not recovery.is_undone_by_error(statement, LOCK_NOT_AVAILABLE):
            return self._try_alone(place, statement, checksum, None)
        ladder = self._ladder(statement)
        while True:
            error = self._try_alone(place, statement, checksum, ladder.begin())
            if error is None or error.sqlstate not in RETRIED:
                return error
            ladder.fail(error, self.watch.blockers)

    def _try_alone(
        self, place: Place, statement: Statement, checksum: str, attempt: Attempt | None
    ) -> WhimbrelError | None:
        recovery.wait_for_others(self.connection, self.task, statement, self.emit)
        own = self.task.settings()
        look = self.watch.look
        if attempt is not None:
            # There is no transaction in which an autovacuum could be made to give way first.
            own["lock_timeout"] = milliseconds(max(attempt.timeout, attempt.displacing))
        if recovery.waits_without_blocking(statement):
            look = Budget(self.task, statement, self.watch).look
            if self.task.outline.annotations.lock_timeout is None:
                # It stands in nobody's way while it waits, and a timeout would leave an invalid index behind.
                own["lock_timeout"] = "0"
        self.write([journal.mark_started(self.task.config, place, checksum)])
        before = remains.look_before(self.connection, self.task, place, statement)
        self.watch.begin(statement.sql)
        done: list[_Tag] = []
        try:
            with Pipeline[_Tag](self.connection, lambda tag, _: done.append(tag), look) as pipeline:
                pipeline.send(self.guard, *database.settings_statement(own, process=self.guard.process))
                # Such a statement has to be the first behind a synchronisation point.
                pipeline.finish()
                pipeline.send(statement, statement.sql)
                failure = pipeline.finish()
        except (Interrupted, LockNotObtained) as error:
            # What was done before the cancellation came is done.
            if statement not in done or isinstance(error, Interrupted):
                self._clear(place, before, error, CLEARING_INTERRUPTED)
                raise
            failure = None
        if failure is not None:
            database.roll_back(self.connection)
            error = self._error(failure)
            if failure[0] is not statement:
                # It was not sent. Any session may say so, also another one than that with the lock.
                history.write(
                    self.connection, [*journal.as_oneself(self.task.config), journal.forget(self.task.config, place)]
                )
            elif recovery.is_undone_by_error(statement, failure[1].sqlstate):
                self.write([journal.forget(self.task.config, place)])
            else:
                self._clear(place, before, error, CLEARING)
            return error
        problem = recovery.find_passed_over(self.connection, self.task, statement)
        if problem is not None:
            # The statement did nothing, and the next run has to say so again.
            self.write([journal.forget(self.task.config, place)])
            return problem
        self.write([journal.mark_finished(self.task.config, place, checksum)])
        return None

    def _clear(self, place: Place, before: remains.Before | None, error: WhimbrelError, seconds: float) -> None:
        """Remove what a statement left that was sent and failed, and say in its error what became of that."""
        if before is None or self.connection.closed:
            return
        try:
            left = remains.clear(self.connection, self.task, place, before, seconds, self.emit)
            if left.is_clean:
                self.write([journal.forget(self.task.config, place)])
        except (psycopg.Error, WhimbrelError) as second:
            if isinstance(second, Interrupted):
                raise
            reason = second.message if isinstance(second, WhimbrelError) else second.diag.message_primary or second
            self.emit(Warned(f"it could not be looked up what the statement left: {reason}"))
            return
        error.detail = " ".join(filter(None, (_sentence(error.detail), left.told))) or None

    def write(self, records: Iterable[Record]) -> None:
        failure = self._write_guarded([*journal.as_oneself(self.task.config), *records])
        if failure is not None:
            raise failure

    def record(self, started_at: datetime) -> WhimbrelError | None:
        before, after = self.task.records(started_at)
        resets = [
            Record(text, tuple(values)) for text, values in restore(self.task, self.connection.info.server_version)
        ]
        return self._write_guarded([*resets, *before, *after])

    def _write_guarded(self, records: Iterable[Record]) -> WhimbrelError | None:
        check, values = database.settings_statement({}, process=self.guard.process)
        diagnostic = history.write(self.connection, [Record(check, tuple(values)), *records])
        if diagnostic is None:
            return None
        # Nothing else that is written divides anything.
        return self._error((self.guard if diagnostic.sqlstate == REFUSED else None, diagnostic))


def _sentence(text: str | None) -> str | None:
    return f"{text}." if text and text[-1] not in ".!?…" else text


def _ignore_result(tag: _Tag, result: PGresult) -> None:
    del tag, result

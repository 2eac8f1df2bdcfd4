"""Statements sent one behind the other without waiting for their results: libpq's pipeline mode, with bounds.

The server skips everything behind the first error up to the synchronisation point, which comes last: what was sent
behind a failed statement never runs (PostgreSQL 18 documentation, 53.2.4 Pipelining; seen alike on 13 to 18). Once the
failure is known nothing more is sent.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

from whimbrel.errors import ConnectionFailed, WhimbrelError
from whimbrel.interruption import check, deferred

T = TypeVar("T")

# What may be under way. Beyond it results are read first, so that neither side's memory grows with the work.
MAX_STATEMENTS = 2000
MAX_BYTES = 1024 * 1024
# How long a cancelled statement may take to end before the connection is cut instead, in seconds.
CANCEL_TIMEOUT = 5.0
# A signal is looked for this often while nothing arrives, in milliseconds.
SIGNAL_INTERVAL = 100

# What the server says of a prepared statement that is gone.
UNKNOWN_PREPARED = "26000"
# Before 17 libpq could not close one without an error if it is gone.
_CAN_CLOSE = pq.version() >= 170000
_GOOD = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """What the server says of an error. `index` is a 0-based character index into the statement's own text.

    `internal_query` and `internal_index` concern a statement inside a function or a DO block.
    """

    sqlstate: str | None
    message: str
    detail: str | None = None
    hint: str | None = None
    context: str | None = None
    index: int | None = None
    internal_query: str | None = None
    internal_index: int | None = None


class Pipeline(Generic[T]):
    """A context manager; inside it, statements are sent with a tag each, and results come to `on_result` in order.

    `on_result` is called for statements that succeed; the first that fails is `failure`, and none behind it succeeds.
    `on_idle` is called each time nothing has arrived for `interval` milliseconds; what it raises is an exception in the
    block. An exception in the block cancels what is running; the connection is then usable again, or closed.
    """

    def __init__(
        self,
        connection: psycopg.Connection[TupleRow],
        on_result: Callable[[T, PGresult], None],
        on_idle: Callable[[], None] | None = None,
        interval: int = SIGNAL_INTERVAL,
    ) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._on_result: Callable[[T, PGresult], None] = on_result
        self._on_idle = on_idle
        self._interval = interval
        self._deferral = ExitStack()
        # With each, its size in bytes, and whether its result is told.
        self._under_way: deque[tuple[T, int, bool]] = deque()
        self._bytes = 0
        self._poll = select.poll()
        # Synchronisation points sent and not yet answered.
        self._synchronisations = 0
        # The names that statements were prepared under, with the tag of the first that came.
        self._prepared: dict[bytes, tuple[bytes, T]] = {}
        self.failure: tuple[T, Diagnostic] | None = None

    def __enter__(self) -> Self:
        self._deferral.enter_context(deferred())
        self._pgconn.enter_pipeline_mode()
        self._pgconn.nonblocking = 1
        self._poll.register(self._pgconn.socket, select.POLLIN)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._pgconn.status != pq.ConnStatus.OK:
                return
            if kind is not None and not self._abandon():
                self._connection.close()
                return
            self._pgconn.exit_pipeline_mode()
            self._pgconn.nonblocking = 0
        finally:
            self._deferral.__exit__(kind, error, traceback)

    def send(self, tag: T, sql: bytes, parameters: Sequence[bytes | None] | None = None) -> None:
        """Send one statement, which has to be one and no COPY FROM stdin. Blocks while too much is under way.

        Behind a failure that is known nothing is sent any more: after a synchronisation point it would run.
        """
        if self.failure is not None:
            return
        try:
            self._pgconn.send_query_params(sql, parameters)
        except psycopg.OperationalError as error:
            raise _lost(error) from None
        self._count(tag, len(sql))

    def send_again(self, tag: T, sql: bytes, parameters: Sequence[bytes | None]) -> None:
        """Do as `send` for a statement that comes many times: the server parses and plans it once.

        Fails with UNKNOWN_PREPARED where something in between deallocated it.
        """
        if not _CAN_CLOSE:
            self.send(tag, sql, parameters)
            return
        if self.failure is not None:
            return
        try:
            if sql not in self._prepared:
                name = f"whimbrel_{len(self._prepared) + 1}".encode()
                self._pgconn.send_prepare(name, sql)
                self._prepared[sql] = name, tag
                self._under_way.append((tag, 0, False))
            self._pgconn.send_query_prepared(self._prepared[sql][0], parameters)
        except psycopg.OperationalError as error:
            raise _lost(error) from None
        self._count(tag, sum(len(each or b"") for each in parameters))

    def _count(self, tag: T, size: int) -> None:
        self._under_way.append((tag, size, True))
        self._bytes += size
        if len(self._under_way) >= MAX_STATEMENTS or self._bytes >= MAX_BYTES:
            self.request_flush()
            self.flush()
            # Down to a half, not to nothing: the server always has something to do.
            while len(self._under_way) > MAX_STATEMENTS // 2 or self._bytes > MAX_BYTES // 2:
                self._wait()

    def request_flush(self) -> None:
        """Ask the server to send the results of what was sent so far, and not to keep them until its buffer is full."""
        try:
            self._pgconn.send_flush_request()
        except psycopg.OperationalError as error:
            raise _lost(error) from None

    def flush(self) -> None:
        """Send what was queued and take the results that are here, without waiting."""
        try:
            self._pgconn.flush()
        except psycopg.OperationalError as error:
            raise _lost(error) from None
        if self._poll.poll(0):
            self._read()

    def finish(self) -> tuple[T, Diagnostic] | None:
        """End the batch with a synchronisation point, wait for all results, and return the failure, if any."""
        self._end()
        while self._synchronisations:
            self._wait()
        return self.failure

    def _end(self) -> None:
        self.synchronise()
        if not self._prepared:
            return
        # The session is given back without them; those that are gone already do no harm.
        try:
            for name, tag in self._prepared.values():
                self._pgconn.send_close_prepared(name)
                self._under_way.append((tag, 0, False))
        except psycopg.OperationalError as error:
            raise _lost(error) from None
        self._prepared.clear()
        self.synchronise()

    def synchronise(self) -> None:
        """Commit what was sent outside a transaction block, without waiting. What is sent next runs in any case."""
        try:
            self._pgconn.pipeline_sync()
        except psycopg.OperationalError as error:
            raise _lost(error) from None
        self._synchronisations += 1

    def copy_in(self, tag: T, sql: bytes, data: Iterable[bytes]) -> None:
        """Run a COPY … FROM stdin with its data, behind what was sent before and before what is sent next.

        Nothing happens if something failed before. An open transaction block stays open.
        """
        if self.finish() is not None:
            return
        self._pgconn.exit_pipeline_mode()
        try:
            self._pgconn.send_query(sql)
            result = self._next_result()
            if result is not None and result.status == pq.ExecStatus.COPY_IN:
                self._send_data(data)
                result = self._next_result()
            while (further := self._next_result()) is not None:
                result = further
        except psycopg.OperationalError as error:
            raise _lost(error) from None
        self._pgconn.enter_pipeline_mode()
        if result is None or result.status not in _GOOD:
            self.failure = (
                tag,
                diagnose(result) if result is not None else Diagnostic(None, "COPY did not end"),
            )
        else:
            self._on_result(tag, result)

    def _send_data(self, data: Iterable[bytes]) -> None:
        for piece in data:
            # 0: libpq's own buffer is full, so that the piece was not taken.
            while self._pgconn.put_copy_data(piece) == 0:
                self._wait_writable()
            self._wait_writable()
        while self._pgconn.put_copy_end() == 0:
            self._wait_writable()

    def _wait_writable(self) -> None:
        while self._pgconn.flush():
            self._poll.modify(self._pgconn.socket, select.POLLIN | select.POLLOUT)
            ready = self._poll.poll(self._interval)
            # An error that arrives in the middle has to be read, or the server would stop taking data.
            if any(event & select.POLLIN for _, event in ready):
                self._pgconn.consume_input()
            check()
            if not ready:
                self._idle()

    def _next_result(self) -> PGresult | None:
        while self._pgconn.flush() or self._pgconn.is_busy():
            self._poll.modify(self._pgconn.socket, select.POLLIN)
            ready = self._poll.poll(self._interval)
            if ready:
                self._pgconn.consume_input()
            check()
            if not ready:
                self._idle()
        return self._pgconn.get_result()

    def _abandon(self) -> bool:
        """Cancel what is running and read what is left of the batch; say whether that ended in time."""
        self._on_idle = None
        try:
            if self._pgconn.pipeline_status == pq.PipelineStatus.OFF:
                return False
            self._connection.cancel_safe(timeout=CANCEL_TIMEOUT)
            self._end()
            deadline = time.monotonic() + CANCEL_TIMEOUT
            while self._synchronisations and time.monotonic() < deadline:
                self._wait()
        except (psycopg.Error, WhimbrelError):
            return False
        return not self._synchronisations

    def _wait(self) -> None:
        try:
            unsent = self._pgconn.flush()
        except psycopg.OperationalError as error:
            raise _lost(error) from None
        self._poll.modify(self._pgconn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
        ready = self._poll.poll(self._interval)
        if ready:
            self._read()
        check()
        if not ready:
            self._idle()

    def _idle(self) -> None:
        if self._on_idle is not None:
            self._on_idle()

    def _read(self) -> None:
        try:
            self._pgconn.consume_input()
            # libpq ends each statement's results with a None; two of them in a row: there is nothing more.
            nones = 0
            while nones < 2 and not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    nones += 1
                else:
                    nones = 0
                    self._take(result)
        except psycopg.OperationalError as error:
            raise _lost(error) from None

    def _take(self, result: PGresult) -> None:
        status = result.status
        if status == pq.ExecStatus.PIPELINE_SYNC:
            self._synchronisations -= 1
            return
        diagnostic = diagnose(result) if status == pq.ExecStatus.FATAL_ERROR else None
        if diagnostic is not None:
            # FATAL is what the server says before it hangs up, be it that nothing is under way any more.
            severity = result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED)
            if severity in (b"FATAL", b"PANIC") or self._pgconn.status == pq.ConnStatus.BAD:
                raise _lost(diagnostic.message, diagnostic.sqlstate)
        tag, size, is_told = self._under_way.popleft()
        self._bytes -= size
        if diagnostic is not None:
            self.failure = self.failure or (tag, diagnostic)
        elif status in _GOOD and is_told:
            self._on_result(tag, result)


def diagnose(result: PGresult) -> Diagnostic:
    """Return what the server says of a failed result."""

    def text(field: pq.DiagnosticField) -> str | None:
        value = result.error_field(field)
        return value.decode(errors="replace") if value is not None else None

    def index(field: pq.DiagnosticField) -> int | None:
        value = text(field)
        return int(value) - 1 if value else None

    fields = pq.DiagnosticField
    return Diagnostic(
        text(fields.SQLSTATE),
        text(fields.MESSAGE_PRIMARY) or result.error_message.decode(errors="replace").strip(),
        text(fields.MESSAGE_DETAIL),
        text(fields.MESSAGE_HINT),
        text(fields.CONTEXT),
        index(fields.STATEMENT_POSITION),
        text(fields.INTERNAL_QUERY),
        index(fields.INTERNAL_POSITION),
    )


def _lost(error: Exception | str, sqlstate: str | None = None) -> ConnectionFailed:
    # libpq goes on to guess at the reasons.
    text = str(error).strip().splitlines()[0].strip()
    # An immediate shutdown, a crash of another backend, pg_terminate_backend: the server says goodbye first.
    reason = f" ({sqlstate})" if sqlstate else ""
    return ConnectionFailed(
        f"connection lost: {text}{reason}",
        detail="What was not committed is rolled back by the server.",
        hint="Run the same command again: it goes on where the last committed migration ended.",
    )

"""Other sessions' transactions that make a statement wait, one after the other, in each of its phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import psycopg

from tests.faults.bench import Bench, BenchError
from tests.faults.state import Connection

PATIENCE = 60.0


class Holds:
    """A context manager. Whatever is held is given back at its end, or by `release`."""

    def __init__(self, bench: Bench, dbname: str, statements: Sequence[str]) -> None:
        self._statements = statements
        self._observer = bench.connection(dbname)
        self._sessions = [bench.connection(dbname) for _ in statements]
        self._connections: list[Connection] = []
        self._held: Connection | None = None

    def __enter__(self) -> Self:
        self._looking = self._observer.__enter__()
        self._connections = [session.__enter__() for session in self._sessions]
        if self._connections:
            self._hold(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
        for session in (*self._sessions, self._observer):
            session.__exit__(None, None, None)

    def await_phase(self, phase: int, is_over: Callable[[], bool]) -> bool:
        """Wait until the tool waits for hold number `phase`, passing those before it; False if it ended instead."""
        for number in range(phase + 1):
            if not self._await_waiting(is_over):
                return False
            if number < phase:
                before = self._held
                self._hold(number + 1)
                assert before is not None
                before.execute("ROLLBACK")
        return True

    def release(self) -> None:
        """Give everything back. A server that was stopped has done so."""
        held, self._held = self._held, None
        if held is not None:
            with suppress(psycopg.OperationalError):
                held.execute("ROLLBACK")

    def is_waited_for(self) -> bool:
        """Whether a session of the tool waits for what is held now."""
        if self._held is None:
            return False
        row = self._looking.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '^whimbrel'"
            " AND wait_event_type = 'Lock' AND %s = ANY (pg_blocking_pids(pid))",
            [self._held.info.backend_pid],
        ).fetchone()
        return row is not None

    def _hold(self, number: int) -> None:
        connection = self._connections[number]
        # What waits for the tool, which waits for what is held, would wait for ever.
        connection.execute("SET lock_timeout = '10s'")
        connection.execute("BEGIN")
        connection.execute(self._statements[number].encode())
        self._held = connection

    def _await_waiting(self, is_over: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + PATIENCE
        while not self.is_waited_for():
            if is_over():
                return False
            if time.monotonic() > deadline:
                raise BenchError("the tool did not come to wait")
            time.sleep(0.01)
        return True

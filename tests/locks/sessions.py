"""Sessions of an application: a transaction that holds a lock, for as long as a test wants it to."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg.rows import TupleRow

Connection = psycopg.Connection[TupleRow]
APPLICATION = "report of app 7"


@dataclass
class Holder:
    """A session with an open transaction; `pid` is its server process. `is_busy` where a statement is under way."""

    connection: Connection
    pid: int
    is_busy: bool = False
    is_open: bool = field(default=True, init=False)

    def begin(self, statement: str) -> None:
        """Send a statement and do not wait for it."""
        self.connection.pgconn.send_query(statement.encode())
        self.is_busy = True

    def collect(self) -> str | None:
        """Wait for the statement that is under way; return the SQLSTATE if it failed."""
        found: str | None = None
        while (result := self.connection.pgconn.get_result()) is not None:
            state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
            found = state.decode() if state is not None else found
        self.is_busy = False
        return found

    def end(self) -> None:
        """Break off what is under way, and end the transaction."""
        if self.is_busy:
            self.connection.cancel_safe()
            self.collect()
        if self.is_open:
            self.connection.execute("ROLLBACK")
            self.is_open = False


@contextmanager
def holding(
    dsn: str, *statements: str, busy_with: str | None = None, application: str = APPLICATION
) -> Generator[Holder]:
    """Give a session whose transaction has run the statements, and is idle or busy with one more until it is ended."""
    with psycopg.connect(dsn, autocommit=True, application_name=application) as connection:
        holder = Holder(connection, connection.info.backend_pid)
        for statement in ("BEGIN", *statements):
            connection.execute(statement.encode())
        if busy_with is not None:
            holder.begin(busy_with)
        try:
            yield holder
        finally:
            if not connection.closed and not connection.broken:
                holder.end()

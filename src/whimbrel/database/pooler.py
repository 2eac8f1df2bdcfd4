"""A connection that another server process answers than the one it was made with: which kind of pooler is between?"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from contextlib import closing
from enum import Enum

import psycopg
from psycopg import pq

from whimbrel.database.connection import Connection, explain

# A single round sees transaction mode for certain on a quiet pooler, and every second time on a busy one.
ROUNDS = 10
# How long a pooler may leave a question unanswered before that counts as "no server is free", in seconds.
PATIENCE = 2.0


class Mode(Enum):
    """How long a client keeps the server process that works for it."""

    SESSION = "session"
    TRANSACTION = "transaction"
    STATEMENT = "statement"


def find_mode(connection: Connection, connect: Callable[[], Connection], rounds: int = ROUNDS) -> Mode:
    """Find out the mode of the pooler behind an idle connection; needs a second connection for a moment.

    TRANSACTION and STATEMENT are certain. SESSION means that nothing else was seen in `rounds` rounds: while the second
    connection is in a transaction, and so keeps its server process, the first one was always answered by its own.
    """
    with closing(connect()) as other:
        for _ in range(rounds):
            mine = _answers(connection)
            _ask(other, b"BEGIN")
            try:
                found = _look(connection, other, mine)
            except psycopg.OperationalError as error:
                # PgBouncer hangs up on whoever begins a transaction in statement mode.
                if "statement pooling" in str(error):
                    return Mode.STATEMENT
                raise explain(error) from None
            if found is Mode.SESSION:
                # The other one still waits for a server process.
                return found
            _drain(other)
            if other.info.transaction_status == pq.TransactionStatus.INTRANS:
                # Or the pooler would throw the server connection away when the client has gone.
                other.execute("ROLLBACK")
            if found is not None:
                return found
    return Mode.SESSION


def _look(connection: Connection, other: Connection, mine: int) -> Mode | None:
    """Compare who answers a connection and another one in a transaction; None where that is no proof of anything."""
    if not _is_answered([other], PATIENCE):
        # Its turn comes before what is asked now. If this is answered first, no server process had to be waited for.
        _ask(connection, _PROCESS)
        first = _is_answered([connection, other], None)
        if connection in first and other not in first:
            _drain(connection)
            return Mode.SESSION
        _drain(connection)
        return None
    _drain(other)
    if _answers(other) == mine:
        return Mode.TRANSACTION
    _ask(connection, _PROCESS)
    if not _is_answered([connection], PATIENCE):
        # It has to wait for a server process: it has none of its own.
        other.execute("ROLLBACK")
        _drain(connection)
        return Mode.TRANSACTION
    return Mode.TRANSACTION if _drain(connection) != mine else None


_PROCESS = b"SELECT pg_catalog.pg_backend_pid()"


def _answers(connection: Connection) -> int:
    _ask(connection, _PROCESS)
    return _drain(connection)


def _ask(connection: Connection, query: bytes) -> None:
    connection.pgconn.send_query(query)


def _is_answered(connections: Sequence[Connection], timeout: float | None) -> list[Connection]:
    """Wait for an answer to what was asked; return those connections that have one."""
    poll = select.poll()
    for each in connections:
        poll.register(each.pgconn.socket, select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll(timeout * 1000 if timeout is not None else None)}
    return [each for each in connections if each.pgconn.socket in ready]


def _drain(connection: Connection) -> int:
    """Read the answer to its end; return the number in it, 0 where there is none."""
    value = 0
    while connection.pgconn.is_busy():
        # Not in libpq, where a signal would be seen only when the answer is there.
        _is_answered([connection], None)
        connection.pgconn.consume_input()
    while (result := connection.pgconn.get_result()) is not None:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
        if result.ntuples:
            value = int(result.get_value(0, 0) or b"0")
    return value

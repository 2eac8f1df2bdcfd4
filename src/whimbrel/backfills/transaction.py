"""One transaction of a backfill: its bounds, what it sends, and what the server refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from psycopg.pq.abc import PGresult

from whimbrel import database
from whimbrel.config import Config
from whimbrel.database import Connection
from whimbrel.errors import WhimbrelError
from whimbrel.events import Listener
from whimbrel.pipeline import Diagnostic, Pipeline
from whimbrel.plan import Step

# How long a transaction waits for one lock, and how long a statement of it may run, in seconds.
LOCK_TIMEOUT, STATEMENT_TIMEOUT = 0.5, 5.0
# A client that is gone between two messages of a transaction must not keep its rows.
IDLE_TIMEOUT = "10s"

LOCK_NOT_AVAILABLE, DEADLOCK, CANCELLED = "55P03", "40P01", "57014"
DIVISION_BY_ZERO, INVALID_TEXT = "22012", "22P02"

# A statement with its parameters.
Sent = tuple[bytes, Sequence[bytes | None]]


@dataclass(frozen=True, slots=True)
class Terms:
    """In which session, and what goes with it.

    `process` is the server process that every transaction has to be in, None where that is of no importance.
    `as_oneself` is run before the cursor is written, in the same transaction; `on_begin` in that of this run's first
    batch, and `on_finish` in that which says that no row is left. `error` makes an error of what the server says; its
    second argument says whether that is about the statement itself. `budget` is how long it may get no further, in
    seconds, 0 for as long as it takes.
    """

    connection: Connection
    config: Config
    emit: Listener
    error: Callable[[Diagnostic, bool], WhimbrelError]
    budget: float
    step: Step | None = None
    process: int | None = None
    as_oneself: tuple[Sent, ...] = ()
    on_begin: tuple[Sent, ...] = ()
    on_finish: tuple[Sent, ...] = ()


class Part(Enum):
    """What is sent for what purpose."""

    OWN = "own"
    # Fails where another session answers.
    SETTING = "setting"
    STATEMENT = "statement"
    # Fails where the statement leaves rows that it finds.
    CHECK = "check"
    # Fails where somebody else has moved the cursor.
    CURSOR = "cursor"
    RESULT = "result"


Message = tuple[Part, bytes, Sequence[bytes | None]]


class Refused(Exception):
    """The server refused something after some seconds; the transaction is rolled back."""

    def __init__(self, part: Part, diagnostic: Diagnostic, passed: float) -> None:
        self.part = part
        self.diagnostic = diagnostic
        self.passed = passed
        super().__init__(diagnostic.message)

    @property
    def is_passing(self) -> bool:
        """Whether the same may succeed in a moment. What somebody cancelled by hand is not sent again."""
        if self.diagnostic.sqlstate == CANCELLED:
            return self.passed >= STATEMENT_TIMEOUT * 0.9
        return self.diagnostic.sqlstate in (LOCK_NOT_AVAILABLE, DEADLOCK)


def own(sent: Sequence[Sent]) -> list[Message]:
    """Return statements as messages of which nothing but success is expected."""
    return [(Part.OWN, text, values) for text, values in sent]


def run(
    terms: Terms,
    messages: Sequence[Message],
    take: Callable[[Part, PGresult], None],
    settings: Mapping[str, str] | None = None,
    conclude: Callable[[], list[Message]] | None = None,
) -> None:
    """Run a transaction; results come to `take`.

    `conclude` gives what depends on the results, and is sent in one go with the COMMIT. Raises Refused, and then the
    transaction is rolled back; ConnectionFailed, and then nobody knows whether it was committed.
    """
    pinned = {
        "lock_timeout": f"{LOCK_TIMEOUT * 1000:.0f}",
        "statement_timeout": f"{STATEMENT_TIMEOUT * 1000:.0f}",
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
        **(settings or {}),
    }
    text, values = database.settings_statement(pinned, local=True, process=terms.process)
    start = time.monotonic()
    try:
        with Pipeline[Part](terms.connection, take) as pipeline:
            pipeline.send(Part.OWN, database.BEGIN)
            pipeline.send(Part.SETTING, text, values)
            for message in messages:
                pipeline.send(*message)
            if conclude is not None and pipeline.finish() is None:
                for message in conclude():
                    pipeline.send(*message)
            pipeline.send(Part.OWN, b"COMMIT")
            failure = pipeline.finish()
    finally:
        if not terms.connection.closed:
            database.roll_back(terms.connection)
    if failure is not None:
        raise Refused(*failure, time.monotonic() - start)


def ignore_result(part: Part, result: PGresult) -> None:
    """Do nothing with a result."""
    del part, result

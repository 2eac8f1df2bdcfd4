"""What a transaction looks at before its first statement: is this still the session with the lock, is the lock free?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from whimbrel import database
from whimbrel.config import Config
from whimbrel.history import Record, quoted

# What the statements below fail with, by themselves: the server then skips everything behind them.
REFUSED = "22012"


class Obstacle(Enum):
    """Why a transaction did not begin."""

    HELD = "another run holds the lock"
    OVERTAKEN = "another run has changed the history"


@dataclass(frozen=True, slots=True)
class SessionGuard:
    """The lock belongs to the session of this server process, in which every transaction has to be."""

    process: int


@dataclass(slots=True)
class TransactionGuard:
    """Each transaction takes the lock, and looks whether the plan still holds.

    `newest` is the log's newest success that the plan knows of, None where the history is of no importance. `process`
    is the server process that worked last, 0 for none: a transaction of it may be under way after the connection is
    gone.
    """

    newest: int | None
    run: str
    process: int = 0

    def lock(self, config: Config) -> Record:
        """Return the statement that takes the lock or fails."""
        text, values = database.try_statement(database.lock_key(config))
        return Record(text, tuple(values))

    def check(self, config: Config) -> Record:
        """Return the statement that fails where another run has succeeded with something; its result is `process`.

        It is one of its own, behind the lock: a statement sees what was committed before it began.
        """
        if self.newest is None:
            return Record(b"SELECT pg_catalog.pg_backend_pid()", ())
        return Record(
            b"SELECT pg_catalog.pg_backend_pid() / CASE WHEN EXISTS (SELECT FROM "
            + quoted(config, "_log")
            + b" WHERE id > $1::bigint AND outcome = 'succeeded' AND run IS DISTINCT FROM $2::uuid) THEN 0 ELSE 1 END",
            (str(self.newest).encode(), self.run.encode()),
        )


Guard = SessionGuard | TransactionGuard


class Stopped(Exception):
    """A transaction did not begin: nothing of it was done, and nothing behind it."""

    def __init__(self, obstacle: Obstacle) -> None:
        self.obstacle = obstacle
        super().__init__(obstacle.value)

"""Which failures deserve another attempt, how long an attempt may wait for a lock, and when the next one comes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"
RETRIED = frozenset({LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED})

# In seconds. Nobody behind the waiting statement in the table's queue stands longer than that. On a busy table some ten
# times its usual transaction does (20 ms where those take 5 ms), and more buys nothing but with long transactions,
# behind which nobody queues.
LADDER = (0.05, 0.1, 0.2, 0.4, 0.8)
# Row locks are waited for without anybody queueing behind the table.
ROWS = (5.0,)
# A script too large to be looked through has one step.
UNKNOWN = (0.8,)
# Those who were held up have ten times as long to themselves: attempts take at most a tenth of the time.
PAUSE = 10.0
JITTER = 0.5


class Nature(Enum):
    """What a script asks of tables, as far as its text says."""

    # Strong locks on tables, or what the text does not tell, as in a DO block.
    TABLES = "tables"
    # Reads and writes rows and nothing else.
    ROWS = "rows"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each attempt may wait for a lock, the last for all further ones, and how long to go on trying; seconds.

    A timeout of 0 is none.
    """

    timeouts: tuple[float, ...]
    budget: float

    def timeout(self, rung: int) -> float:
        """Return how long an attempt may wait; `rung` counts from 0."""
        return self.timeouts[min(rung, len(self.timeouts) - 1)]


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a transaction asks for its locks: `timeout` in seconds, 0 for none.

    `displaced` are tables, quoted, whose autovacuum has to give way first; `displacing` is how long that may take.
    """

    timeout: float
    displaced: tuple[str, ...] = ()
    displacing: float = 0.0


def choose_timeouts(nature: Nature) -> tuple[float, ...]:
    """Return the timeouts for a script where none is configured."""
    return {Nature.TABLES: LADDER, Nature.ROWS: ROWS, Nature.UNKNOWN: UNKNOWN}[nature]


def pause_after(lasted: float, jitter: float) -> float:
    """Return how long to keep away after an attempt; `lasted` is its length, in seconds, `jitter` from 0 to 1."""
    return lasted * PAUSE * (1 + JITTER * jitter)

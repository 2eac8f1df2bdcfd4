"""What happens during a run, as frozen values. The engine emits them; the command line draws them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from whimbrel.errors import WhimbrelError
from whimbrel.plan import Plan, Step


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run with at least one step begins; `verb` is the command's name."""

    verb: str
    plan: Plan
    database: str
    server_version: str


@dataclass(frozen=True, slots=True)
class LockHeld:
    """Another session holds the lock, and the run waits for it; sent again every few seconds.

    `since` is when that session began, `age` how long ago that is by the server's clock: a run of whimbrel takes the
    lock at its beginning. `query` is without the texts in it, which may be secrets.
    """

    pid: int
    application: str
    client: str
    since: datetime | None
    age: timedelta | None
    query: str


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step's first statement was sent; `statements` is how many it has, `is_transactional` how it runs."""

    step: Step
    statements: int
    is_transactional: bool


@dataclass(frozen=True, slots=True)
class StepAdvanced:
    """`done` statements of the step have succeeded; sent from time to time."""

    step: Step
    done: int
    statements: int


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session that stands in the way; what this role may not see of it is empty or None.

    `relation` and `mode` are the lock that it holds, as in pg_locks ("AccessShareLock"), empty where the wait is for
    its transaction or snapshot. `state` is pg_stat_activity's ("idle in transaction"), "autovacuum" for a worker. `age`
    is its transaction's by the server's clock. `query` is without the texts in it, which may be secrets. A "prepared"
    transaction has no process, `pid` is 0, and `application` is its identifier.
    """

    pid: int
    application: str
    client: str
    state: str
    age: timedelta | None
    query: str
    relation: str = ""
    mode: str = ""
    is_autovacuum: bool = False
    # To prevent transaction ID wraparound: it does not give way.
    is_wraparound: bool = False


@dataclass(frozen=True, slots=True)
class LockAwaited:
    """A step waits for a lock on a table, outside its transaction: everything is as it was before the step.

    `attempt` counts from 1. `timeout` is how long that attempt has queued for the lock before it gave way; None where
    none was made, since somebody has the table for longer than that. `pause` is the time up to the next look, `budget`
    what is left of the time for trying.
    """

    step: Step
    attempt: int
    timeout: timedelta | None
    pause: timedelta
    budget: timedelta
    blockers: tuple[Blocker, ...]


@dataclass(frozen=True, slots=True)
class StatementRunning:
    """A statement runs for a while already; sent again every few seconds.

    `sql` is the statement without the texts in it, `phase` what the server says it is doing ("building index: scanning
    table"), `fraction` how far that phase is, from 0 to 1, and `remaining` an estimate of the phase's rest. `blockers`
    are those it waits for at the moment.
    """

    step: Step
    sql: str
    passed: timedelta
    phase: str | None = None
    fraction: float | None = None
    remaining: timedelta | None = None
    blockers: tuple[Blocker, ...] = ()


@dataclass(frozen=True, slots=True)
class BackfillAdvanced:
    """A backfill has committed another batch, or pauses; `step` is None outside a migration.

    `walked` of about `total` rows lie behind it, `changed` of them by this backfill. `batch` is the size of the next
    batch in rows, `rate` rows walked in a second without the pauses. `pause` is why it waits, None while it works.
    """

    step: Step | None
    table: str
    walked: int
    total: int
    changed: int
    batch: int
    rate: float
    remaining: timedelta | None
    pause: str | None = None


@dataclass(frozen=True, slots=True)
class StatementSkipped:
    """A statement of an interrupted autocommit migration was found to be done; `number` counts from 1."""

    step: Step
    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """The step is committed together with its record; in a rehearsal it has run and will be rolled back."""

    step: Step
    duration: timedelta


@dataclass(frozen=True, slots=True)
class StepFailed:
    """The step failed and, if it is transactional, was rolled back whole."""

    step: Step
    error: WhimbrelError


@dataclass(frozen=True, slots=True)
class ServerNotice:
    """The server sent a NOTICE or WARNING."""

    severity: str
    message: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that stops nothing and should be known."""

    message: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run is over, with or without an error."""

    applied: int
    remaining: int
    duration: timedelta


Event: TypeAlias = (
    RunStarted
    | LockHeld
    | StepStarted
    | StepAdvanced
    | LockAwaited
    | StatementRunning
    | BackfillAdvanced
    | StatementSkipped
    | StepFinished
    | StepFailed
    | ServerNotice
    | Warned
    | RunFinished
)
Listener: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Do nothing with an event."""
    del event

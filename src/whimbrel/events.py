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

"""A step of a plan, ready to run: its outline, what is recorded of it, and how its failure is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from whimbrel import database, history
from whimbrel.config import Config
from whimbrel.errors import LockNotObtained, StatementFailed, WhimbrelError
from whimbrel.execution.retry import LOCK_NOT_AVAILABLE
from whimbrel.history import Record
from whimbrel.migration import Direction, Outline, body
from whimbrel.pipeline import Diagnostic
from whimbrel.plan import Step
from whimbrel.statements import Statement

_EXTENSION = re.compile(r'extension "([^"]+)" is not available|could not open extension control file')


class Action(Enum):
    """What the log calls an attempt."""

    UP = "up"
    DOWN = "down"
    FORCE = "force"
    # Leaves no trace in the history.
    SEED = "seed"

    def of(self, direction: Direction) -> Action:
        """Return the action of one step of a run: a step down is a down, whatever the run is."""
        return Action.DOWN if direction is Direction.DOWN else self


@dataclass(frozen=True, slots=True)
class Task:
    """One script to run and to record. `run` is the number, a UUID, that the log gives all of a run's attempts."""

    step: Step
    action: Action
    outline: Outline
    config: Config
    run: str

    def statements(self) -> Iterator[Statement]:
        """Yield the statements to send."""
        return body(self.step.script, self.outline, self.config.history_name)

    @property
    def label(self) -> str:
        """The version and the name, as in the file name but for leading zeros; a seed has only the name."""
        return self.step.name if self.action is Action.SEED else f"{self.step.version}_{self.step.name}"

    def settings(self) -> dict[str, str]:
        """Return the settings that hold for this step alone, but for the lock timeouts of its attempts."""
        annotations = self.outline.annotations
        return {
            "application_name": f"whimbrel: {self.label}"[:63],
            "lock_timeout": database.session_timeout(annotations.lock_timeout or self.config.lock_timeout),
            "statement_timeout": annotations.statement_timeout or self.config.statement_timeout,
        }

    def records(self, started_at: datetime | None = None) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
        """Return what is written to the history before the script and after it, in the same transaction.

        `started_at` is the server's time at which the script began, if that was in an earlier transaction.
        """
        if self.action is Action.SEED:
            return (), (history.measure(),)
        if self.action is Action.DOWN:
            return (), (
                history.record_undone(self.config, self.step.version, self.step.name, started_at, run=self.run),
            )
        assert self.step.migration is not None
        before = (history.remove_record(self.config, self.step.version),) if self.action is Action.FORCE else ()
        after = [history.record_applied(self.config, self.step.migration, self.action.value, started_at, run=self.run)]
        if self.step.applied is not None and self.step.applied.ordinal is not None:
            # What is run again keeps its place: down goes backwards through the order of the first time.
            after.append(history.keep_ordinal(self.config, self.step.version, self.step.applied.ordinal))
        return before, tuple(after)

    def error(self, diagnostic: Diagnostic, statement: Statement | None) -> WhimbrelError:
        """Return the error for what the server said of one of the script's statements, or of its record or COMMIT."""
        script = self.step.script
        position = script.position(statement, diagnostic.index or 0) if statement is not None else None
        message = diagnostic.message
        if statement is None:
            message = f"{script.path}: {message}"
        if diagnostic.sqlstate == LOCK_NOT_AVAILABLE:
            return LockNotObtained(
                message,
                sqlstate=diagnostic.sqlstate,
                detail=(
                    "The migration was rolled back; everything is as it was."
                    if self.outline.is_transactional
                    else "The statements before this one are done and journalled; the next run goes on with this one."
                ),
                hint="Another transaction holds the table. Run the command again, or wait longer: --lock-timeout 30s",
                context=_context(diagnostic),
                position=position,
            )
        return StatementFailed(
            message,
            sqlstate=diagnostic.sqlstate,
            detail=diagnostic.detail,
            hint=_extension_hint() if _EXTENSION.search(message) else diagnostic.hint,
            context=_context(diagnostic),
            position=position,
        )


def _extension_hint() -> str:
    from whimbrel.cluster import EXTENSION_HINT

    return EXTENSION_HINT


def _context(diagnostic: Diagnostic) -> str | None:
    lines: list[str] = []
    if diagnostic.internal_query is not None:
        before = diagnostic.internal_query[: diagnostic.internal_index or 0]
        line = before.count("\n") + 1
        text = diagnostic.internal_query.splitlines()[line - 1].strip() if diagnostic.internal_query.strip() else ""
        lines.append(f"in the query: {text}")
    if diagnostic.context:
        lines.append(diagnostic.context)
    return "\n".join(lines) or None

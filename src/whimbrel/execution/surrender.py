"""The errors of a step that does not get its locks: what it waited for, who has it, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from whimbrel.durations import show_duration
from whimbrel.errors import LockNotObtained, WhimbrelError
from whimbrel.events import Blocker
from whimbrel.execution.blockers import advise, tell_blockers
from whimbrel.execution.claims import Claims
from whimbrel.execution.retry import LOCK_NOT_AVAILABLE
from whimbrel.execution.task import Task

_VACUUM_PROGRESS = "SELECT * FROM pg_stat_progress_vacuum WHERE pid ="


@dataclass(frozen=True, slots=True)
class Surrender:
    """What is known of a step that gives up: `error` is what its last attempt ended with, if there was one."""

    task: Task
    claims: Claims
    error: WhimbrelError | None
    blockers: Sequence[Blocker]

    def after(self, attempts: int, passed: float) -> LockNotObtained:
        """Return the error for a step whose time is over; `passed` is how long it tried, in seconds."""
        within = f" within {show_duration(timedelta(seconds=passed))}" if passed else ""
        made = f", in {attempts} attempts" if attempts > 1 else ""
        tables = self._tables()
        where = f" on {' and '.join(tables)}" if tables else ""
        return self._error(f"lock{where} not obtained{within}{made}", advise(self.blockers))

    def before_vacuum(self) -> LockNotObtained:
        """Return the error for a step whose table has an autovacuum that gives way to nobody."""
        is_sure = any(each.is_wraparound for each in self.blockers)
        what = "is vacuumed to prevent transaction ID wraparound" if is_sure else "is vacuumed and not let go"
        return self._error(
            f"table {self.blockers[0].relation} {what}",
            "Let it finish and run the command again: the server cancels such a vacuum for nobody."
            f"\n      How far it is: {_VACUUM_PROGRESS} {self.blockers[0].pid};",
        )

    def _tables(self) -> list[str]:
        seen = [each.relation for each in self.blockers if each.relation]
        return list(dict.fromkeys(seen or [lock.relation.replace('"', "") for lock in self.claims.locks]))[:3]

    def _error(self, message: str, hint: str) -> LockNotObtained:
        script = self.task.step.script
        position = self.error.position if self.error is not None else None
        if position is None and self.claims.statement is not None:
            position = script.position(self.claims.statement)
        kept = "The migration was rolled back; everything is as it was."
        if not self.task.outline.is_transactional:
            kept = "The statements before this one are done and journalled; the next run goes on with this one."
        return LockNotObtained(
            message if position is not None else f"{script.path}: {message}",
            sqlstate=self.error.sqlstate if self.error is not None else LOCK_NOT_AVAILABLE,
            detail=tell_blockers(self.blockers) + kept,
            hint=hint,
            position=position,
            context=self.error.context if self.error is not None else None,
        )

"""How long a concurrent statement may wait for other transactions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from whimbrel.durations import seconds, show_duration
from whimbrel.errors import LockNotObtained
from whimbrel.execution.blockers import advise, tell_blockers
from whimbrel.execution.task import Task
from whimbrel.execution.watch import Watch
from whimbrel.statements import Statement


def find_bound(task: Task) -> float:
    """Return how long a task's statements may wait, in seconds, 0 for any time."""
    return seconds(task.outline.annotations.lock_budget or task.config.lock_budget)


@dataclass(frozen=True, slots=True)
class Budget:
    """The time for waiting that a statement has, and the Watch that counts it. A build that works uses nothing of it.

    Without a bound where the configuration says "0", and where the Watch has no connection of its own.
    """

    task: Task
    statement: Statement
    watch: Watch

    def look(self) -> None:
        """Look at the statement; raises LockNotObtained when its time is over, without having cancelled anything."""
        self.watch.look()
        bound = find_bound(self.task)
        if not bound or self.watch.waited < bound:
            return
        blockers = self.watch.blockers
        raise LockNotObtained(
            f"waited {show_duration(timedelta(seconds=self.watch.waited))} for other transactions, and gave up",
            detail=tell_blockers(blockers) + "The statement was cancelled.",
            hint=advise(blockers),
            position=self.task.step.script.position(self.statement),
        )

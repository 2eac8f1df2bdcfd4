"""How many rows the next batch has, from how long the last ones took. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from whimbrel.annotations import MAX_BATCH

FIRST_BATCH = 1_000
# What a batch's transaction is to last, in seconds. Who wants a row of it waits for its end: where others write to the
# table batches are brief, and where nobody has waited for so many batches they take their time.
BRIEF = (0.08, 0.2)
CALM = (0.2, 0.5)
CALM_AFTER = 50
# The part of the newest batch in the average.
_WEIGHT = 0.4
# Between two batches others have the table to themselves for this part of a batch's time, and for at most so long.
_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """The size of the next batch; `cost` is the moving average of seconds a row, None before the first batch.

    With `fixed` the batch has that many rows, fewer only after one that was in somebody's way.
    """

    batch: int = FIRST_BATCH
    cost: float | None = None
    fixed: int | None = None
    # How many batches in a row were in nobody's way.
    calm: int = 0

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most time that a batch is to take, in seconds."""
        return CALM if self.calm >= CALM_AFTER else BRIEF

    @property
    def most(self) -> int:
        """The most rows that a batch may have."""
        return self.fixed or MAX_BATCH

    def after(self, rows: int, seconds: float, *, is_in_the_way: bool = False) -> Pace:
        """Return the pace behind a batch that found `rows` and took `seconds`.

        `is_in_the_way`: other sessions waited for it.
        """
        newest = seconds / max(1, rows)
        short, long = self.bounds
        aim = (short + long) / 2
        cost = newest if self.cost is None else self.cost + _WEIGHT * (newest - self.cost)
        if is_in_the_way:
            batch = self.batch // 2
        elif self.fixed is not None:
            batch = self.batch * 2
        elif seconds > long:
            # At once, whatever it was before; what a row cost just now counts, and not the average.
            batch = min(self.batch - 1, int(aim / newest))
        elif rows < self.batch or short <= self.batch * cost <= long:
            # The last batch of a walk tells nothing about larger ones.
            batch = self.batch
        else:
            batch = int(min(2 * self.batch, aim / cost)) if cost > 0 else 2 * self.batch
        calm = 0 if is_in_the_way else self.calm + 1
        return replace(self, batch=self._bounded(batch), cost=cost, calm=calm)

    def after_failure(self) -> Pace:
        """Return the pace behind a batch that was rolled back because of a lock or of the time it took."""
        return replace(self, batch=self._bounded(self.batch // 2), calm=0)

    def _bounded(self, batch: int) -> int:
        return max(1, min(batch, self.most))


def first_pace(fixed: int | None, remembered: int | None = None) -> Pace:
    """Return the pace to begin with; `remembered` is the batch that an interrupted run had come to."""
    pace = Pace(fixed=fixed)
    return replace(pace, batch=min(fixed or remembered or FIRST_BATCH, pace.most))


def rest_after(seconds: float) -> float:
    """Return how long to rest behind a batch that took `seconds`."""
    return min(_LONGEST_PAUSE, seconds * _PAUSE)

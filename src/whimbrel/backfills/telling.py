"""What a backfill tells of how far it is: rows, rate, what is left, and why it waits."""

from __future__ import annotations

import time
from datetime import timedelta

from whimbrel.backfills.cursor import Progress
from whimbrel.events import BackfillAdvanced, Listener
from whimbrel.plan import Step

# At most how often progress, and how often the same pause, is told, in seconds.
_INTERVAL, _AGAIN = 0.1, 5.0


class Teller:
    """Counts the rows of one run, and emits BackfillAdvanced, not too often."""

    def __init__(self, emit: Listener, step: Step | None) -> None:
        self._emit = emit
        self._step = step
        self._began = time.monotonic()
        # Rows walked, and the seconds that took without the pauses.
        self._rows, self._worked = 0, 0.0
        self._told = float("-inf")
        self._pause: str | None = None

    def count(self, rows: int, passed: float) -> None:
        """Count a batch that was committed, after some seconds."""
        self._rows += rows
        self._worked += passed

    def tell(self, progress: Progress, batch: int, pause: str | None = None, *, is_always: bool = False) -> None:
        """Tell how far it is; `batch` is the size of the next one, in rows."""
        now = time.monotonic()
        interval = _AGAIN if pause is not None and pause == self._pause else _INTERVAL
        if not is_always and now - self._told < interval:
            return
        self._told, self._pause = now, pause
        passed = now - self._began
        ahead = progress.rows - progress.walked
        self._emit(
            BackfillAdvanced(
                self._step,
                progress.table,
                progress.walked,
                progress.rows,
                progress.changed,
                batch,
                self._rows / self._worked if self._worked else 0.0,
                # With the pauses: they will not be fewer.
                timedelta(seconds=ahead * passed / self._rows) if self._rows else None,
                pause,
            )
        )

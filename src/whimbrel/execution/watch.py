"""What a long statement does: looked at from a second connection while it runs, and told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from queue import Empty
from types import TracebackType
from typing import Self

import psycopg

from whimbrel.database import Connection, hide_texts
from whimbrel.errors import WhimbrelError
from whimbrel.events import Blocker, Listener, StatementRunning, Warned
from whimbrel.execution.observation import Observation, Observer, Progress
from whimbrel.pipeline import SIGNAL_INTERVAL
from whimbrel.plan import Step

# How often a brief statement is looked at, in seconds.
BRIEFLY = 0.02
# As much of a statement as the server tells by default (track_activity_query_size).
_SHOWN = 1024


class Watch:
    """A context manager whose `look` is called again and again while statements of `process` run.

    Emits StatementRunning when one runs for `after` seconds and then every `every` seconds. `connect` opens a second
    connection, which is done when something has to be looked at for the first time; without it, with a `process` of 0,
    and where it breaks, only the time is told. `blockers` are those that the statement waited for when it was last
    looked at, `waited` is for how many seconds it was seen waiting for others. `step` is whose statement it is, and may
    be set when another one begins.
    """

    def __init__(
        self,
        connect: Callable[[], Connection] | None,
        process: int,
        step: Step,
        emit: Listener,
        *,
        after: float = 1.0,
        every: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.blockers: tuple[Blocker, ...] = ()
        self.waited = 0.0
        self._connect = connect if process else None
        self._process = process
        self.step = step
        self._emit = emit
        self._usual = after, every
        self._clock = clock
        self._observer: Observer | None = None
        self._is_asked = self._is_outdated = False
        self.begin()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        del kind, error, traceback
        self._connect = None
        if self._observer is not None:
            self._observer.close()
            self._observer = None

    def begin(self, sql: bytes = b"", *, is_brief: bool = False) -> None:
        """Say that a statement begins now.

        The server tells by itself when another one has begun; this is for the statement's text and time where it is
        not asked, and for `waited` to be of this statement alone. One that `is_brief` is looked at from the beginning
        and often: who stands in its way can be seen only while it waits.
        """
        self._is_brief = is_brief
        self._after, self._every = (BRIEFLY, BRIEFLY) if is_brief else self._usual
        self._told = -math.inf
        self._sql = hide_texts(sql[:_SHOWN].decode(errors="ignore"))
        self._since = self._clock()
        self._next = self._since + self._after
        self._is_outdated = self._is_asked
        self._begin_anew(None)

    def _begin_anew(self, begun: datetime | None) -> None:
        self.blockers = ()
        self.waited = 0.0
        self._begun = begun
        self._waiting_since: float | None = None
        self._pace: tuple[str, float, float] | None = None

    @property
    def interval(self) -> int:
        """How often `look` should be called, in milliseconds."""
        return 10 if self._is_brief else SIGNAL_INTERVAL

    def look(self) -> None:
        """Look, if it is time to, and tell what was seen. Never waits."""
        now = self._clock()
        if self._is_asked:
            assert self._observer is not None
            try:
                answer = self._observer.answer()
            except Empty:
                pass
            else:
                self._is_asked = False
                self._take(answer, now)
                return
        if now < self._next:
            return
        self._next = now + self._every
        if self._connect is None or self._is_asked:
            self._tell(StatementRunning(self.step, self._sql, timedelta(seconds=now - self._since)), now)
            return
        if self._observer is None:
            self._observer = Observer(self._connect, self._process)
        self._observer.ask()
        self._is_asked = True

    def _take(self, answer: Observation | psycopg.Error | WhimbrelError | None, now: float) -> None:
        is_outdated, self._is_outdated = self._is_outdated, False
        if isinstance(answer, psycopg.Error | WhimbrelError):
            self._connect = None
            self._begin_anew(None)
            reason = answer.message if isinstance(answer, WhimbrelError) else _reason(answer)
            self._emit(Warned(f"what long statements do cannot be shown any more: {reason}"))
        elif is_outdated:
            return
        elif answer is None:
            self._begin_anew(None)
            self._next = now + self._after
        else:
            if answer.begun != self._begun:
                self._begin_anew(answer.begun)
            if answer.age is not None and answer.age.total_seconds() < self._after:
                # Another one than that at which the time began.
                self._next = now + self._after - answer.age.total_seconds()
            else:
                self._note(answer, now)

    def _note(self, seen: Observation, now: float) -> None:
        if self._waiting_since is not None and seen.is_waiting:
            self.waited += now - self._waiting_since
        self._waiting_since = now if seen.is_waiting else None
        self.blockers = seen.blockers
        progress = seen.progress
        running = StatementRunning(
            self.step,
            seen.sql or self._sql,
            seen.age if seen.age is not None else timedelta(seconds=now - self._since),
            progress.phase if progress is not None else None,
            progress.fraction if progress is not None else None,
            self._remaining(progress, now),
            seen.blockers,
        )
        self._tell(running, now)

    def _tell(self, running: StatementRunning, now: float) -> None:
        after, every = self._usual
        if self._is_brief and (running.passed.total_seconds() < after or now - self._told < every):
            # It is looked at more often than a person wants to be told.
            return
        self._told = now
        self._emit(running)

    def _remaining(self, progress: Progress | None, now: float) -> timedelta | None:
        """Return how long the phase's rest takes if it goes on as since the first look at it."""
        if progress is None or progress.fraction is None:
            self._pace = None
            return None
        if self._pace is None or self._pace[0] != progress.phase or progress.fraction < self._pace[2]:
            self._pace = progress.phase, now, progress.fraction
        _, then, before = self._pace
        gained = progress.fraction - before
        return timedelta(seconds=(1 - progress.fraction) * (now - then) / gained) if gained > 0 else None


def _reason(error: psycopg.Error) -> str:
    return error.diag.message_primary or (str(error).strip().splitlines() or ["the connection was lost"])[0]

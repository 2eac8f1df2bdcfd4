"""A run's Events → a person's terminal, plain lines, or JSON. The only module that imports rich."""

from __future__ import annotations

import os
import sys
import time
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from whimbrel.cli.output import has_colour, mark, paint, say
from whimbrel.cli.tables import file_label
from whimbrel.durations import show_duration

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.text import Text

    from whimbrel import events

    Lasting = events.LockAwaited | events.StatementRunning | events.BackfillAdvanced

# How often a line says that a statement or a backfill goes on, and a step still waits for a lock, in seconds.
LINE_INTERVAL = 10.0
LOCK_INTERVAL = 30.0


class Reporter(AbstractContextManager["Reporter"]):
    """Tells a run's events, one line for each thing that has happened."""

    def __init__(self, *, is_quiet: bool) -> None:
        self.is_quiet = is_quiet
        self._told = 0.0
        self._told_lock: tuple[float, object] = (0.0, None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        del kind, error, traceback

    def handle(self, event: events.Event) -> None:
        """Tell one event."""
        from whimbrel import events

        match event:
            case events.Warned():
                self.out(f"{paint(mark('warning'), 'yellow')} {event.message}")
            case events.ServerNotice() if event.severity != "DEBUG":
                self.out(paint(f"  {event.severity}: {event.message}", "dim"))
            case events.LockHeld():
                from whimbrel.cli.documents import head

                age = f", connected for {show_duration(event.age)}" if event.age is not None else ""
                name = event.application or "another session"
                self.out(
                    f"  waiting for {name} (process {event.pid}, {event.client}){age}: {head(event.query.encode())}"
                )
            case events.RunStarted():
                self.out(paint(f"{event.database}, PostgreSQL {event.server_version}", "dim"))
            case events.StepStarted():
                self.begin(event)
            case events.StepAdvanced():
                self.advance(event)
            case events.LockAwaited() | events.StatementRunning() | events.BackfillAdvanced():
                self.last(event)
            case events.StatementSkipped():
                self.out(paint(f"  statement {event.number} skipped: {event.reason}", "dim"))
            case events.StepFinished():
                self.end()
                is_down = event.step.direction.value == "down"
                sign = paint(mark("undone" if is_down else "done"), "green")
                late = "out of order, " if event.step.is_late else ""
                self.out(f"{sign} {file_label(event.step)} ({late}{show_duration(event.duration)})")
            case events.StepFailed():
                self.end()
                self.out(f"{paint(mark('failed'), 'red')} {file_label(event.step)}")
            case _:
                pass

    def out(self, text: str) -> None:
        """Write a line, unless the run is to be quiet."""
        if not self.is_quiet:
            say(text)

    def begin(self, event: events.StepStarted) -> None:
        """Show that a step has begun."""

    def advance(self, event: events.StepAdvanced) -> None:
        """Show how far a step is."""

    def last(self, event: Lasting) -> None:
        """Show what takes long, now and then."""
        from whimbrel import events
        from whimbrel.cli.progress import telling

        now = time.monotonic()
        match event:
            case events.LockAwaited():
                who = event.step, tuple((each.pid, each.state) for each in event.blockers)
                if who == self._told_lock[1] and now - self._told_lock[0] < LOCK_INTERVAL:
                    return
                self._told_lock = now, who
            case events.StatementRunning() if not event.blockers and event.passed.total_seconds() < LINE_INTERVAL:
                return
            case _ if self._told and now - self._told < LINE_INTERVAL:
                return
            case _:
                self._told = now
        self.out(telling(event, file_label(event.step) if event.step is not None else "backfill"))

    def end(self) -> None:
        """Stop showing the step."""


class JsonReporter(Reporter):
    """Writes one document a line."""

    def handle(self, event: events.Event) -> None:
        from whimbrel.cli.documents import dump, event_form

        say(dump(event_form(event)))


class TerminalReporter(Reporter):
    """Adds a line that lives while a step runs: its name, statements done, time passed."""

    def __init__(self) -> None:
        super().__init__(is_quiet=False)
        self._live: Live | None = None
        self._label = ""
        self._done = self._statements = 0
        self._started = 0.0
        # What takes long, and when that was told.
        self._lasting: tuple[Lasting, float] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def out(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(_ansi(text), soft_wrap=True)
        else:
            say(text)

    def begin(self, event: events.StepStarted) -> None:
        self._begin(file_label(event.step), event.statements)

    def _begin(self, label: str, statements: int) -> None:
        self._label = label
        self._done, self._statements = 0, statements
        self._lasting = None
        self._started = time.monotonic()
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            console = Console(highlight=False, no_color=not has_colour("stdout"))
            self._live = Live(
                get_renderable=self._lines,
                console=console,
                transient=True,
                refresh_per_second=8,
                # What would be written instead has no encoding, by which the marks are chosen.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def advance(self, event: events.StepAdvanced) -> None:
        self._done = event.done
        self._lasting = None

    def last(self, event: Lasting) -> None:
        if not self._label:
            # A step that has not begun waits for its lock already; a backfill may have no step.
            self._begin(file_label(event.step) if event.step is not None else "backfill", 1)
        self._lasting = event, time.monotonic()

    def end(self) -> None:
        self._label = ""
        self._lasting = None

    def _lines(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        from whimbrel.cli.progress import living

        if not self._label:
            return Text()
        now = time.monotonic()
        passed = now - self._started
        beside, under = living(self._lasting[0], now - self._lasting[1]) if self._lasting is not None else ("", "")
        frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if mark("done") == "✓" else "|/-\\"
        frame = frames[int(passed * 8) % len(frames)]
        of = f"  {self._done:,}/{self._statements:,} statements" if self._statements > 1 else ""
        first = (
            f"{frame} {self._label}{of}  {show_duration(timedelta(seconds=passed))}{f'  {beside}' if beside else ''}"
        )
        return Group(*(_line(text) for text in (first, f"  {under}" if under else "") if text))


def _line(text: str) -> Text:
    """Return a line that is cut off at the edge of the terminal."""
    from rich.text import Text

    overflow = "ellipsis" if mark("done") == "✓" else "crop"
    return Text(_encodable(text.replace("\n", " ")), style="cyan", no_wrap=True, overflow=overflow)


def _encodable(text: str) -> str:
    """Return a text with question marks for what the output's encoding lacks; rich would fail."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _ansi(text: str) -> Text:
    from rich.text import Text

    return Text.from_ansi(_encodable(text))


def reporter(*, as_json: bool, is_quiet: bool) -> Reporter:
    """Return who tells a run: JSON if asked for, a living line on a terminal, plain lines elsewhere."""
    if as_json:
        return JsonReporter(is_quiet=is_quiet)
    if sys.stdout.isatty() and not is_quiet and os.environ.get("TERM") != "dumb":
        return TerminalReporter()
    return Reporter(is_quiet=is_quiet)

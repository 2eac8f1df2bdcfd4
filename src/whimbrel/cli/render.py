"""Events, Plans, States, errors → a person's terminal, plain text, or JSON. The only module that imports rich."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from functools import cache
from pathlib import PurePath
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from whimbrel.errors import WhimbrelError

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

    from whimbrel import events
    from whimbrel.execution.loss import Loss
    from whimbrel.execution.task import Task
    from whimbrel.plan import Plan, State, Step

_COLOURS = {"green": "32", "red": "31", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}
_MARKS = {"done": ("✓", "+"), "pending": ("○", "o"), "failed": ("✗", "x"), "warning": ("!", "!"), "undone": ("↩", "<")}


@cache
def has_colour(stream_name: str) -> bool:
    """Whether a standard stream shows colour: on a terminal, unless NO_COLOR or TERM=dumb says no."""
    stream: TextIO = getattr(sys, stream_name)
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty() or bool(os.environ.get("FORCE_COLOR"))


def paint(text: str, colour: str, stream_name: str = "stdout") -> str:
    """Return text in a colour where the stream shows it."""
    return f"\033[{_COLOURS[colour]}m{text}\033[0m" if has_colour(stream_name) else text


def mark(name: str) -> str:
    """Return a mark, in ASCII where the output's encoding has no better one."""
    unicode, plain = _MARKS[name]
    try:
        unicode.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return plain
    return unicode


_output_error: OSError | None = None


def output_error() -> OSError | None:
    """Return why standard output could not be written, if that is so; a reader that went away (| head) is no error."""
    return _output_error


def say(text: str = "") -> None:
    """Write a line to standard output; what its encoding lacks becomes a question mark.

    Never fails: what becomes of the database is not for the reader of the output to decide.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            global _output_error
            _output_error = error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(text: str) -> None:
    """Write a warning to standard error."""
    _complain(f"{paint('warning:', 'yellow', 'stderr')} {text}\n")


def show_error(error: WhimbrelError, exit_code: int, *, as_json: bool) -> None:
    """Write an error to standard error, and its document to standard output where JSON is wanted."""
    if as_json:
        from whimbrel.cli.documents import dump, error_form

        say(dump(error_form(error, exit_code)))
    _complain(f"{paint('error:', 'red', 'stderr')} {error}\n")


def _complain(text: str) -> None:
    encoding = sys.stderr.encoding or "utf-8"
    # Where standard error cannot be written, the exit code has to do.
    with suppress(OSError):
        sys.stderr.write(text.encode(encoding, "replace").decode(encoding))
        sys.stderr.flush()


def show_duration(duration: timedelta) -> str:
    """Return a duration as a person reads it."""
    seconds = duration.total_seconds()
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def count(number: int, noun: str) -> str:
    """Return `1 migration`, `2 migrations`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def show_states(states: Sequence[State]) -> None:
    """Write one line a migration."""
    from whimbrel.cli.documents import file_name

    for state in states:
        remarks = list(_remarks(state))
        is_applied = state.applied is not None
        sign = mark("done") if is_applied else mark("pending")
        colour = "green" if is_applied else "yellow"
        doubtful = state.is_modified or state.is_missing or state.interruption
        say(f"{paint(sign, 'red' if doubtful else colour)} {file_name(state)} ({', '.join(remarks)})")


def _remarks(state: State) -> Sequence[str]:
    found = [state.condition.value]
    if state.is_modified:
        found.append("modified since")
    if state.is_reformatted:
        found.append("reformatted")
    if state.is_missing:
        found.append("file missing")
    if state.applied is not None and state.applied.is_by_hand:
        found.append("recorded by hand")
    if state.is_late:
        found.append("out of order")
    if state.interruption is not None:
        found.append(f"{state.interruption.direction.value} interrupted at statement {state.interruption.statement}")
    return found


def show_plan(plan: Plan, tasks: Sequence[Task], losses: Sequence[Loss]) -> None:
    """Write what would run: files, statements with their lines, in a transaction or not, and what would be lost."""
    from whimbrel.cli.documents import head

    for task in tasks:
        kind = "in one transaction" if task.outline.is_transactional else "statement by statement, no transaction"
        late = ", out of order" if task.step.is_late else ""
        say(f"{paint(file_label(task.step), 'bold')}  {paint(f'({kind}{late})', 'dim')}")
        for statement in task.statements():
            say(f"  {statement.line:>5}  {head(statement.sql)}")
        for loss in losses:
            if loss.version == task.step.version:
                say(f"  {paint('drops', 'red')}  {show_loss(loss)}")
    for warning in plan.warnings:
        warn(warning)
    if not tasks:
        say("Nothing to do.")


def show_loss(loss: Loss) -> str:
    """Return what would be lost: `presence.user_status (5 rows)`."""
    what = f"{loss.table}, column {loss.column}" if loss.column else loss.table
    if loss.rows is None:
        return f"{what} (rows not counted: no permission)"
    return f"{what} ({'about ' if loss.is_estimate else ''}{count(loss.rows, 'row')})"


def file_label(step: Step) -> str:
    """Return the file name of a step's script."""
    return PurePath(step.script.path).name


class Reporter(AbstractContextManager["Reporter"]):
    """Tells a run's events, one line for each thing that has happened."""

    def __init__(self, *, is_quiet: bool) -> None:
        self.is_quiet = is_quiet

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
                since = f" since {event.since:%H:%M:%S} UTC" if event.since else ""
                name = event.application or "another session"
                self.out(f"  waiting for {name} (process {event.pid}, {event.client}){since}: {event.query[:80]}")
            case events.RunStarted():
                self.out(paint(f"{event.database}, PostgreSQL {event.server_version}", "dim"))
            case events.StepStarted():
                self.begin(event)
            case events.StepAdvanced():
                self.advance(event)
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
        self._label = file_label(event.step)
        self._done, self._statements = 0, event.statements
        self._started = time.monotonic()
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            console = Console(highlight=False, no_color=not has_colour("stdout"))
            self._live = Live(
                get_renderable=self._line,
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

    def end(self) -> None:
        self._label = ""

    def _line(self) -> Text:
        from rich.text import Text

        if not self._label:
            return Text()
        passed = time.monotonic() - self._started
        frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if mark("done") == "✓" else "|/-\\"
        frame = frames[int(passed * 8) % len(frames)]
        of = f"  {self._done:,}/{self._statements:,} statements" if self._statements > 1 else ""
        return Text(f"{frame} {self._label}{of}  {show_duration(timedelta(seconds=passed))}", style="cyan")


def _ansi(text: str) -> Text:
    from rich.text import Text

    return Text.from_ansi(text)


def reporter(*, as_json: bool, is_quiet: bool) -> Reporter:
    """Return who tells a run: JSON if asked for, a living line on a terminal, plain lines elsewhere."""
    if as_json:
        return JsonReporter(is_quiet=is_quiet)
    if sys.stdout.isatty() and not is_quiet and os.environ.get("TERM") != "dumb":
        return TerminalReporter()
    return Reporter(is_quiet=is_quiet)

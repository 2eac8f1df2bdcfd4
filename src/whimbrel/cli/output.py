"""Lines on standard output and standard error: colour, marks, numbers, and what becomes of a reader that is gone."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import cache
from typing import TextIO

from whimbrel.errors import WhimbrelError

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


def count(number: int, noun: str) -> str:
    """Return `1 migration`, `2 migrations`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")

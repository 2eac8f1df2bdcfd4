"""Every exception that whimbrel raises on purpose.

WhimbrelError
├── ConfigError            the configuration or the command line is wrong
├── SourceError            a file, or the directory of files, is wrong
├── HistoryError           the history table is another tool's, or cannot be written
├── PlanError              the files and the history do not fit together
│   ├── MissingDown        no down SQL is known for a migration that would be undone
│   ├── Modified           an applied migration's file holds other statements now
│   ├── OutOfOrder         a pending version is below an applied one, and that is refused
│   └── Unsettled          an autocommit migration was interrupted and needs a decision
├── ClusterError           the embedded PostgreSQL cannot be started, stopped or found
├── ConnectionFailed       no connection to the database could be made, or it was lost
│   └── MissingDatabase    the server answered, and has no database of that name
├── LockNotObtained        another run, or another session's transaction, is in the way
├── StatementFailed        the server refused a statement; nothing of its migration remains
└── Interrupted            SIGINT or SIGTERM arrived; the statement was cancelled

Messages follow PostgreSQL's style guide: the primary message is a lower-case fact without a full stop; detail and hint
are sentences (https://www.postgresql.org/docs/18/error-style-guide.html).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file.

    `line` and `column` count from 1, `column` in characters; `text` is the source line without its line end, or None
    where it is not at hand. Of a very long line `text` may be a part: `skipped` characters stand before it.
    """

    path: str
    line: int
    column: int
    text: str | None = None
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class WhimbrelError(Exception):
    """The root of whimbrel's exceptions.

    `message` is the fact, `detail`, `hint` and `context` are optional further lines, `position` says where in a file,
    `sqlstate` is the server's code for the error, if it was the server's.
    """

    def __init__(
        self,
        message: str,
        *,
        detail: str | None = None,
        hint: str | None = None,
        context: str | None = None,
        position: Position | None = None,
        sqlstate: str | None = None,
    ) -> None:
        self.message = message
        self.detail = detail
        self.hint = hint
        self.context = context
        self.position = position
        self.sqlstate = sqlstate
        super().__init__(message)

    def __str__(self) -> str:
        lines = [self.message if self.position is None else f"{self.position}: {self.message}"]
        if self.position is not None and self.position.text is not None:
            source, caret = excerpt(self.position)
            lines += [f"    {source}", f"    {caret}"]
        lines += [
            f"{label}: {text}"
            for label, text in (("Detail", self.detail), ("Context", self.context), ("Hint", self.hint))
            if text
        ]
        return "\n".join(lines)


class ConfigError(WhimbrelError):
    """The configuration or the command line is wrong."""


class SourceError(WhimbrelError):
    """A file, or the directory of files, is wrong. Nothing was run."""


class HistoryError(WhimbrelError):
    """The history table is another tool's, or cannot be read or written."""


class PlanError(WhimbrelError):
    """The files and the history do not fit together. Nothing was run."""


class MissingDown(PlanError):
    """No down SQL is known for a migration that would be undone."""


class Modified(PlanError):
    """An applied migration's file holds other statements now."""


class OutOfOrder(PlanError):
    """A pending version is below an applied one, and the configuration refuses that."""


class Unsettled(PlanError):
    """An autocommit migration was interrupted and needs a decision."""


class ClusterError(WhimbrelError):
    """The embedded PostgreSQL cannot be started, stopped or found."""


class ConnectionFailed(WhimbrelError):
    """No connection to the database could be made, or it was lost."""


class MissingDatabase(ConnectionFailed):
    """The server answered, and has no database of that name."""


class LockNotObtained(WhimbrelError):
    """Another run, or another session's transaction, is in the way. Nothing was changed."""


class StatementFailed(WhimbrelError):
    """The server refused a statement.

    A transactional migration is then rolled back whole; of an autocommit migration the statements before this one
    remain, journalled.
    """


# Not that it was rolled back: an index that was being built concurrently stays behind until the next run.
_CANCELLED = "The running statement was cancelled. Run the same command again: it goes on behind what is committed."


class Interrupted(WhimbrelError):
    """SIGINT or SIGTERM arrived; the running statement was cancelled and its transaction rolled back."""

    def __init__(self, signum: int) -> None:
        self.signum = signum
        name = {2: "SIGINT", 15: "SIGTERM"}.get(signum, f"signal {signum}")
        super().__init__(f"interrupted by {name}", detail=_CANCELLED)


# A line of a data file can be megabytes long; a person needs the part around the caret.
EXCERPT_WIDTH = 120


def excerpt(position: Position) -> tuple[str, str]:
    """Return the source line and the caret line under it, both cut to the part that shows the column."""
    text = position.text or ""
    index = min(position.column - 1 - position.skipped, len(text))
    start = 0 if len(text) <= EXCERPT_WIDTH else max(0, index - EXCERPT_WIDTH // 2)
    end = start + EXCERPT_WIDTH
    before = "…" if start or position.skipped else ""
    after = "…" if end < len(text) else ""
    margin = "".join(_blank(character) for character in before + text[start:index])
    return before + text[start:end] + after, margin + "^"


def _blank(character: str) -> str:
    """Return what is as wide as a character on a terminal, and blank."""
    if character == "\t":
        return character
    if unicodedata.combining(character):
        return ""
    return "  " if unicodedata.east_asian_width(character) in ("W", "F") else " "

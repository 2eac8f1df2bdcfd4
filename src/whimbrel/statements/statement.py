"""What a split yields: Statements, the annotations above them, where inline data lies, and what was counted only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from whimbrel.statements.kind import Kind


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment that speaks to whimbrel, with its delimiters; `line` and `column` count from 1."""

    text: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Data:
    """Where the data of a COPY … FROM stdin lies in the text: byte offsets, `end` exclusive and before the `\\.`."""

    start: int
    end: int


# A NamedTuple because a file may hold a million of them, and it is made in a third of a frozen dataclass's time.
class Statement(NamedTuple):
    """One statement without its semicolon; `offset` is the byte offset, `line` and `column` count from 1.

    `comments` are the annotations that stand above it.
    """

    sql: bytes
    offset: int
    line: int
    column: int
    kind: Kind = Kind.ORDINARY
    comments: tuple[Comment, ...] = ()
    data: Data | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Ordinary statements in a row that were counted only."""

    count: int


@dataclass(frozen=True, slots=True)
class Trailing:
    """The annotations behind the last statement; in a file without statements, all of them."""

    comments: tuple[Comment, ...]

"""The files of an expansion: statements with what a reader has to know of them."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

_WIDTH = 116


@dataclass(frozen=True, slots=True)
class Block:
    """Some statements with the comment above them. `sql` has its semicolons; an empty one is a remark."""

    comment: str
    sql: str = ""
    # What has to stand directly above the statement, below the comment.
    annotation: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration of an expansion. `name` is the last word of its file name, `title` its first line.

    An autocommit one says so in the file where none of its statements does.
    """

    name: str
    title: str
    up: tuple[Block, ...]
    down: tuple[Block, ...] = ()
    up_autocommit: bool = False
    down_autocommit: bool = False
    irreversible: str = ""


@dataclass(frozen=True, slots=True)
class Expansion:
    """The migrations of a change in their order, and what to tell the person who asked for it.

    `slug` is what their file names begin with. `serves_old` is the last step, counted from 1, that the application may
    run beside as it was before. `is_swapped`: the new column takes the old one's name there. `notes` are what nobody
    but a person can judge.
    """

    slug: str
    steps: tuple[Step, ...]
    serves_old: int
    is_swapped: bool
    old: str
    new: str
    notes: tuple[str, ...] = field(default=())


def up_text(step: Step, place: str) -> str:
    """Return the text of a step's up file; `place` says which of how many it is."""
    head = ["-- whimbrel: transaction = off"] if step.up_autocommit else []
    return _text(head, f"{step.title} {place}", step.up)


def down_text(step: Step, place: str) -> str:
    """Return the text of a step's down file."""
    head: list[str] = []
    if step.irreversible:
        head = [f"-- whimbrel: irreversible = {step.irreversible}"]
    elif step.down_autocommit:
        head = ["-- whimbrel: transaction = off"]
    return _text(head, f"Undo: {step.title[:1].lower()}{step.title[1:]} {place}", step.down)


def _text(head: list[str], title: str, blocks: tuple[Block, ...]) -> str:
    parts = ["\n".join([*_comment(title), *(["--", *head] if head else [])])]
    for block in blocks:
        lines = _comment(block.comment)
        if block.annotation:
            lines.append(block.annotation)
        if block.sql:
            lines.append(block.sql)
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _comment(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.splitlines():
        wrapped = textwrap.wrap(paragraph, _WIDTH, break_long_words=False, break_on_hyphens=False)
        lines += [f"-- {line}" for line in wrapped] or ["--"]
    return lines

"""`-- whimbrel: key = value` comments → typed Annotations. An unknown key, or one in the wrong place, is an error."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import assert_never

from whimbrel.errors import Position, SourceError
from whimbrel.statements import Comment

_SHAPE = re.compile(r"--\s*whimbrel:\s*([A-Za-z_-]+)\s*(?:=\s*(.*?))?\s*")
_DURATION = re.compile(r"(\d+)\s*(us|ms|s|min|h|d)?")


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a file says about itself, before its first statement.

    `transaction` is False where the file asks to be run statement by statement; the timeouts are PostgreSQL durations
    ("5s", "0" for none) or None for the configured ones; `irreversible` is the reason why there is no way back.
    """

    transaction: bool = True
    irreversible: str | None = None
    lock_timeout: str | None = None
    statement_timeout: str | None = None


_EXAMPLES = {
    "transaction": "off",
    "irreversible": "the old values are gone",
    "lock_timeout": "5s",
    "statement_timeout": "2min",
}
KEYS = tuple(_EXAMPLES)


def read_annotations(comments: Iterable[Comment], path: str) -> Annotations:
    """Return what the comments above a file's first statement say. Raises SourceError with the comment's position."""
    found = Annotations()
    seen: set[str] = set()
    for comment in comments:
        key, value = _key_and_value(comment, path)
        if key in seen:
            raise SourceError(f'annotation "{key}" stands twice', position=_position(comment, path))
        seen.add(key)
        found = _with(found, key, value, comment, path)
    return found


def refuse_annotations(comments: Iterable[Comment], path: str) -> None:
    """Raise SourceError for the first of some comments that stand where they would have no effect."""
    for comment in comments:
        key, _ = _key_and_value(comment, path)
        raise SourceError(
            f'annotation "{key}" would be ignored here',
            hint="It concerns the whole file: put it above the first statement.",
            position=_position(comment, path),
        )


def _key_and_value(comment: Comment, path: str) -> tuple[str, str]:
    match = _SHAPE.fullmatch(comment.text)
    if match is None:
        raise SourceError(
            "annotation in a block comment" if comment.text.startswith("/*") else "annotation cannot be read",
            hint="Write it as: -- whimbrel: key = value",
            position=_position(comment, path),
        )
    key, value = match.groups()
    if key not in KEYS:
        from difflib import get_close_matches

        close = get_close_matches(key, KEYS, n=1)
        raise SourceError(
            f'unknown annotation "{key}"',
            hint=f'Perhaps you meant "{close[0]}".' if close else f"The annotations are: {', '.join(KEYS)}.",
            position=_position(comment, path),
        )
    if not value:
        raise SourceError(
            f'annotation "{key}" has no value',
            hint=f"Write it as: -- whimbrel: {key} = {_EXAMPLES[key]}",
            position=_position(comment, path),
        )
    return key, value


def _with(found: Annotations, key: str, value: str, comment: Comment, path: str) -> Annotations:
    match key:
        case "transaction":
            if value not in ("on", "off"):
                raise _bad_value(key, value, '"on" or "off"', comment, path)
            return replace(found, transaction=value == "on")
        case "irreversible":
            return replace(found, irreversible=value)
        case "lock_timeout" | "statement_timeout":
            if not _DURATION.fullmatch(value):
                raise _bad_value(key, value, 'a duration such as "5s" or "2min"', comment, path)
            return replace(found, **{key: value})
        case _:
            assert_never(key)  # pyright: ignore[reportArgumentType]  (KEYS is checked before)


def _bad_value(key: str, value: str, wanted: str, comment: Comment, path: str) -> SourceError:
    return SourceError(
        f'annotation "{key}" cannot be "{value}"',
        hint=f"It takes {wanted}.",
        position=_position(comment, path),
    )


def _position(comment: Comment, path: str) -> Position:
    return Position(path, comment.line, comment.column, " " * (comment.column - 1) + comment.text)

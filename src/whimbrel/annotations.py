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
_NAME = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_BACKFILL = re.compile(
    rf"({_NAME}(?:\s*\.\s*{_NAME})?)(?:\s+by\s+({_NAME}(?:\s*,\s*{_NAME})*))?(?:\s+batch\s*=\s*(auto|\d+))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a file says about itself, before its first statement.

    `transaction` is False where the file asks to be run statement by statement; the timeouts are PostgreSQL durations
    ("5s", "0" for none) or None for the configured ones; `irreversible` is the reason why there is no way back.
    """

    transaction: bool = True
    irreversible: str | None = None
    lock_timeout: str | None = None
    lock_budget: str | None = None
    statement_timeout: str | None = None


@dataclass(frozen=True, slots=True)
class Backfill:
    """What stands above a statement that is to be run in batches.

    `table` is (name,) or (schema, name). `key` are the columns by which it is walked, none for the primary key's.
    `batch` is the number of rows, None where it follows the time that a batch takes. `position` is the annotation's.
    """

    table: tuple[str, ...]
    key: tuple[str, ...] = ()
    batch: int | None = None
    position: Position | None = None

    def names(self, schema: str, table: str) -> bool:
        """Whether a statement's table, whose schema may be empty, can be the one that is named."""
        return self.table[-1] == table and (len(self.table) == 1 or not schema or self.table[0] == schema)


# The largest batch: what it locks is locked up to its COMMIT.
MAX_BATCH = 50_000

_EXAMPLES = {
    "transaction": "off",
    "irreversible": "the old values are gone",
    "lock_timeout": "5s",
    "lock_budget": "30min",
    "statement_timeout": "2min",
}
KEYS = tuple(_EXAMPLES)
# What concerns one statement, and stands directly above it.
_STATEMENT_EXAMPLES = {"backfill": "messages.messages by id batch = auto"}
STATEMENT_KEYS = tuple(_STATEMENT_EXAMPLES)


def read_annotations(comments: Iterable[Comment], path: str) -> Annotations:
    """Return what the comments above a file's first statement say of the file.

    Those that concern the statement alone are passed over. Raises SourceError with the comment's position.
    """
    found = Annotations()
    seen: set[str] = set()
    for comment in comments:
        key, value = _key_and_value(comment, path)
        if key in STATEMENT_KEYS:
            continue
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
            hint=(
                "It concerns one statement: put it directly above that."
                if key in STATEMENT_KEYS
                else "It concerns the whole file: put it above the first statement."
            ),
            position=_position(comment, path),
        )


def read_backfill(comments: Iterable[Comment], path: str) -> Backfill | None:
    """Return what the comments above a statement say of running it in batches, None where that is nothing.

    Raises SourceError with the comment's position.
    """
    found: Backfill | None = None
    for comment in comments:
        key, value = _key_and_value(comment, path)
        if key != "backfill":
            continue
        if found is not None:
            raise SourceError(f'annotation "{key}" stands twice', position=_position(comment, path))
        found = _backfill(value, comment, path)
    return found


def file_annotations(comments: Iterable[Comment], path: str) -> tuple[Comment, ...]:
    """Return the comments that concern the whole file. Raises SourceError for those that cannot be read."""
    return tuple(comment for comment in comments if _key_and_value(comment, path)[0] not in STATEMENT_KEYS)


def position_of(key: str, comments: Iterable[Comment], path: str) -> Position | None:
    """Return where an annotation stands, None where it does not."""
    for comment in comments:
        if _key_and_value(comment, path)[0] == key:
            return _position(comment, path)
    return None


def read_columns(text: str) -> tuple[str, ...] | None:
    """Return the names in a list of columns as SQL writes it, None for what is none."""
    if not re.fullmatch(rf"\s*{_NAME}(?:\s*,\s*{_NAME})*\s*", text):
        return None
    return tuple(_unquoted(each) for each in re.findall(_NAME, text))


def read_table(text: str) -> tuple[str, ...] | None:
    """Return a table's name as SQL writes it, with its schema where that is given; None for what is none."""
    if not re.fullmatch(rf"\s*{_NAME}(?:\s*\.\s*{_NAME})?\s*", text):
        return None
    return tuple(_unquoted(each) for each in re.findall(_NAME, text))


def _backfill(value: str, comment: Comment, path: str) -> Backfill:
    match = _BACKFILL.fullmatch(value)
    if match is None:
        raise _bad_value("backfill", value, "TABLE [by COLUMN, …] [batch = auto or a number]", comment, path)
    table, key, batch = match.groups()
    size = None if batch is None or batch.lower() == "auto" else int(batch)
    if size is not None and not 1 <= size <= MAX_BATCH:
        raise _bad_value("backfill", value, f"a batch of 1 to {MAX_BATCH:,} rows", comment, path)
    return Backfill(
        read_table(table) or (), read_columns(key) or () if key else (), size, position=_position(comment, path)
    )


def _unquoted(name: str) -> str:
    # What the server does with it: only ASCII letters are folded in UTF-8 (downcase_identifier).
    if name.startswith('"'):
        return name[1:-1].replace('""', '"')
    return "".join(each.lower() if each.isascii() else each for each in name)


def _key_and_value(comment: Comment, path: str) -> tuple[str, str]:
    match = _SHAPE.fullmatch(comment.text)
    if match is None:
        raise SourceError(
            "annotation in a block comment" if comment.text.startswith("/*") else "annotation cannot be read",
            hint="Write it as: -- whimbrel: key = value",
            position=_position(comment, path),
        )
    key, value = match.groups()
    known = (*KEYS, *STATEMENT_KEYS)
    if key not in known:
        from difflib import get_close_matches

        close = get_close_matches(key, known, n=1)
        raise SourceError(
            f'unknown annotation "{key}"',
            hint=f'Perhaps you meant "{close[0]}".' if close else f"The annotations are: {', '.join(known)}.",
            position=_position(comment, path),
        )
    if not value:
        raise SourceError(
            f'annotation "{key}" has no value',
            hint=f"Write it as: -- whimbrel: {key} = {(_EXAMPLES | _STATEMENT_EXAMPLES)[key]}",
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
        case "lock_timeout" | "lock_budget" | "statement_timeout":
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

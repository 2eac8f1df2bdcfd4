"""A file or a text with one UPDATE or DELETE → the order to run it in batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whimbrel.annotations import Backfill, file_annotations, read_columns, read_table, refuse_annotations
from whimbrel.backfills import Order, Origin
from whimbrel.durations import seconds
from whimbrel.errors import ConfigError, Position, SourceError
from whimbrel.migration import backfill_of
from whimbrel.statements import Script, Statement, Trailing, read_script, script_from

# What messages call a statement that is in no file.
_NO_FILE = "statement"


def read_order(
    source: str | Path,
    *,
    table: str | None = None,
    by: str | Sequence[str] | None = None,
    batch: int | str | None = None,
    max_lag: str = "5s",
) -> tuple[Script, Statement, Order]:
    """Read SQL, or the file of a Path, and what its annotation says where nothing else is said.

    Raises SourceError for what is not one statement that can be run in batches, ConfigError for what cannot be meant.
    """
    is_file = isinstance(source, Path)
    script = read_script(source, str(source)) if is_file else script_from(source.encode(), _NO_FILE)
    statement = _only_statement(script)
    asked = backfill_of(script, statement) or Backfill(())
    named = read_table(table) if table is not None else asked.table
    key = read_columns(by) if isinstance(by, str) else tuple(by) if by is not None else asked.key
    if named is None:
        raise ConfigError(f'"{table}" is no name of a table')
    if key is None:
        raise ConfigError(f'"{by}" is no list of columns', hint="Write it as SQL does: a, b")
    size = asked.batch if batch is None else _size(batch)
    origin = Origin(file=source.name if is_file else None)
    return script, statement, Order(statement.sql, origin, named, key, size, _lag(max_lag))


def _only_statement(script: Script) -> Statement:
    found: Statement | None = None
    for part in script.parts():
        if isinstance(part, Trailing):
            refuse_annotations(part.comments, script.path)
        elif found is not None:
            raise SourceError(
                "a backfill is one statement, and here is another one",
                hint="Give each a file of its own, without BEGIN and COMMIT: each batch is a transaction.",
                position=script.position(part),
            )
        else:
            for comment in file_annotations(part.comments, script.path):
                raise SourceError(
                    'only the annotation "backfill" has a meaning here',
                    hint="Give the others on the command line, or to the call: --lock-budget 1h",
                    position=Position(script.path, comment.line, comment.column, comment.text),
                )
            found = part
    if found is None:
        raise SourceError(f"{script.path}: no statement")
    return found


def _size(batch: int | str) -> int | None:
    text = str(batch)
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ConfigError(f'a batch cannot be "{batch}"', hint='It is "auto", or a number of rows.')
    return int(text)


def _lag(text: str) -> float:
    try:
        return seconds(text)
    except (KeyError, ValueError):
        raise ConfigError(f'a lag cannot be "{text}"', hint='It is a duration such as "5s" or "2min".') from None

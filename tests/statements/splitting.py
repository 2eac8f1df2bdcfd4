"""How these tests split a text."""

from __future__ import annotations

import io

import pytest

from whimbrel.errors import SourceError
from whimbrel.statements import Run, Statement, Trailing, inline, reader
from whimbrel.statements.splitter import skim, split

PATH = "file.sql"


def parts(
    text: str | bytes, window: int | None = None, known: dict[int, inline.Extent] | None = None
) -> list[Statement | Trailing]:
    """Split a text, read `window` bytes at a time; `known` as for `split`."""
    content = text.encode() if isinstance(text, str) else text
    with pytest.MonkeyPatch.context() as patch:
        if window is not None:
            patch.setattr(reader, "WINDOW", window)
            patch.setattr(inline, "WINDOW", window)
        return list(split(io.BytesIO(content), PATH, known))


def skimmed(content: bytes, window: int, word: str) -> list[Statement | Run | Trailing]:
    """Skim a text, read `window` bytes at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "WINDOW", window)
        patch.setattr(inline, "WINDOW", window)
        return list(skim(io.BytesIO(content), PATH, word, {}))


def statements(text: str | bytes, window: int | None = None) -> list[Statement]:
    return [part for part in parts(text, window) if isinstance(part, Statement)]


def sqls(text: str | bytes) -> list[str]:
    """Return what would be sent to the server."""
    return [statement.sql.decode() for statement in statements(text)]


def data(text: str | bytes) -> list[bytes]:
    """Return the inline data of each COPY."""
    content = text.encode() if isinstance(text, str) else text
    return [content[each.data.start : each.data.end] for each in statements(content) if each.data is not None]


def error(text: str | bytes, window: int | None = None) -> SourceError:
    """Return the error that splitting a text raises."""
    with pytest.raises(SourceError) as caught:
        parts(text, window)
    return caught.value


def at(error: SourceError) -> tuple[int, int]:
    """Return the line and column of an error."""
    assert error.position
    return error.position.line, error.position.column

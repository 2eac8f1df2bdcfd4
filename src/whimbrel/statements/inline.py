"""The inline data of a COPY … FROM stdin: the lines below it, up to one that holds `\\.` alone."""

from __future__ import annotations

from whimbrel.errors import Position, SourceError
from whimbrel.statements.reader import Reader
from whimbrel.statements.statement import Data

WINDOW = 1024 * 1024


def skip_data(reader: Reader, position: Position) -> Data:
    """Go past the data, which begins on the line below, and return where it lies; `position` is the statement's."""
    start = reader.offset
    while (found := _find_end(reader)) is None:
        if reader.is_exhausted:
            raise SourceError(
                "inline data of COPY has no end",
                hint='Put "\\." on a line of its own behind the last row.',
                position=position,
            )
        # Everything up to the last complete line is data.
        reader.go_to(max(reader.at, reader.text.rfind(b"\n") + 1))
        reader.fill(2 * (len(reader.text) - reader.at) + WINDOW)
    end, behind = found
    data = Data(start, reader.offset + end - reader.at)
    reader.go_to(behind)
    return data


def _find_end(reader: Reader) -> tuple[int, int] | None:
    """Return the indexes of the `\\.` line and of what stands behind it; None if it is not at hand."""
    text = reader.text
    index = reader.at
    while True:
        if not text.startswith(b"\\.", index):
            index = text.find(b"\n\\.", index) + 1
            if index == 0:
                return None
        end = text.find(b"\n", index)
        if end < 0:
            if not reader.is_exhausted:
                return None
            end = len(text) - 1
        if text[index : end + 1].rstrip(b"\r\n") == b"\\.":
            return index, end + 1
        index = end

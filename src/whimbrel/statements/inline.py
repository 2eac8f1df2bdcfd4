"""The inline data of a COPY … FROM stdin: the lines below it, up to one that holds `\\.` alone."""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.errors import Position, SourceError
from whimbrel.statements.reader import Reader
from whimbrel.statements.statement import Data

WINDOW = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Extent:
    """Where inline data ends: the offset and the line of what stands behind it."""

    data: Data
    behind: int
    line: int


def skip_data(reader: Reader, position: Position, known: dict[int, Extent]) -> Data:
    """Go past the data, which begins on the line below, and return where it lies; `position` is the statement's.

    `known` holds what was found before, by the offset of the data's beginning: megabytes are not looked through twice.
    """
    start = reader.offset
    if start in known:
        reader.jump(known[start].behind, known[start].line)
        return known[start].data
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
    known[start] = Extent(data, reader.offset, reader.line)
    return data


def _find_end(reader: Reader) -> tuple[int, int] | None:
    """Return the indexes of the `\\.` line and of what stands behind it; None if it is not at hand."""
    text = reader.text
    index = reader.at
    # A hundred times as fast as looking for the end itself, and most data has none.
    if text.find(b"\\", index) < 0:
        return None
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

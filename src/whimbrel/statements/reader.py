"""The piece of a file that is at hand, and where in the file it lies."""

from __future__ import annotations

from typing import BinaryIO

from whimbrel.errors import Position, SourceError

WINDOW = 32 * 1024
BOM = b"\xef\xbb\xbf"


class Reader:
    """Reads a file from left to right and forgets what has been read.

    `at` is the byte index in `text` of what is read next; `offset`, `line` and `column` are its place in the file.
    """

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.path = path
        self.text = b""
        self.at = 0
        self.line = 1
        self.column = 1
        self.is_exhausted = False
        self._file = file
        self._base = 0
        self._is_ascii = True
        self.fill(max(WINDOW, len(BOM)))
        if self.text.startswith(BOM):
            self.text = self.text.removeprefix(BOM)
            self._base = len(BOM)

    @property
    def offset(self) -> int:
        """The byte offset in the file of what is read next."""
        return self._base + self.at

    def fill(self, size: int = 0) -> None:
        """Forget what has been read, and read until `size` bytes, or a window, are at hand or the file ends."""
        size = max(size, WINDOW)
        text = self.text[self.at :]
        self._base += self.at
        self.at = 0
        while len(text) < size and not self.is_exhausted:
            piece = self._file.read(size - len(text))
            self.is_exhausted = not piece
            text += piece
        self.text = text
        self._is_ascii = text.isascii()
        zero = text.find(b"\0")
        if zero >= 0:
            raise SourceError(
                "file holds a zero byte",
                hint="PostgreSQL takes UTF-8 text; save the file as UTF-8 (not UTF-16).",
                position=self.position(zero),
            )

    def grow(self) -> None:
        """Double what is at hand."""
        self.fill(2 * (len(self.text) - self.at))

    def whole_lines(self) -> bytes:
        """Return what is at hand, up to its last line end, or all of it where the file ends or has no lines."""
        assert self.at == 0
        if self.is_exhausted:
            return self.text
        return self.text[: self.text.rfind(b"\n") + 1 or _character_end(self.text)]

    def go_to(self, index: int) -> None:
        """Go forward to an index in what is at hand."""
        text, at = self.text, self.at
        lines = text.count(b"\n", at, index)
        if lines:
            self.line += lines
            self.column = 1
            at = text.rindex(b"\n", at, index) + 1
        self.column += index - at if self._is_ascii else len(text[at:index].decode(errors="replace"))
        self.at = index

    def jump(self, offset: int, line: int) -> None:
        """Go forward to the beginning of a line that was seen before; `offset` is its place in the file."""
        if offset <= self._base + len(self.text):
            self.at = offset - self._base
        else:
            self._file.seek(offset)
            self.text, self.at, self._base, self.is_exhausted = b"", 0, offset, False
            self.fill()
        self.line, self.column = line, 1

    def position(self, index: int) -> Position:
        """Return the position of an index that is not read yet."""
        text = self.text
        lines = text.count(b"\n", self.at, index)
        start = text.rfind(b"\n", 0, index) + 1
        end = text.find(b"\n", index)
        source = text[start : end if end >= 0 else None].decode(errors="replace").rstrip("\r")
        shown = len(text[start:index].decode(errors="replace"))
        column = shown + 1 if lines else self.column + len(text[self.at : index].decode(errors="replace"))
        # The beginning of a line that is longer than a window is forgotten.
        return Position(self.path, self.line + lines, column, source, skipped=column - 1 - shown)


def _character_end(text: bytes) -> int:
    """Return the length of a text less the UTF-8 character that its end cuts in two, if it does."""
    for size in (1, 2, 3):
        lead = text[-size] if size <= len(text) else 0
        if lead & 0xC0 != 0x80:
            length = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
            return len(text) - size if length > size else len(text)
    return len(text)

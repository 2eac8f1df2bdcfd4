"""SQL text with where it came from: its statements, its checksums, and places in it for messages."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from whimbrel.errors import Position, SourceError
from whimbrel.statements import parser
from whimbrel.statements.inline import Extent
from whimbrel.statements.splitter import skim, split
from whimbrel.statements.statement import Run, Statement, Trailing

# A larger file is read anew, piece by piece, each time it is needed.
KEPT_SIZE = 1024 * 1024
REMEMBERED_SIZE = 64 * 1024
# Beyond this, scanning every token costs more than telling a reformatted file from a changed one is worth.
TOKEN_CHECKSUM_SIZE = 4 * 1024 * 1024
_PIECE = 1024 * 1024
# How many bytes of a line are read on either side of a place to be shown.
_NEAR = 4096


@dataclass(frozen=True, slots=True)
class Script:
    """One SQL text. `path` is for messages; `checksum` is `sha256:` and the hex digest of the raw bytes.

    `content` is None for a large file, which is then read from `file`; `modified` is its st_mtime_ns.
    """

    path: str
    checksum: str
    size: int
    content: bytes | None
    file: Path | None = None
    modified: int = 0
    # A small script is split once: for its outline, its checksum and its run.
    _split: list[tuple[Statement | Trailing, ...]] = field(
        default_factory=list[tuple[Statement | Trailing, ...]], repr=False, compare=False
    )

    # Of a larger one, where inline data lies.
    _data: dict[int, Extent] = field(default_factory=dict[int, Extent], repr=False, compare=False)

    def open(self) -> BinaryIO:
        """Open the text. Raises SourceError if a large file has changed since it was read."""
        if self.content is not None:
            return io.BytesIO(self.content)
        assert self.file is not None
        try:
            stream = self.file.open("rb")
        except OSError as error:
            raise _unreadable(self.path, error) from None
        status = os.fstat(stream.fileno())
        if (status.st_size, status.st_mtime_ns) != (self.size, self.modified):
            stream.close()
            raise SourceError(f"{self.path}: file changed during the run", hint="Run the command again.")
        return stream

    def statements(self) -> Iterator[Statement]:
        """Yield the statements in order; see `splitter.split` for the errors."""
        for part in self.parts():
            if isinstance(part, Statement):
                yield part

    def parts(self) -> Iterator[Statement | Trailing]:
        """Yield the statements in order, then the annotations behind the last one."""
        if self.size > REMEMBERED_SIZE:
            with self.open() as stream:
                yield from split(stream, self.path, self._data)
            return
        if not self._split:
            with self.open() as stream:
                self._split.append(tuple(split(stream, self.path)))
        yield from self._split[0]

    def skim(self, word: str) -> Iterator[Statement | Run | Trailing]:
        """Yield what `parts` does, but of a large file's ordinary statements without `word` only how many there are."""
        if self.size <= REMEMBERED_SIZE:
            yield from self.parts()
            return
        with self.open() as stream:
            yield from skim(stream, self.path, word, self._data)

    def copy_data(self, statement: Statement) -> Iterator[bytes]:
        """Yield the inline data of a COPY … FROM stdin in pieces of up to a megabyte."""
        if statement.data is None:
            return
        with self.open() as stream:
            stream.seek(statement.data.start)
            left = statement.data.end - statement.data.start
            while left:
                piece = stream.read(min(left, _PIECE))
                if not piece:
                    raise SourceError(f"{self.path}: file changed during the run")
                left -= len(piece)
                yield piece

    def position(self, statement: Statement, index: int = 0) -> Position:
        """Return the position of a character of a statement, `index` counting from 0, with its source line."""
        before = statement.sql.decode()[:index]
        line = statement.line + before.count("\n")
        newline = before.rfind("\n")
        column = len(before) - newline if newline >= 0 else statement.column + len(before)
        text, shown = self._source_line(statement.offset + len(before.encode()))
        return Position(self.path, line, column, text, skipped=column - 1 - shown)

    def _source_line(self, offset: int) -> tuple[str, int]:
        """Return the line of a byte offset, or of a long line what is near, and the characters before the offset."""
        start = max(0, offset - _NEAR)
        with self.open() as stream:
            stream.seek(start)
            text = stream.read(2 * _NEAR)
        at = offset - start
        begin = text.rfind(b"\n", 0, at) + 1
        end = text.find(b"\n", at)
        # The piece may begin or end inside a character, whose bytes are then left out.
        before = text[begin:at].decode(errors="ignore").removeprefix("\ufeff")
        behind = text[at : end if end >= 0 else None].decode(errors="ignore")
        return (before + behind).rstrip("\r"), len(before)

    def token_checksum(self) -> str | None:
        """Return `tokens1:` and the hex digest of the token stream, or None for a file of more than 4 MB.

        Comments, white space and line ends do not count, nor does the case of key words and unquoted names. Strings and
        COPY data count byte for byte, but for the line ends in them. The 1 is the version of this formula.
        """
        if self.size > TOKEN_CHECKSUM_SIZE:
            return None
        digest = hashlib.sha256()
        for statement in self.statements():
            digest.update(parser.normalise(statement.sql))
            if statement.data is not None:
                # The file is small enough to hold.
                digest.update(b"".join(self.copy_data(statement)).replace(b"\r\n", b"\n"))
            digest.update(b"\1")
        return f"tokens1:{digest.hexdigest()}"


def read_script(file: Path | str, path: str) -> Script:
    """Read a file; `path` is how messages name it. Raises SourceError if it cannot be read."""
    try:
        with open(file, "rb", buffering=0) as stream:  # noqa: PTH123
            status = os.fstat(stream.fileno())
            if status.st_size <= KEPT_SIZE:
                return script_from(stream.readall(), path)
            digest = hashlib.sha256()
            while piece := stream.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise _unreadable(path, error) from None
    checksum = f"sha256:{digest.hexdigest()}"
    return Script(path, checksum, status.st_size, None, Path(file), status.st_mtime_ns)


def script_from(content: bytes, path: str) -> Script:
    """Return a Script of a text that is at hand."""
    return Script(path, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), content)


def _unreadable(path: str, error: OSError) -> SourceError:
    return SourceError(f"{path}: {(error.strerror or str(error)).lower()}")

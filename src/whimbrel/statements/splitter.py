"""SQL text → Statements, read left to right in pieces, so that memory does not grow with the file.

Lexing runs left to right: a statement's end that is found in a prefix of the text is one of the whole. A piece that
ends inside a token is read further.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from whimbrel.errors import Position, SourceError
from whimbrel.statements import parser
from whimbrel.statements.kind import Kind, classify

WINDOW = 32 * 1024
DATA_WINDOW = 1024 * 1024
BOM = b"\xef\xbb\xbf"
# Comments that hold this are kept with the statement that they stand above.
MARKER = b"whimbrel:"

# A lone semicolon is an empty statement, which the lexer leaves to its neighbour.
_BLANKS = re.compile(rb"(?:[ \t\r\n\f\v;]+|--[^\r\n]*)*")
_BODY = re.compile(rb"\batomic\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment that holds an annotation, with its delimiters; `line` and `column` count from 1."""

    text: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Data:
    """Where the data of a COPY … FROM stdin lies in the text: byte offsets, `end` exclusive and before the `\\.`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Statement:
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
class Trailing:
    """The annotations behind the last statement; in a file without statements, all of them."""

    comments: tuple[Comment, ...]


class _Reader:
    """The part of a file that is at hand, and how far it has been read.

    `at` is the byte index in `text` of what is read next; `offset`, `line` and `column` are its place in the file.
    """

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file = file
        self.path = path
        self.text = b""
        self.at = 0
        self.offset = 0
        self.line = 1
        self.column = 1
        self.is_exhausted = False
        self.fill(WINDOW)
        if self.text.startswith(BOM):
            self.at = self.offset = len(BOM)

    def fill(self, size: int) -> None:
        """Read until `size` unread bytes are at hand or the file ends; forget what has been read."""
        if self.at:
            self.text = self.text[self.at :]
            self.at = 0
        while len(self.text) < size and not self.is_exhausted:
            piece = self.file.read(size - len(self.text))
            self.is_exhausted = not piece
            zero = piece.find(b"\0")
            self.text += piece
            if zero >= 0:
                raise SourceError(
                    "file holds a zero byte",
                    hint="PostgreSQL takes UTF-8 text; save the file as UTF-8 (not UTF-16).",
                    position=self.position(len(self.text) - len(piece) + zero),
                )

    def grow(self) -> None:
        """Double what is at hand."""
        self.fill(max(WINDOW, 2 * (len(self.text) - self.at)))

    def whole(self) -> bytes:
        """Return the unread part up to its last line end, or all of it where the file ends or has no lines."""
        end = len(self.text)
        if not self.is_exhausted:
            end = self.text.rfind(b"\n", self.at) + 1 or _character_end(self.text)
        return self.text[self.at : end]

    def skip(self, size: int) -> None:
        """Go forward by `size` bytes of what is at hand."""
        end = self.at + size
        lines = self.text.count(b"\n", self.at, end)
        start = self.at
        if lines:
            self.line += lines
            self.column = 1
            start = self.text.rindex(b"\n", self.at, end) + 1
        self.column += len(self.text[start:end].decode(errors="replace"))
        self.at = end
        self.offset += size

    def position(self, index: int) -> Position:
        """Return the position of a byte index, counted from what is read next."""
        index += self.at
        lines = self.text.count(b"\n", self.at, index)
        start = self.text.rfind(b"\n", 0, index) + 1
        end = self.text.find(b"\n", index)
        source = self.text[start : end if end >= 0 else None].decode(errors="replace").rstrip("\r")
        if lines:
            return Position(self.path, self.line + lines, _width(self.text, start, index) + 1, source)
        column = self.column + _width(self.text, self.at, index)
        if start == 0 and self.offset > self.at:
            # The start of the line is forgotten; blanks keep the caret where it belongs.
            source = " " * (column - 1 - _width(self.text, 0, index)) + source
        return Position(self.path, self.line, column, source)


def _width(text: bytes, start: int, end: int) -> int:
    return len(text[start:end].decode(errors="replace"))


def _character_end(text: bytes) -> int:
    """Return the length of a text less the UTF-8 character that its end cuts in two, if it does."""
    for size in (1, 2, 3):
        lead = text[-size] if size <= len(text) else 0
        if lead & 0xC0 != 0x80:
            length = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
            return len(text) - size if length > size else len(text)
    return len(text)


def split(file: BinaryIO, path: str) -> Iterator[Statement | Trailing]:
    """Yield the statements of a file in order, then one Trailing.

    `path` is for messages. Raises SourceError for text that is not UTF-8, for what the lexer cannot read, and for psql
    meta-commands other than \\restrict and \\unrestrict. A COPY … FROM stdin carries the place of its inline data.
    """
    reader = _Reader(file, path)
    while True:
        text = reader.whole()
        ends, failure = _find_ends(reader, text)
        before = reader.offset
        yield from _read_statements(reader, text, ends)
        if reader.offset > before or _skip_tolerated(reader):
            reader.fill(WINDOW)
        elif not reader.is_exhausted and (failure is None or failure.is_unterminated or not text.endswith(b"\n")):
            reader.grow()
        elif failure is not None:
            index = len(text.decode()[: failure.index].encode()) if failure.index is not None else 0
            raise SourceError(failure.message, position=reader.position(index))
        else:
            yield from _finish(reader)
            return


def _read_statements(reader: _Reader, text: bytes, ends: list[int]) -> Iterator[Statement]:
    """Yield the statements that end in `text`, up to one behind which it has to be split anew."""
    start = 0
    for end in _join_bodies(text, ends):
        statement = _read_statement(reader, text[start:end])
        if statement is None:
            return
        reader.skip(end + 1 - start)
        start = end + 1
        if statement.kind is Kind.COPY_IN:
            yield _with_data(reader, statement)
            return
        yield statement


def _find_ends(reader: _Reader, text: bytes) -> tuple[list[int], parser.ParserError | None]:
    """Return where statements end in `text`, and the error that keeps the lexer from going on, if any."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise SourceError(
            f"byte 0x{text[error.start]:02x} is not valid UTF-8",
            hint="Save the file as UTF-8.",
            position=reader.position(error.start),
        ) from None
    try:
        return parser.find_terminators(text), None
    except parser.ParserError as failure:
        if not failure.index:
            return [], failure
        # What stands before the token that the lexer cannot read is good.
        prefix = text.decode()[: failure.index].encode()
        try:
            return parser.find_terminators(prefix), failure
        except parser.ParserError:
            return [], failure


def _join_bodies(text: bytes, ends: list[int]) -> Iterator[int]:
    """Yield the ends of statements, leaving out semicolons inside the BEGIN ATOMIC body of a routine.

    The count of BEGIN, CASE and END is how psql finds the end of such a body (PostgreSQL 14 and later).
    """
    start = 0
    depth = 0
    is_routine = False
    for end in ends:
        piece = text[start:end]
        if depth == 0:
            is_routine = _is_routine_with_body(piece)
        if is_routine:
            depth = _body_depth(piece, depth)
        if depth == 0:
            yield end
        start = end + 1


def _is_routine_with_body(piece: bytes) -> bool:
    if not _BODY.search(piece):
        return False
    words = _words(piece, 4)
    words = [word for word in words if word not in (b"or", b"replace")]
    return words[:1] == [b"create"] and words[1:2] in ([b"function"], [b"procedure"])


def _words(piece: bytes, count: int) -> list[bytes]:
    found: list[bytes] = []
    for token in parser.scan(piece):
        if token.is_comment:
            continue
        found.append(piece[token.start : token.end].lower())
        if len(found) == count:
            break
    return found


def _body_depth(piece: bytes, depth: int) -> int:
    parentheses = 0
    for token in parser.scan(piece):
        word = piece[token.start : token.end]
        if word == b"(":
            parentheses += 1
        elif word == b")":
            parentheses -= 1
        elif parentheses == 0 and token.is_word:
            match word.lower():
                case b"begin":
                    depth += 1
                case b"case" if depth:
                    depth += 1
                case b"end" if depth:
                    depth -= 1
                case _:
                    pass
    return depth


def _read_statement(reader: _Reader, piece: bytes) -> Statement | None:
    """Return the statement in a piece that ends before its semicolon, or None where a meta-command was skipped."""
    start = _first_token(piece)
    comments: tuple[Comment, ...] = ()
    if MARKER in piece:
        comments = _find_comments(reader, piece, start)
    if b"\\" in piece:
        if piece.startswith(b"\\", start):
            _skip_meta_command(reader, start)
            return None
        _refuse_meta_command(reader, piece)
    sql = piece[start:].rstrip()
    lines = piece.count(b"\n", 0, start)
    if lines:
        column = _width(piece, piece.rindex(b"\n", 0, start) + 1, start) + 1
    else:
        column = reader.column + _width(piece, 0, start)
    return Statement(sql, reader.offset + start, reader.line + lines, column, classify(sql), comments)


def _first_token(piece: bytes) -> int:
    """Return the byte index of the first token that is no comment, or the length of the piece."""
    match = _BLANKS.match(piece)
    start = match.end() if match else 0
    if not piece.startswith(b"/*", start):
        return start
    for token in parser.scan(piece):
        if not token.is_comment and piece[token.start : token.end] != b";":
            return token.start
    return len(piece)


def _find_comments(reader: _Reader, piece: bytes, start: int) -> tuple[Comment, ...]:
    found: list[Comment] = []
    for token in parser.scan(piece):
        text = piece[token.start : token.end]
        if not token.is_comment or not text[2:].lstrip().startswith(MARKER):
            continue
        position = reader.position(token.start)
        line_start = piece.rfind(b"\n", 0, token.start) + 1
        is_alone = not piece[line_start : token.start].strip() and (line_start > 0 or reader.column == 1)
        if token.start > start or not is_alone:
            raise SourceError(
                f"annotation {'inside' if token.start > start else 'behind'} a statement",
                hint="Put it on a line of its own above the statement that it is for.",
                position=position,
            )
        found.append(Comment(text.decode(), position.line, position.column))
    return tuple(found)


def _skip_tolerated(reader: _Reader) -> bool:
    """Skip a \\restrict line that no semicolon follows; say whether there was one."""
    rest = reader.text[reader.at :]
    start = _first_token_of_rest(rest)
    if start is None or not rest.startswith(b"\\", start):
        return False
    if b"\n" not in rest[start:] and not reader.is_exhausted:
        return False
    _skip_meta_command(reader, start)
    return True


def _first_token_of_rest(text: bytes) -> int | None:
    try:
        return _first_token(text)
    except parser.ParserError:
        return None


_ADVICE = {
    b"i": "Put the file's SQL here, or make it a migration of its own.",
    b"ir": "Put the file's SQL here, or make it a migration of its own.",
    b"include": "Put the file's SQL here, or make it a migration of its own.",
    b"copy": 'Use "COPY … FROM stdin;" with the data on the lines below it and "\\." at their end.',
    b"c": "A migration runs in the database that it is applied to; remove the line.",
    b"connect": "A migration runs in the database that it is applied to; remove the line.",
    b"set": "psql variables are not known here; write the value itself.",
    b"echo": "Use a comment, or DO $$BEGIN RAISE NOTICE '…'; END$$.",
    b"gset": "psql variables are not known here; use a DO block.",
    b"gexec": "Use a DO block with EXECUTE.",
    b"if": "Use a DO block with IF.",
    b"timing": "whimbrel shows how long each migration takes; remove the line.",
    b".": 'The end-of-data mark stands without a "COPY … FROM stdin;" above it.',
}


_META_COMMAND = re.compile(rb"\\(\.|[a-zA-Z_!?]+|.)")


def _meta_command(reader: _Reader, index: int) -> bytes:
    match = _META_COMMAND.match(reader.text, reader.at + index)
    return match.group(1) if match else b""


def _refusal(reader: _Reader, index: int) -> SourceError:
    name = _meta_command(reader, index)
    return SourceError(
        f'psql meta-command "\\{name.decode(errors="replace")}" is not SQL',
        hint=_ADVICE.get(name, "Write what it does in SQL."),
        position=reader.position(index),
    )


def _skip_meta_command(reader: _Reader, index: int) -> None:
    # pg_dump writes these two since August 2025 (18, 17.6, 16.10 …); they protect psql, not us.
    if _meta_command(reader, index) not in (b"restrict", b"unrestrict"):
        raise _refusal(reader, index)
    end = reader.text.find(b"\n", reader.at + index)
    reader.skip((end + 1 if end >= 0 else len(reader.text)) - reader.at)


def _refuse_meta_command(reader: _Reader, piece: bytes) -> None:
    for token in parser.scan(piece):
        if token.is_backslash:
            raise _refusal(reader, token.start)


def _with_data(reader: _Reader, statement: Statement) -> Statement:
    """Find the inline data that follows a COPY … FROM stdin and go past it."""
    position = reader.position(0)
    while b"\n" not in reader.text[reader.at :] and not reader.is_exhausted:
        reader.grow()
    rest, newline, _ = reader.text[reader.at :].partition(b"\n")
    blanks = _BLANKS.match(rest)
    if not newline or blanks is None or blanks.end() != len(rest):
        raise SourceError(
            "COPY FROM stdin without inline data",
            hint='Put the data on the lines below the statement and "\\." at their end.',
            position=position,
        )
    reader.skip(len(rest) + 1)
    start = reader.offset
    while (found := _find_end_of_data(reader)) is None:
        if reader.is_exhausted:
            raise SourceError(
                "inline data of COPY has no end",
                hint='Put "\\." on a line of its own behind the last row.',
                position=position,
            )
        # Everything up to the last complete line is data.
        reader.skip(reader.text.rfind(b"\n", reader.at) + 1 - reader.at if b"\n" in reader.text[reader.at :] else 0)
        reader.fill(2 * (len(reader.text) - reader.at) + DATA_WINDOW)
    size, mark = found
    data = Data(start, reader.offset + size)
    reader.skip(size + mark)
    return replace(statement, data=data)


def _find_end_of_data(reader: _Reader) -> tuple[int, int] | None:
    """Return how many bytes of data come before the `\\.` line, and that line's length; None if it is not at hand."""
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
            return index - reader.at, end + 1 - index
        index = end


def _finish(reader: _Reader) -> Iterator[Statement | Trailing]:
    """Yield what stands behind the last semicolon."""
    piece = reader.text[reader.at :]
    start = _first_token(piece)
    comments: tuple[Comment, ...] = ()
    if start == len(piece):
        comments = _find_comments(reader, piece, start) if MARKER in piece else ()
    elif (statement := _read_statement(reader, piece)) is not None:
        if statement.kind is Kind.COPY_IN:
            raise SourceError(
                "COPY FROM stdin without inline data",
                hint='End the statement with ";" and put the data on the lines below it.',
                position=reader.position(start),
            )
        yield statement
    yield Trailing(comments)

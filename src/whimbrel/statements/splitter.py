"""SQL text → Statements, read left to right in pieces, so that memory does not grow with the file.

Lexing runs left to right: a statement's end that is found in a prefix of the text is one of the whole. A piece that
ends inside a token is read further.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

from whimbrel.errors import SourceError
from whimbrel.statements import inline, meta, parser
from whimbrel.statements.blanks import BLANKS, first_token
from whimbrel.statements.kind import Kind, classify, is_suspect
from whimbrel.statements.reader import Reader
from whimbrel.statements.routine import join_bodies
from whimbrel.statements.statement import Comment, Run, Statement, Trailing

_WORD = re.compile(rb"\s*[A-Za-z]")
# Also with a capital letter, or without its colon: what looks like an annotation must not be passed over.
_ANNOTATION = re.compile(rb"(?:--|/\*)[\s*]*whimbrel\s*(?::|[\w-]+\s*=)", re.IGNORECASE)


def skim(file: BinaryIO, path: str, word: str, known: dict[int, inline.Extent]) -> Iterator[Statement | Run | Trailing]:
    """Do as `split` does, but only count ordinary statements where they stand in a row, in a fraction of the time.

    They have no annotation, and do not hold `word`, which is in lower case.
    """
    return _Splitter(Reader(file, path), word.encode(), known).parts()


def split(file: BinaryIO, path: str, known: dict[int, inline.Extent] | None = None) -> Iterator[Statement | Trailing]:
    """Yield the statements of a file in order, then one Trailing.

    `path` is for messages. Raises SourceError for text that is not UTF-8, for what the lexer cannot read, for psql
    meta-commands other than \\restrict and \\unrestrict, and for annotations inside or behind a statement. A COPY …
    FROM stdin carries the place of its inline data; `known` is where such places are kept for the next time.
    """
    return cast(
        "Iterator[Statement | Trailing]",
        _Splitter(Reader(file, path), None, known if known is not None else {}).parts(),
    )


class _Splitter:
    def __init__(self, reader: Reader, word: bytes | None, known: dict[int, inline.Extent]) -> None:
        self.reader = reader
        self.known = known
        # Only counted are ordinary statements without this word; None: all are yielded.
        self.word = word
        # Annotations above a meta-command belong to the statement below it.
        self.above: tuple[Comment, ...] = ()

    def parts(self) -> Iterator[Statement | Run | Trailing]:
        reader = self.reader
        while True:
            text = reader.whole_lines()
            ends, failure = _find_ends(reader, text)
            before = reader.offset
            yield from self._statements(text, ends)
            if reader.offset > before or self._skip_command(text):
                reader.fill()
            elif not reader.is_exhausted and (failure is None or failure.is_unterminated or not text.endswith(b"\n")):
                reader.grow()
            elif failure is not None:
                raise SourceError(failure.message, position=reader.position(_byte_index(text, failure.index or 0)))
            else:
                break
        yield from self._rest()

    def _statements(self, text: bytes, ends: list[int]) -> Iterator[Statement | Run]:
        """Yield the statements that end in `text`, up to one behind which it has to be split anew."""
        reader = self.reader
        # A tenth of what patterns that ignore case take, and nearly every text holds none of these.
        lower = text.lower()
        if b"atomic" in lower:
            ends = list(join_bodies(text, ends))
        if b"\\" not in text and not self.above and b"whimbrel" not in lower:
            if self.word is not None and self.word not in lower and _are_ordinary(text, reader.at, ends):
                reader.go_to(ends[-1] + 1)
                yield Run(len(ends))
            else:
                yield from self._plain_statements(text, ends)
            return
        behind = reader.at
        for end in ends:
            start = first_token(text, behind, end)
            reader.go_to(behind)
            self.above += self._annotations(start)
            if text.startswith(b"\\", start):
                meta.skip_command(reader, start)
                return
            self._check(start, end)
            statement = self._statement(text, start, end)
            behind = end + 1
            if statement.kind is Kind.COPY_IN:
                reader.go_to(behind)
                yield self._with_data(statement)
                return
            yield statement
        reader.go_to(behind)

    def _plain_statements(self, text: bytes, ends: Iterable[int]) -> Iterator[Statement]:
        """Yield the statements of a text without annotations and meta-commands; most of a large file is such text."""
        reader = self.reader
        is_ascii = text.isascii()
        base, line, column = reader.offset - reader.at, reader.line, reader.column
        behind = counted = reader.at
        for end in ends:
            # The loop that a large file's time goes to: what is rare is found by its first byte.
            start = _find_word(text, behind, end)
            if start < 0:
                start = first_token(text, behind, end)
            lines = text.count(b"\n", counted, start)
            if lines:
                line += lines
                column = 1
                counted = text.rindex(b"\n", counted, start) + 1
            column += start - counted if is_ascii else len(text[counted:start].decode())
            counted = start
            behind = end + 1
            sql = text[start:end].rstrip()
            kind = classify(sql)
            if kind is Kind.COPY_IN:
                reader.go_to(behind)
                yield self._with_data(Statement(sql, base + start, line, column, kind))
                return
            yield Statement(sql, base + start, line, column, kind)
        reader.go_to(behind)

    def _statement(self, text: bytes, start: int, end: int) -> Statement:
        reader = self.reader
        reader.go_to(start)
        sql = text[start:end].rstrip()
        comments, self.above = self.above, ()
        return Statement(sql, reader.offset, reader.line, reader.column, classify(sql), comments)

    def _rest(self) -> Iterator[Statement | Trailing]:
        """Yield what stands behind the last semicolon."""
        reader = self.reader
        text = reader.text
        start = first_token(text, reader.at, len(text))
        self.above += self._annotations(start)
        if start < len(text):
            self._check(start, len(text))
            statement = self._statement(text, start, len(text))
            if statement.kind is Kind.COPY_IN:
                raise SourceError(
                    "COPY FROM stdin without inline data",
                    hint='End the statement with ";" and put the data on the lines below it.',
                    position=reader.position(start),
                )
            yield statement
        yield Trailing(self.above)

    def _with_data(self, statement: Statement) -> Statement:
        reader = self.reader
        position = reader.position(reader.at)
        while b"\n" not in reader.text[reader.at :] and not reader.is_exhausted:
            reader.grow()
        end = reader.text.find(b"\n", reader.at)
        if end < 0 or not BLANKS.fullmatch(reader.text, reader.at, end):
            raise SourceError(
                "COPY FROM stdin without inline data",
                hint='Put the data on the lines below the statement and "\\." at their end.',
                position=position,
            )
        self._annotations(end)
        reader.go_to(end + 1)
        return statement._replace(data=inline.skip_data(reader, position, self.known))

    def _annotations(self, end: int) -> tuple[Comment, ...]:
        """Return the annotations between what is read next and an index, where there are only comments."""
        reader = self.reader
        found: list[Comment] = []
        for index, text in _find_annotations(reader.text, reader.at, end):
            line_start = reader.text.rfind(b"\n", reader.at, index) + 1 or reader.at
            if reader.text[line_start:index].strip() or (line_start == reader.at and reader.column > 1):
                raise self._misplaced("behind", index)
            position = reader.position(index)
            found.append(Comment(text.decode(), position.line, position.column))
        return tuple(found)

    def _check(self, start: int, end: int) -> None:
        """Refuse annotations and meta-commands inside a statement."""
        for index, _ in _find_annotations(self.reader.text, start, end):
            raise self._misplaced("inside", index)
        meta.refuse_command(self.reader, start, end)

    def _misplaced(self, where: str, index: int) -> SourceError:
        return SourceError(
            f"annotation {where} a statement",
            hint="Put it on a line of its own above the statement that it is for.",
            position=self.reader.position(index),
        )

    def _skip_command(self, text: bytes) -> bool:
        """Skip a \\restrict line that no semicolon follows; say whether there was one."""
        reader = self.reader
        try:
            start = first_token(text, 0, len(text))
        except parser.ParserError:
            return False
        if not text.startswith(b"\\", start) or (b"\n" not in text[start:] and not reader.is_exhausted):
            return False
        self.above += self._annotations(start)
        meta.skip_command(reader, start)
        return True


def _are_ordinary(text: bytes, start: int, ends: list[int]) -> bool:
    """Whether statements can be told to be ordinary by their first letters alone."""
    if not ends or is_suspect(text, first_token(text, start, ends[0])):
        return False
    # All at once, since a large file's statements begin alike, each on a line of its own.
    heads = {text[end + 1 : end + 3] for end in ends[:-1]}
    return all(head[:1] == b"\n" and head[1:].isalpha() and not is_suspect(head, 1) for head in heads)


def _find_word(text: bytes, start: int, end: int) -> int:
    """Return the index of the first letter, if there is only white space before it, else -1."""
    match = _WORD.match(text, start, end)
    return match.end() - 1 if match is not None else -1


def _find_ends(reader: Reader, text: bytes) -> tuple[list[int], parser.ParserError | None]:
    """Return where statements end in `text`, and the error that keeps the lexer from going on, if any."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise SourceError(
            f"byte 0x{text[error.start]:02x} is not valid UTF-8",
            hint="Save the file as UTF-8.",
            position=reader.position(error.start),
        ) from None
    failure: parser.ParserError | None = None
    while text:
        try:
            return parser.find_terminators(text), failure
        except parser.ParserError as error:
            failure = failure or error
            # What stands before the place that the lexer cannot read is good, or the lexer stops earlier still.
            end = _byte_index(text, error.index or 0)
            text = text[:end] if end < len(text) else b""
    return [], failure


def _byte_index(text: bytes, index: int) -> int:
    return len(text.decode()[:index].encode())


def _find_annotations(text: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the index and the text of comments that speak to whimbrel."""
    if not _ANNOTATION.search(text, start, end):
        return
    for token in parser.scan(text[start:end]):
        comment = text[start + token.start : start + token.end]
        if token.is_comment and _ANNOTATION.match(comment):
            yield start + token.start, comment

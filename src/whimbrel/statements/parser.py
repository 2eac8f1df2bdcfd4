"""libpg_query, PostgreSQL's own lexer and grammar (18), as whimbrel needs it; nothing else imports it.

postgast is imported on first use: it costs some 70 ms, and a run with nothing pending parses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import POINTER, c_int, cast
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import Node

# The PostgreSQL major version whose grammar libpg_query holds; a newer server may accept more.
GRAMMAR_VERSION = 18


class ParserError(Exception):
    """What the lexer or the grammar refuses.

    `message` does not repeat the text that is refused, which can be the rest of the file. `index` is the 0-based
    character index, or None where it is unknown.
    """

    def __init__(self, message: str, index: int | None) -> None:
        self.message = message
        self.index = index
        super().__init__(message)

    @property
    def is_unterminated(self) -> bool:
        """Whether a string, comment or quoted name was still open at the end of the text."""
        return self.message.startswith("unterminated")


class Token(NamedTuple):
    """One token with its byte offsets in the scanned text; `end` is exclusive."""

    start: int
    end: int
    is_comment: bool
    # Words that PostgreSQL folds to lower case: key words and unquoted names.
    is_word: bool
    is_backslash: bool


@cache
def _library() -> Any:  # a ctypes.CDLL, whose functions have no types
    from postgast.native import lib

    return lib


def find_terminators(text: bytes) -> list[int]:
    """Return the byte offsets of the semicolons that end a statement, as the lexer alone sees them.

    Semicolons in strings, comments, quoted names and parentheses are passed over; those inside a `BEGIN ATOMIC` body
    are not, and empty statements are left out. Raises ParserError where the lexer stops, with no partial result.
    """
    library = _library()
    result = library.pg_query_split_with_scanner(text)
    try:
        if result.error:
            error = result.error.contents
            raise _error(error.message.decode(), error.cursorpos)
        # Each is a pointer to two integers, location and length; reading them as such takes half the time.
        pointers = cast(result.stmts, POINTER(POINTER(c_int)))
        ends = [pair[0] + pair[1] for pair in pointers[: result.n_stmts]]
        # The last statement has no terminator where the text ends without one.
        return ends if not ends or text[ends[-1] : ends[-1] + 1] == b";" else ends[:-1]
    finally:
        library.pg_query_free_split_result(result)


def scan(text: bytes) -> Iterator[Token]:
    """Yield the tokens of a text, comments among them, in order. Raises ParserError where the lexer stops."""
    import postgast
    from postgast.pg_query_pb2 import KeywordKind
    from postgast.pg_query_pb2 import Token as Kind

    try:
        tokens = postgast.scan(text.decode()).tokens
    except postgast.PgQueryError as error:
        raise _error(error.message, error.cursorpos) from None
    # Looking one of these up costs as much as all else that is done with a token.
    comments = (Kind.SQL_COMMENT, Kind.C_COMMENT)
    no_keyword, name, backslash = KeywordKind.NO_KEYWORD, Kind.IDENT, Kind.ASCII_92
    for token in tokens:
        kind = token.token
        start = token.start
        is_word = token.keyword_kind != no_keyword or (kind == name and text[start : start + 1] != b'"')
        yield Token(start, token.end, kind in comments, is_word, kind == backslash)


def parse(text: bytes) -> Node | None:
    """Return the syntax tree of one statement, None for an empty text.

    Raises ParserError where the grammar refuses the text. A text of several statements gives the first one's tree.
    """
    import postgast

    try:
        trees = postgast.parse(text.decode()).stmts
    except postgast.PgQueryError as error:
        raise _error(error.message, error.cursorpos) from None
    return trees[0].stmt if trees else None


def check(text: bytes) -> None:
    """Raise ParserError if the grammar refuses a statement. Builds no tree on this side."""
    library = _library()
    result = library.pg_query_parse_protobuf(text)
    try:
        if result.error:
            error = result.error.contents
            raise ParserError(error.message.decode(), error.cursorpos - 1 if error.cursorpos > 0 else None)
    finally:
        library.pg_query_free_protobuf_parse_result(result)


def _error(message: str, cursor: int) -> ParserError:
    return ParserError(message.partition(" at or near ")[0], cursor - 1 if cursor > 0 else None)

"""libpg_query, PostgreSQL's own lexer and grammar (18), as whimbrel needs it; nothing else imports it.

Most runs need the lexer alone, and that without postgast's classes for syntax trees: building those takes longer than a
dozen small migrations do. They are imported where a tree is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ctypes import POINTER, c_int, cast, string_at
from functools import cache, lru_cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
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
    # Importing postgast.native would import all of postgast first.
    package = find_spec("postgast")
    assert package is not None
    assert package.origin is not None
    spec = spec_from_file_location("whimbrel_libpg_query", Path(package.origin).with_name("native.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.lib


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


# The numbers of pg_query.proto's enum Token that matter here; libpg_query 18.
IDENT, SQL_COMMENT, C_COMMENT, BACKSLASH = 258, 275, 276, 92
# A ScanResult on the wire is a row of ScanTokens: start, end, token and keyword_kind, each left out where it is 0.
_NUMBER = rb"([\x80-\xff]*[\x00-\x7f])"
_TOKEN = rb"\x12.(?:\x08%b)?\x10%b(?:\x20%b)?(?:\x28%b)?" % ((_NUMBER,) * 4)


def scan(text: bytes) -> Iterator[Token]:
    """Yield the tokens of a text, comments among them, in order. Raises ParserError where the lexer stops."""
    for starts, ends, kinds, keyword in _scan(text):
        start, end, kind = _integer(starts), _integer(ends), _integer(kinds)
        is_word = bool(keyword) or (kind == IDENT and text[start : start + 1] != b'"')
        yield Token(start, end, kind in (SQL_COMMENT, C_COMMENT), is_word, kind == BACKSLASH)


def normalise(text: bytes) -> bytes:
    """Return the tokens of a text without comments, words in lower case and CRLF as LF, a zero byte behind each.

    Raises ParserError where the lexer stops.
    """
    found: list[bytes] = []
    for starts, ends, kinds, keyword in _scan(text):
        token = text[_integer(starts) : _integer(ends)]
        if keyword:
            found.append(token.lower())
            continue
        kind = _integer(kinds)
        if kind == IDENT and token[:1] != b'"':
            found.append(token.lower())
        elif kind not in (SQL_COMMENT, C_COMMENT):
            found.append(token.replace(b"\r\n", b"\n"))
    found.append(b"")
    return b"\0".join(found)


def _scan(text: bytes) -> list[tuple[bytes, bytes, bytes, bytes]]:
    """Return start, end, token and keyword_kind of each token as they are on the wire, empty for 0."""
    library = _library()
    result = library.pg_query_scan(text)
    try:
        if result.error:
            error = result.error.contents
            raise _error(error.message.decode(), error.cursorpos)
        message = string_at(result.pbuf.data, result.pbuf.len)
    finally:
        library.pg_query_free_scan_result(result)
    return re.findall(_TOKEN, message, re.DOTALL)


@lru_cache(maxsize=4096)
def _integer(varint: bytes) -> int:
    """Return a number of the protobuf wire format: seven bits in a byte, the lowest first."""
    value = 0
    for byte in reversed(varint):
        value = value << 7 | byte & 0x7F
    return value


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

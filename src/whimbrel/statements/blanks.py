"""What stands between statements: white space, comments and lone semicolons."""

from __future__ import annotations

import re

from whimbrel.statements import parser

# A lone semicolon is an empty statement, which the lexer leaves to its neighbour.
BLANKS = re.compile(rb"(?:[ \t\r\n\f\v;]+|--[^\r\n]*)*")
_FIRST_SCAN = 1024


def first_token(text: bytes, start: int, end: int) -> int:
    """Return the index of the first token between two indexes that is no comment, or `end`."""
    match = BLANKS.match(text, start, end)
    assert match is not None
    if not text.startswith(b"/*", match.end(), end):
        return match.end()
    # Block comments nest, so they are left to the lexer; the statement behind them may be megabytes long.
    size = _FIRST_SCAN
    while start + size < end:
        found = _scan(text, start, _character_start(text, start + size))
        if found is not None:
            return found
        size *= 4
    for token in parser.scan(text[start:end]):
        if not token.is_comment and text[start + token.start : start + token.end] != b";":
            return start + token.start
    return end


def _scan(text: bytes, start: int, end: int) -> int | None:
    """Return the index of the first token, None if `end` cuts it or comes before it."""
    piece = text[start:end]
    try:
        for token in parser.scan(piece):
            if not token.is_comment and piece[token.start : token.end] != b";":
                return start + token.start if start + token.end < end else None
    except parser.ParserError as error:
        # The end cuts a later token, a string perhaps: what stands before that one is good.
        good = len(piece.decode()[: error.index or 0].encode())
        return _scan(text, start, start + good) if good else None
    return None


def _character_start(text: bytes, index: int) -> int:
    while text[index] & 0xC0 == 0x80:
        index -= 1
    return index

"""BEGIN ATOMIC bodies, whose semicolons end no statement of the script (PostgreSQL 14 and later)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from whimbrel.statements import parser
from whimbrel.statements.blanks import first_token

_ATOMIC = re.compile(rb"\batomic\b", re.IGNORECASE)
_CREATE = re.compile(rb"create\b", re.IGNORECASE)


def join_bodies(text: bytes, ends: Iterable[int]) -> Iterator[int]:
    """Yield the ends of statements without those of semicolons inside the SQL body of a routine."""
    start = 0
    depth = 0
    is_routine = False
    for end in ends:
        piece = text[start:end]
        if depth == 0:
            is_routine = _is_routine(piece)
        if is_routine:
            depth = _depth(piece, depth)
        if depth == 0:
            yield end
        start = end + 1


def _is_routine(piece: bytes) -> bool:
    # Data may hold the word, too.
    if not (_ATOMIC.search(piece) and _CREATE.match(piece, first_token(piece, 0, len(piece)))):
        return False
    words: list[bytes] = []
    for token in parser.scan(piece):
        word = piece[token.start : token.end].lower()
        if token.is_comment or word in (b";", b"or", b"replace"):
            continue
        words.append(word)
        if len(words) == 2:
            break
    return words in ([b"create", b"function"], [b"create", b"procedure"])


def _depth(piece: bytes, depth: int) -> int:
    """Count BEGIN, CASE and END outside parentheses: this is how psql finds the end of such a body."""
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

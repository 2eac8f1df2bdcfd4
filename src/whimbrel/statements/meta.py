"""psql meta-commands: two are passed over, the others refused with what to write instead."""

from __future__ import annotations

import re

from whimbrel.errors import SourceError
from whimbrel.statements import parser
from whimbrel.statements.reader import Reader

# pg_dump writes these two since August 2025 (18, 17.6, 16.10 …); they protect psql, not us.
_TOLERATED = (b"restrict", b"unrestrict")
_NAME = re.compile(rb"\\(\.|[a-zA-Z_!?]+|.)")
# Inside a word or a string, as in 'C:\temp', a backslash is not worth a scan; the server refuses the rest.
_SUSPECT = re.compile(rb"[\s;)]\\")
# The tokens of a larger statement would take up far more memory than its text.
_SCAN_SIZE = 1024 * 1024

_INCLUDE = "Put the file's SQL here, or make it a migration of its own."
_CONNECT = "A migration runs in the database that it is applied to; remove the line."
_VARIABLE = "psql variables are not known here; write the value itself."
_DO_QUERY = "psql variables are not known here; use a DO block."
_DO_IF = "Use a DO block with IF."
_COMMENT = "Use a comment, or DO $$BEGIN RAISE NOTICE '…'; END$$."
_REMOVE = "It concerns psql's own output; remove the line."
_ADVICE = {
    b"i": _INCLUDE,
    b"ir": _INCLUDE,
    b"include": _INCLUDE,
    b"include_relative": _INCLUDE,
    b"copy": 'Use "COPY … FROM stdin;" with the data on the lines below it and "\\." at their end.',
    b"c": _CONNECT,
    b"connect": _CONNECT,
    b"set": _VARIABLE,
    b"unset": _VARIABLE,
    b"echo": _COMMENT,
    b"qecho": _COMMENT,
    b"warn": _COMMENT,
    b"g": 'End the statement with ";".',
    b"gset": _DO_QUERY,
    b"gexec": "Use a DO block with EXECUTE.",
    b"if": _DO_IF,
    b"elif": _DO_IF,
    b"else": _DO_IF,
    b"endif": _DO_IF,
    b"encoding": "Save the file as UTF-8 and remove the line.",
    b"timing": "whimbrel shows how long each migration takes; remove the line.",
    b"pset": _REMOVE,
    b"x": _REMOVE,
    b"q": "The whole file is run; remove what should not be.",
    b".": 'The end-of-data mark stands without a "COPY … FROM stdin;" above it.',
}


def skip_command(reader: Reader, index: int) -> None:
    """Go past the line of the meta-command at an index. Raises SourceError for one that is not tolerated."""
    if _name(reader.text, index) not in _TOLERATED:
        raise _refusal(reader, index)
    end = reader.text.find(b"\n", index)
    reader.go_to(end + 1 if end >= 0 else len(reader.text))


def refuse_command(reader: Reader, start: int, end: int) -> None:
    """Raise SourceError if a meta-command stands between two indexes."""
    if end - start > _SCAN_SIZE or not _SUSPECT.search(reader.text, start, end):
        return
    for token in parser.scan(reader.text[start:end]):
        if token.is_backslash:
            raise _refusal(reader, start + token.start)


def _name(text: bytes, index: int) -> bytes:
    match = _NAME.match(text, index)
    return match.group(1) if match else b""


def _refusal(reader: Reader, index: int) -> SourceError:
    name = _name(reader.text, index)
    return SourceError(
        f'psql meta-command "\\{name.decode(errors="replace")}" is not SQL',
        hint=_ADVICE.get(name, "Write what it does in SQL."),
        position=reader.position(index),
    )

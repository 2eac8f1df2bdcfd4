"""What of PostgreSQL's protocol tells whether a client waits: which messages ask, and which answer.

PostgreSQL 18 documentation, chapter 54, "Frontend/Backend Protocol".
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator

_STARTUP = b""
_LENGTH = struct.Struct("!I")
# Parse, Bind, Describe, Execute, Close, Sync, Query, FunctionCall, PasswordMessage and its like, CopyDone, CopyFail.
_REQUESTS = frozenset((b"P", b"B", b"D", b"E", b"C", b"S", b"Q", b"F", b"p", b"c", b"f"))
# ParseComplete, BindComplete, CloseComplete, RowDescription, NoData, CommandComplete, EmptyQueryResponse,
# PortalSuspended.
_PARTIAL_ANSWERS = frozenset((b"1", b"2", b"3", b"T", b"n", b"C", b"I", b"s"))
_READY = b"Z"
# CopyInResponse, CopyBothResponse: now it is the client's turn, and a Sync that it sent already is ignored.
_COPIES = frozenset((b"G", b"W"))
_AUTHENTICATION = b"R"
# SSLRequest and GSSENCRequest, answered with a single byte.
_PREFACES = (80877103, 80877104)


class Ledger:
    """The requests of one connection and their answers. Fed in pieces, from two threads.

    `round_trips` counts the requests that were made while no answer was outstanding; `sent` and `received` are bytes.
    """

    def __init__(self) -> None:
        self.round_trips = 0
        self.sent = 0
        self.received = 0
        self._lock = threading.Lock()
        self._requests = _Messages(has_startup=True)
        self._answers = _Messages(has_startup=False)
        # What each Sync or Query ends: the number of requests up to it. Behind an error the server skips to the next.
        self._asked = 0
        self._answered = 0
        self._ends: list[int] = []
        self._is_simple = False

    def ask(self, data: bytes) -> None:
        """Take what the client sent."""
        with self._lock:
            self.sent += len(data)
            for kind, body in self._requests.feed(data):
                if kind == _STARTUP:
                    is_preface = int.from_bytes(body, "big") in _PREFACES
                    self._answers.expects_byte = is_preface
                    self._requests.has_startup = is_preface
                elif kind not in _REQUESTS:
                    continue
                if self._answered >= self._asked:
                    self.round_trips += 1
                self._asked += 1
                self._is_simple = kind == b"Q"
                if kind in {_STARTUP, b"S", b"Q", b"F"} and not self._requests.has_startup:
                    self._ends.append(self._asked)

    def answer(self, data: bytes) -> None:
        """Take what the client has received from the server."""
        with self._lock:
            self.received += len(data)
            for kind, _ in self._answers.feed(data):
                if kind == _READY:
                    self._answered = max(self._answered, self._ends.pop(0) if self._ends else self._asked)
                elif kind in _COPIES:
                    self._ends.clear()
                    self._answered = self._asked
                elif kind in {_AUTHENTICATION, _STARTUP}:
                    self._answered = self._asked
                elif kind in _PARTIAL_ANSWERS and not self._is_simple:
                    # The last of what is asked is the Sync, which only ReadyForQuery answers.
                    self._answered = min(self._answered + 1, self._asked)


class _Messages:
    """Cuts a stream into messages: the type of each, and the first bytes of one that has no type."""

    def __init__(self, *, has_startup: bool) -> None:
        self.has_startup = has_startup
        self.expects_byte = False
        # What is too short to tell, and how much of the last message is still to come.
        self._buffer = b""
        self._skip = 0

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        buffer = self._buffer + data
        size = len(buffer)
        position = self._skip
        while position < size:
            if self.expects_byte:
                self.expects_byte = False
                position += 1
                yield _STARTUP, b""
            elif self.has_startup:
                if size - position < 8:
                    break
                start = position
                position += _LENGTH.unpack_from(buffer, start)[0]
                yield _STARTUP, buffer[start + 4 : start + 8]
            else:
                if size - position < 5:
                    break
                start = position
                position += 1 + _LENGTH.unpack_from(buffer, start + 1)[0]
                yield buffer[start : start + 1], b""
        self._buffer = buffer[position:]
        self._skip = max(0, position - size)

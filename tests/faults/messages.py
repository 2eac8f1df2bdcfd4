"""PostgreSQL's protocol, as far as its messages begin and end (PostgreSQL 18 documentation, 54.7 Message Formats)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_ENCRYPTION_REQUESTS = (80877103, 80877104)  # SSLRequest, GSSENCRequest
_CANCEL_REQUEST = 80877102


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it was on the wire. `kind` is its type byte; `startup`, `encryption`, `cancel` have none.

    `answer` is the single byte that answers a request for encryption.
    """

    kind: str
    data: bytes

    @property
    def text(self) -> str:
        """Return the SQL of a Parse or Query, else nothing."""
        if self.kind == "P":
            return self.strings[1]
        return self.data[5:-1].decode(errors="replace") if self.kind == "Q" else ""

    @property
    def strings(self) -> list[str]:
        """Return what stands between zero bytes: of a Parse first its name and SQL, of a Bind its portal and name."""
        return self.data[5:].decode(errors="replace").split("\0")


class Splitter:
    """Cuts one direction of a connection into messages; what is not whole yet is kept."""

    def __init__(self, *, is_frontend: bool) -> None:
        self._is_typed = not is_frontend
        self._kept = b""
        # Set by whoever sees the other direction: the next byte stands alone.
        self.expects_answer = False

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes as they arrive; return the messages that are whole now."""
        self._kept += data
        found: list[Message] = []
        while (message := self._next()) is not None:
            self._kept = self._kept[len(message.data) :]
            found.append(message)
        return found

    def _next(self) -> Message | None:
        kept = self._kept
        if self.expects_answer and kept:
            self.expects_answer = False
            return Message("answer", kept[:1])
        offset = 1 if self._is_typed else 0
        if len(kept) < offset + 4:
            return None
        size = offset + struct.unpack_from("!I", kept, offset)[0]
        if len(kept) < size:
            return None
        if self._is_typed:
            return Message(chr(kept[0]), kept[:size])
        code = struct.unpack_from("!I", kept, 4)[0]
        if code in _ENCRYPTION_REQUESTS:
            return Message("encryption", kept[:size])
        self._is_typed = True
        return Message("cancel" if code == _CANCEL_REQUEST else "startup", kept[:size])


def last_statement(messages: Sequence[Message]) -> str:
    """Return the SQL that a frontend spoke of last: of the last Query or Parse, or of what a later Bind names."""
    prepared: dict[str, str] = {}
    text = ""
    for message in messages:
        if message.kind in "PQ":
            text = message.text
            if message.kind == "P":
                prepared[message.strings[0]] = text
        elif message.kind == "B":
            text = prepared.get(message.strings[1], "")
    return text


def backend_pid(message: Message) -> int | None:
    """Return the process that a BackendKeyData names; None for any other message."""
    return struct.unpack_from("!I", message.data, 5)[0] if message.kind == "K" else None

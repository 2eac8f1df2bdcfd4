"""A proxy before the server's Unix socket that counts messages and strikes once, at an exact place."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.faults.messages import Message, Splitter, backend_pid

POLL_INTERVAL = 50  # milliseconds
PATIENCE = 60.0


class Side(Enum):
    """Whose messages are counted. A waiting statement is no message: the strike is asked for by `strike`."""

    FRONTEND = "frontend"
    BACKEND = "backend"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """Where to strike: when exactly `count` messages of a side were delivered, or in a wait, the `count`-th from 0.

    Frontend: at once, before the next one is passed on. Backend: when the next one has come, which is withheld.
    """

    side: str
    count: int

    def __str__(self) -> str:
        return f"{self.side} {self.count}"


class Blow(Enum):
    """How the connection is struck."""

    # Both sides are closed.
    CUT = "cut"
    # `on_strike` kills the client; then the server's side is closed, as the client's kernel would.
    KILL = "kill"
    # `on_strike` does something to the server; what comes of it is passed on.
    SERVER = "server"


@dataclass
class Seen:
    """What the proxy saw and passed on in the connection that it watches, which is the first one."""

    frontend: list[Message] = field(default_factory=list[Message])
    backend: list[Message] = field(default_factory=list[Message])
    pid: int | None = None
    connections: int = 0
    # How many messages of each side were passed on when it struck.
    struck_at: tuple[int, int] | None = None


class Proxy:
    """A context manager; `dsn` leads through it. Strikes the first connection, and passes all others freely."""

    def __init__(
        self,
        folder: Path,
        dsn: str,
        point: Point | None = None,
        blow: Blow = Blow.CUT,
        on_strike: Callable[[int | None], None] = lambda _: None,
    ) -> None:
        parameters = conninfo_to_dict(dsn)
        self._target = f"{parameters['host']}/.s.PGSQL.{parameters['port']}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        self._point = point
        self._blow = blow
        self._on_strike = on_strike
        self._asked = threading.Event()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        self.struck = threading.Event()
        self.seen = Seen()
        self.dsn = make_conninfo(dsn, host=str(folder), port="5432")

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        # Wakes accept(), which closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)
        if self._error is not None and error is None:
            raise self._error

    def strike(self) -> None:
        """Strike in a wait: now, wherever the messages are."""
        self._asked.set()
        if not self.struck.wait(PATIENCE):
            raise AssertionError("there was no connection to strike")

    def _start(self, target: Callable[[], None]) -> None:
        def run() -> None:
            try:
                target()
            except BaseException as error:  # noqa: BLE001  (raised in the thread that owns the proxy)
                self._error = self._error or error
                self.struck.set()

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.seen.connections += 1
            is_watched = self.seen.connections == 1
            self._start(lambda client=client, is_watched=is_watched: self._serve(client, is_watched))

    def _serve(self, client: socket.socket, is_watched: bool) -> None:
        server = socket.socket(socket.AF_UNIX)
        with client, server:
            try:
                server.connect(self._target)
            except OSError:
                # The server is down: so is the way to it.
                return
            _Link(self, client, server, is_watched=is_watched).run()

    # What a link needs of its proxy.

    def is_due(self, side: Side, count: int) -> bool:
        """Whether to strike now that `count` messages of a side were passed on."""
        point = self._point
        return point is not None and not self.struck.is_set() and (point.side, point.count) == (side.value, count)

    def is_asked(self) -> bool:
        """Whether to strike in a wait."""
        return self._asked.is_set() and not self.struck.is_set()

    def is_closing(self) -> bool:
        """Whether the proxy is to end."""
        return self._closing.is_set()

    def deal(self) -> Blow:
        """Do what is to be done beside the connection; return what is to be done to it."""
        self.seen.struck_at = len(self.seen.frontend), len(self.seen.backend)
        self._on_strike(self.seen.pid)
        self.struck.set()
        return self._blow


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket, *, is_watched: bool) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._is_watched = is_watched
        self._from_client = Splitter(is_frontend=True)
        self._from_server = Splitter(is_frontend=False)
        self._is_over = False

    def run(self) -> None:
        if self._is_watched and self._proxy.is_due(Side.FRONTEND, 0):
            self._strike(Side.FRONTEND)
            if self._is_over:
                return
        poll = select.poll()
        poll.register(self._client, select.POLLIN)
        poll.register(self._server, select.POLLIN)
        while not self._is_over and not self._proxy.is_closing():
            if self._is_watched and self._proxy.is_asked():
                self._strike(Side.WAITING)
                continue
            for descriptor, _ in poll.poll(POLL_INTERVAL):
                if self._is_over:
                    break
                if descriptor == self._client.fileno():
                    self._take_from_client()
                else:
                    self._take_from_server()

    def _take_from_client(self) -> None:
        data = _receive(self._client)
        if not data:
            self._is_over = True
            return
        if not self._is_watched:
            self._is_over = not _send(self._server, data)
            return
        for message in self._from_client.feed(data):
            # A server that hung up has said why; that is still to be passed on.
            _send(self._server, message.data)
            self._proxy.seen.frontend.append(message)
            self._from_server.expects_answer = message.kind == "encryption"
            if self._proxy.is_due(Side.FRONTEND, len(self._proxy.seen.frontend)):
                self._strike(Side.FRONTEND)
                if self._is_over:
                    return

    def _take_from_server(self) -> None:
        data = _receive(self._server)
        if not data:
            self._is_over = True
            return
        if not self._is_watched:
            self._is_over = not _send(self._client, data)
            return
        for message in self._from_server.feed(data):
            if self._proxy.is_due(Side.BACKEND, len(self._proxy.seen.backend)):
                self._strike(Side.BACKEND)
                if self._is_over:
                    return
            self._proxy.seen.pid = backend_pid(message) or self._proxy.seen.pid
            _send(self._client, message.data)
            self._proxy.seen.backend.append(message)

    def _strike(self, side: Side) -> None:
        blow = self._proxy.deal()
        if blow is Blow.SERVER:
            return
        self._is_over = True
        if blow is Blow.KILL:
            # What the client had sent before it died is on its way. At a frontend point it had sent no more.
            while data := _receive(self._client):
                if side is not Side.FRONTEND:
                    _send(self._server, data)
        elif side is not Side.BACKEND:
            # The server works off everything that was delivered, finds the end behind it, and talks to nobody.
            self._client.close()
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_WR)
            while _receive(self._server):
                pass


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(65536)
    except OSError:
        return b""


def _send(sink: socket.socket, data: bytes) -> bool:
    try:
        sink.sendall(data)
    except OSError:
        return False
    return True

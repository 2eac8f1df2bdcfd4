"""A proxy between a client and the server's Unix socket that can keep answers back and cut the connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Proxy:
    """Passes everything on until the client sends `marker`; from then on answers are kept back.

    `held` is set when that happens. `cut` closes both sides; connections that are made afterwards pass freely.
    """

    def __init__(self, folder: Path, dsn: str, marker: bytes) -> None:
        parameters = conninfo_to_dict(dsn)
        self._target = f"{parameters['host']}/.s.PGSQL.{parameters['port']}"
        self._marker = marker
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._is_cut = False
        self.held = threading.Event()
        self.dsn = make_conninfo(dsn, host=str(folder), port="5432")

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Wakes accept(), which closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._close()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """Close what is open."""
        self._is_cut = True
        self._close()

    def _close(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # pyright: ignore[reportArgumentType]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                self._sockets += [client, server]
                self._start(self._pass_on, client, server, True)
                self._start(self._pass_on, server, client, False)

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_client and not self._is_cut and self._marker in data:
                    self.held.set()
                if is_client or self._is_cut or not self.held.is_set():
                    sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

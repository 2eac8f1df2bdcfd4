"""Runs of whimbrel as processes: each a new interpreter, or forked from one that has imported everything already.

A fork spares three quarters of the processor time of a short run, and with that most of the time of some ten thousand
trials. It is a process like the other: it has its own connection, its own signals, and can be killed.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Protocol, Self

MODULES = (
    "whimbrel.cli.commands.up",
    "whimbrel.cli.commands.down",
    "whimbrel.cli.commands.redo",
    "whimbrel.cli.commands.force",
    "whimbrel.cli.commands._run",
    "whimbrel.execution.autocommit",
    "whimbrel.execution.destruction",
    "whimbrel.execution.operations",
    "whimbrel.statements.parser",
)


@dataclass(frozen=True)
class Done:
    """How a process ended. A signal that killed it is a negative code; one that took too long has 124."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit {self.code}: {' | '.join((self.out + self.err).strip().splitlines()[-6:])}"


class Process(Protocol):
    """A run of whimbrel."""

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        ...

    def is_over(self) -> bool:
        """Whether it has ended."""
        ...

    def finish(self, patience: float) -> Done:
        """Wait for its end; kill it when `patience` seconds are over."""
        ...


class Fresh:
    """A process of a new interpreter."""

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "whimbrel", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )

    def kill(self) -> None:
        self._process.kill()

    def is_over(self) -> bool:
        return self._process.poll() is not None

    def finish(self, patience: float) -> Done:
        try:
            out, err = self._process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, err = self._process.communicate()
            return Done(124, out, f"{err}\nstill running after {patience} s")
        return Done(self._process.returncode, out, err)


class Starter:
    """A context manager: the process from which runs are forked."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="wf-", dir="/tmp")
        self._path = str(Path(self._folder.name, "starter"))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._path)
        listener.listen(64)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.starter", str(listener.fileno())],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
        listener.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()

    def start(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Process:
        """Fork a run."""
        return _Forked(self._path, arguments, folder, environment)


class _Forked:
    def __init__(self, path: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        # Closed by `finish`.
        self._files = [tempfile.TemporaryFile("w+b") for _ in range(2)]  # noqa: SIM115
        self._code: int | None = None
        self._lock = threading.Lock()
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(path)
        request = json.dumps([list(arguments), str(folder), dict(environment)]).encode() + b"\n"
        socket.send_fds(self._link, [request], [each.fileno() for each in self._files])
        self._stream = self._link.makefile("rb")
        self._pid = int(self._stream.readline())

    def kill(self) -> None:
        # The starter has not collected it as long as it has not said so: the number is still its own.
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def is_over(self) -> bool:
        try:
            self._wait(0.001)
        except TimeoutError:
            return False
        return True

    def finish(self, patience: float) -> Done:
        try:
            code = self._wait(patience)
            told = ""
        except TimeoutError:
            self.kill()
            self._wait(None)
            code, told = 124, f"\nstill running after {patience} s"
        texts: list[str] = []
        for file in self._files:
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
            file.close()
        self._stream.close()
        self._link.close()
        return Done(code, texts[0], texts[1] + told)

    def _wait(self, patience: float | None) -> int:
        with self._lock:
            if self._code is None:
                with selectors.DefaultSelector() as selector:
                    selector.register(self._link, selectors.EVENT_READ)
                    if not selector.select(patience):
                        raise TimeoutError
                self._code = int(self._stream.readline())
            return self._code


def serve(listener: socket.socket) -> NoReturn:
    """Fork a run for each request that comes, and tell its number, and how it ended."""
    from importlib import import_module

    for name in MODULES:
        import_module(name)
    listener.settimeout(0.005)
    running: dict[int, socket.socket] = {}
    while True:
        with suppress(TimeoutError):
            link, _ = listener.accept()
            link.settimeout(None)
            data, files, _, _ = socket.recv_fds(link, 65536, 2)
            while not data.endswith(b"\n"):
                data += link.recv(65536)
            pid = os.fork()
            if pid == 0:
                for each in (listener, link, *running.values()):
                    each.close()
                _run(json.loads(data), files)
            for file in files:
                os.close(file)
            running[pid] = link
            with suppress(OSError):
                link.sendall(f"{pid}\n".encode())
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            link = running.pop(pid)
            with suppress(OSError):
                link.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            link.close()


def _run(request: tuple[list[str], str, dict[str, str]], files: list[int]) -> NoReturn:
    arguments, folder, environment = request
    code: object = 1
    try:
        for number, file in zip((1, 2), files, strict=True):
            os.dup2(file, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["whimbrel", *arguments]
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        from whimbrel.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        serve(inherited)

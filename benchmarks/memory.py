"""Peak memory of a client and of the server's processes that work for it, from Linux's /proc.

wait4's ru_maxrss will not do: a process inherits it from the one that it was forked from, and psql needs less memory
than this program.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

INTERVAL = 0.02  # seconds; the high-water mark that is read may miss the last of them

_PROC = Path("/proc")


class Peaks:
    """The largest seen, in kibibytes; None where nothing was seen.

    `client` is resident memory of the largest process among those that are watched and what they started, so that a
    script that starts Node or Java counts as these do. `backend` is a server process's own memory, without the buffers
    that all share.
    """

    def __init__(self, postmaster: int, dbname: str) -> None:
        self.client: int | None = None
        self.backend: int | None = None
        self._postmaster = postmaster
        # As the server entitles a process that serves a client: "postgres: user dbname [local] INSERT".
        self._title = re.compile(rf"postgres: (?:[^ ]+: )?[^ ]+ {re.escape(dbname)} \[local\]".encode())
        self._clients: set[int] = set()

    def watch(self, pid: int) -> None:
        """Look at this client too from now on."""
        self._clients.add(pid)

    def unwatch(self, pid: int) -> None:
        """Look at this client no longer: its process is gone, and its number may be another's."""
        self._clients.discard(pid)

    def sample(self) -> None:
        """Look at all once."""
        for client in tuple(self._clients):
            for pid in _tree(client):
                self.client = _larger(self.client, _read(pid, "VmHWM"))
        for pid in self._backends():
            self.backend = _larger(self.backend, _read(pid, "RssAnon"))

    def _backends(self) -> list[int]:
        return [pid for pid in _children(self._postmaster) if self._title.match(_command_line(pid))]


@contextmanager
def watched(postmaster: int, dbname: str) -> Generator[Peaks]:
    """Watch the processes that serve `dbname`, and the clients that are named, while the block runs."""
    peaks = Peaks(postmaster, dbname)
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(INTERVAL):
            peaks.sample()

    if not _PROC.is_dir():
        # No /proc, as on macOS: times are measured, memory is not.
        yield peaks
        return
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        is_over.set()
        thread.join()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for child in _children(pid):
        yield from _tree(child)


def _children(pid: int) -> list[int]:
    children: list[int] = []
    # A process is the child of the thread that started it.
    with suppress(OSError):
        for thread in Path(_PROC, str(pid), "task").iterdir():
            with suppress(OSError):
                children += map(int, (thread / "children").read_text().split())
    return children


def _command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(_PROC, str(pid), "cmdline").read_bytes()
    return b""


def _read(pid: int, field: str) -> int | None:
    with suppress(OSError):
        found = re.search(rf"^{field}:\s+(\d+) kB$", Path(_PROC, str(pid), "status").read_text(), re.MULTILINE)
        return int(found[1]) if found else None
    return None


def _larger(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)

"""The server's process, as the files of its data directory tell."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from whimbrel.cluster.address import Embedded
from whimbrel.errors import ClusterError

PIDFILE = "postmaster.pid"
LOG = "server.log"
PATIENCE = 60.0  # seconds, as pg_ctl's


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster whose server accepts connections. `started` is True where this call started it."""

    embedded: Embedded
    version: int
    bin: Path
    pid: int
    host: str
    port: int
    log: Path
    started: bool

    def conninfo(self, dbname: str | None = None) -> str:
        """Return the libpq connection string of `dbname`, by default the address's own database."""
        fields = {
            "host": self.host,
            "port": str(self.port),
            "dbname": dbname or self.embedded.dbname,
            "user": "postgres",
        }
        return " ".join(f"{key}={_quote(value)}" for key, value in fields.items())


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What postmaster.pid says. It remains after a kill, so it proves nothing alone."""

    pid: int
    port: int
    host: str
    state: str

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(f"{self.host}/.s.PGSQL.{self.port}")
            except (FileNotFoundError, ConnectionRefusedError):
                return False
        return True


def status(embedded: Embedded) -> Running | None:
    """Return the running server, or None. Reads three small files and knocks at the socket, nothing more."""
    with reported(embedded.data):
        postmaster = read_postmaster(embedded.data)
        if postmaster is None or postmaster.state != "ready" or not postmaster.answers():
            return None
        # postmaster.opts begins with the path of the program that really runs, whatever was installed since.
        options = (embedded.data / "postmaster.opts").read_text(errors="surrogateescape")
        return Running(
            embedded=embedded,
            version=check_version(embedded, embedded.version),
            bin=Path(options.partition(' "')[0]).parent,
            pid=postmaster.pid,
            host=postmaster.host,
            port=postmaster.port,
            log=embedded.data / LOG,
            started=False,
        )


def read_log(cluster: Running | Embedded, lines: int) -> str:
    """Return the last `lines` lines that the server wrote since it was last started."""
    data = cluster.data if isinstance(cluster, Embedded) else cluster.embedded.data
    try:
        text = (data / LOG).read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def read_postmaster(data: Path) -> Postmaster | None:
    """Return None where no server was started, or where it has only just begun to write the file."""
    try:
        lines = os.fsdecode((data / PIDFILE).read_bytes()).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    # pid, data directory, start time, port, socket directory, listen address, shared memory, state
    if len(lines) < 8:
        return None
    return Postmaster(pid=int(lines[0]), port=int(lines[3]), host=lines[4], state=lines[7].strip())


def await_settled(data: Path) -> None:
    """Wait while a server that somebody else started or stopped is neither ready nor gone.

    A pid that belongs to another process by now is forgotten: PostgreSQL takes any process of its own user
    for the old server, and in a container the same few pids come back at every start.
    """
    deadline = time.monotonic() + PATIENCE
    while (postmaster := read_postmaster(data)) and not (postmaster.state == "ready" and postmaster.answers()):
        if not is_server(postmaster.pid, data):
            Path(postmaster.host, f".s.PGSQL.{postmaster.port}.lock").unlink(missing_ok=True)
            (data / PIDFILE).unlink(missing_ok=True)
        elif time.monotonic() > deadline:
            raise ClusterError(f"the server (process {postmaster.pid}) neither gets ready nor ends")
        time.sleep(0.01)


def is_server(pid: int, data: Path) -> bool:
    """Say whether the process is a postmaster, and not known to be that of another directory."""
    try:
        words = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return False
        import subprocess

        listing = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False)
        words = listing.stdout.split()
    if not words or Path(words[0]).name not in {"postgres", "postmaster"}:
        return False
    given = words[words.index("-D") + 1] if "-D" in words[:-1] else None
    return given is None or not Path(given).is_absolute() or Path(given) == data


def check_version(embedded: Embedded, wanted: int | None) -> int:
    """Return the major version of the data directory; refuse it if another one is wanted."""
    holds = int((embedded.data / "PG_VERSION").read_text().partition(".")[0])
    if wanted not in {None, holds}:
        address = replace(embedded, version=holds, bin=None)
        raise ClusterError(
            f'data directory "{embedded.data}" holds PostgreSQL {holds}, not {wanted}',
            hint=f'Use the address "{address}", or stop its server and begin anew: rm -r "{embedded.data}".',
        )
    return holds


@contextmanager
def reported(data: Path) -> Generator[None]:
    """Turn the system's refusals into ClusterErrors."""
    try:
        yield
    except PermissionError as error:
        raise ClusterError(
            f'permission denied: "{error.filename or data}"',
            hint="Run as the user to whom it belongs, or use another path.",
        ) from error
    except OSError as error:
        raise ClusterError(f'data directory "{data}": {error}') from error


def _quote(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace("'", r"\'")
    return escaped if escaped and not set(escaped) & set(" '\\\t\n\r\f\v") else f"'{escaped}'"

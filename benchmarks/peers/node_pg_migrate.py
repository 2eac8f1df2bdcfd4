"""node-pg-migrate. Has no status; `up --dry-run` lists what is pending. Sends a file as one Query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.installation import Node
from benchmarks.peers.peer import Peer, write

VERSION = "9.0.0"
_INSTALLATION = Node("node-pg-migrate/bin/node-pg-migrate.js", (f"node-pg-migrate@{VERSION}", "pg@8.23.1"))
_UP = ("node", str(_INSTALLATION.program), "up", "--no-verbose", "--no-single-transaction")


def lay_out(folder: Path, files: Sequence[Path]) -> None:
    for number, file in enumerate(files, 1):
        # A prefix of 13 digits is a time in milliseconds.
        text = f"-- Up Migration\n{file.read_text()}\n-- Down Migration\n"
        write(folder / "migrations" / f"{1_700_000_000_000 + number}_step.sql", text)


PEER = Peer(
    name="node-pg-migrate",
    version=VERSION,
    installation=_INSTALLATION,
    lay_out=lay_out,
    up=_UP,
    status=(*_UP, "--dry-run"),
)

"""dbmate: its Go program, without the Node program around it. Sends a file as one Query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.installation import Node
from benchmarks.peers.peer import Peer, write

VERSION = "2.36.0"
_INSTALLATION = Node("@dbmate/*/bin/dbmate", (f"dbmate@{VERSION}",))
_DBMATE = (str(_INSTALLATION.program), "--migrations-dir", "migrations", "--no-dump-schema")


def lay_out(folder: Path, files: Sequence[Path]) -> None:
    for number, file in enumerate(files, 1):
        text = f"-- migrate:up\n{file.read_text()}\n-- migrate:down\n"
        write(folder / "migrations" / f"{number:06d}_step.sql", text)


PEER = Peer(
    name="dbmate",
    version=VERSION,
    installation=_INSTALLATION,
    lay_out=lay_out,
    up=(*_DBMATE, "up"),
    status=(*_DBMATE, "status"),
    variables={"DATABASE_URL": "postgres://$user@/$dbname?host=$host&port=$port&sslmode=disable"},
)

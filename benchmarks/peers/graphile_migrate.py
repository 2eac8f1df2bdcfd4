"""graphile-migrate: committed migrations, each with the checksum of itself and of all before it. One Query a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.installation import Node
from benchmarks.peers.peer import Peer, write

VERSION = "1.4.1"
_INSTALLATION = Node("graphile-migrate/dist/cli.js", (f"graphile-migrate@{VERSION}", "pg@8.23.1"))
_GRAPHILE = ("node", str(_INSTALLATION.program))


def lay_out(folder: Path, files: Sequence[Path]) -> None:
    write(folder / ".gmrc", "{}\n")
    write(folder / "migrations" / "current.sql", "")
    previous = "-"
    for number, file in enumerate(files, 1):
        body = file.read_text().strip()
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(f"{'' if previous == '-' else previous}\n{body}".strip().encode() + b"\n")
        checksum = f"sha1:{digest.hexdigest()}"
        text = f"--! Previous: {previous}\n--! Hash: {checksum}\n\n{body}\n"
        write(folder / "migrations" / "committed" / f"{number:06d}.sql", text)
        previous = checksum


PEER = Peer(
    name="graphile-migrate",
    version=VERSION,
    installation=_INSTALLATION,
    lay_out=lay_out,
    up=(*_GRAPHILE, "migrate"),
    status=(*_GRAPHILE, "status"),
    # `status` asks for the address of a shadow database, and does not use it.
    variables={"DATABASE_URL": "socket:$host?db=$dbname", "SHADOW_DATABASE_URL": "socket:$host?db=shadow"},
)

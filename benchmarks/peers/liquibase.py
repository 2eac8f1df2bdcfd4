"""Liquibase with SQL changelogs; Java, so TCP only. Sends statement after statement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.installation import Node
from benchmarks.peers.peer import Peer, write

VERSION = "4.28.1"
# The package of this version holds the whole program and PostgreSQL's driver; later ones hold neither.
_INSTALLATION = Node("liquibase/dist/liquibase/liquibase", (f"liquibase@{VERSION}",))


def lay_out(folder: Path, files: Sequence[Path]) -> None:
    lines = ["databaseChangeLog:"]
    for number, file in enumerate(files, 1):
        path = f"changes/{number:06d}.sql"
        text = f"--liquibase formatted sql\n--changeset benchmark:{number}\n{file.read_text()}"
        write(folder / path, text)
        lines.append(f"- include:\n    file: {path}")
    write(folder / "changelog.yaml", "\n".join(lines) + "\n")


_LIQUIBASE = (
    "sh",
    str(_INSTALLATION.program),
    "--show-banner=false",
    "--changelog-file=changelog.yaml",
    "--url=jdbc:postgresql://$host:$port/$dbname?sslmode=disable",
    "--username=$user",
    "--password=",
)
PEER = Peer(
    name="liquibase",
    version=VERSION,
    installation=_INSTALLATION,
    lay_out=lay_out,
    up=(*_LIQUIBASE, "update"),
    status=(*_LIQUIBASE, "status"),
    is_slow=True,
    # 50 MB took it 130 s and 4.5 GB.
    takes_large=False,
    needs_tcp=True,
)

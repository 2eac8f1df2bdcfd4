"""Sqitch, which runs psql for each change; the change itself opens and commits its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.installation import Debian
from benchmarks.peers.peer import Peer, write

_PROGRAM = Path("/usr/bin/sqitch")


def lay_out(folder: Path, files: Sequence[Path]) -> None:
    write(folder / "sqitch.conf", "[core]\n\tengine = pg\n")
    lines = ["%syntax-version=1.0.0", "%project=benchmark", ""]
    for number, file in enumerate(files, 1):
        name = f"step_{number:06d}"
        write(folder / "deploy" / f"{name}.sql", f"BEGIN;\n{file.read_text()}COMMIT;\n")
        lines.append(f"{name} 2025-01-01T00:00:00Z A Person <person@example.org> # a step")
    write(folder / "sqitch.plan", "\n".join(lines) + "\n")


_TARGET = ("--client", "$psql", "--target", "db:pg://$user@/$dbname")
PEER = Peer(
    name="sqitch",
    version="1.3.1 (Debian)",
    installation=Debian(("sqitch", "libdbd-pg-perl"), _PROGRAM),
    lay_out=lay_out,
    up=(str(_PROGRAM), "deploy", *_TARGET),
    status=(str(_PROGRAM), "status", *_TARGET),
    variables={"SQITCH_FULLNAME": "A Person", "SQITCH_EMAIL": "person@example.org", "SQITCH_USER_CONFIG": "/dev/null"},
    is_slow=True,
)

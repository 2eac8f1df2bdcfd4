"""yandex-pgmigrate, with a transaction for each migration (`--ungroup`). Sends statement after statement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.installation import Python
from benchmarks.peers.peer import Peer, write

VERSION = "1.0.13"
_INSTALLATION = Python("pgmigrate", (f"yandex-pgmigrate=={VERSION}", "psycopg2==2.9.13"))
_CONNECTION = "host=$host port=$port dbname=$dbname user=$user"
_PGMIGRATE = (str(_INSTALLATION.program), "-d", ".", "-c", _CONNECTION)


def lay_out(folder: Path, files: Sequence[Path]) -> None:
    for number, file in enumerate(files, 1):
        write(folder / "migrations" / f"V{number:06d}__step.sql", file.read_text())


PEER = Peer(
    name="pgmigrate",
    version=VERSION,
    installation=_INSTALLATION,
    lay_out=lay_out,
    up=(*_PGMIGRATE, "-t", "latest", "--ungroup", "migrate"),
    status=(*_PGMIGRATE, "info"),
    # 2 MB of INSERTs took it 23 s.
    takes_large=False,
)

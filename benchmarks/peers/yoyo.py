"""yoyo-migrations with psycopg2. Sends statement after statement, each in a savepoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.installation import Python
from benchmarks.peers.peer import Peer, write

VERSION = "9.0.0"
# It needs pkg_resources, which setuptools had until 81.
_INSTALLATION = Python("yoyo", (f"yoyo-migrations=={VERSION}", "psycopg2==2.9.13", "setuptools<81"))
_DATABASE = "postgresql://$user@/$dbname?host=$host&port=$port"


def lay_out(folder: Path, files: Sequence[Path]) -> None:
    for number, file in enumerate(files, 1):
        write(folder / "migrations" / f"{number:06d}_step.sql", file.read_text())


_OPTIONS = ("--no-config-file", "--batch", "--database", _DATABASE, "migrations")
PEER = Peer(
    name="yoyo",
    version=VERSION,
    installation=_INSTALLATION,
    lay_out=lay_out,
    up=(str(_INSTALLATION.program), "apply", *_OPTIONS),
    status=(str(_INSTALLATION.program), "list", *_OPTIONS),
    is_slow=True,
    # A savepoint for each statement fills the server's lock table.
    takes_large=False,
)

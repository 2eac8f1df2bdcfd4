"""sql-migrate: a Go program from Debian's sources of it, built with Debian's Go. Sends statement after statement."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.installation import HOME, Debian, find, run
from benchmarks.peers.peer import Peer, write

_PROGRAM = HOME / "sql-migrate"
_SOURCES = "/usr/share/gocode"


def build() -> None:
    environment = {**os.environ, "GOPATH": _SOURCES, "GO111MODULE": "off", "GOCACHE": str(HOME / "go-cache")}
    package = "github.com/rubenv/sql-migrate/sql-migrate"
    HOME.mkdir(parents=True, exist_ok=True)
    run([find("go"), "build", "-o", str(_PROGRAM), package], environment=environment)


def lay_out(folder: Path, files: Sequence[Path]) -> None:
    write(
        folder / "dbconfig.yml",
        "benchmark:\n  dialect: postgres\n  datasource: ${DATA_SOURCE}\n  dir: migrations\n",
    )
    for number, file in enumerate(files, 1):
        text = file.read_text()
        if "$$" in text:
            # It splits at every semicolon that ends a line, in a function's body too, unless told not to.
            text = f"-- +migrate StatementBegin\n{text}-- +migrate StatementEnd\n"
        write(folder / "migrations" / f"{number:06d}_step.sql", f"-- +migrate Up\n{text}")


PEER = Peer(
    name="sql-migrate",
    version="2019-12-13 (Debian)",
    installation=Debian(("golang-go", "golang-github-rubenv-sql-migrate-dev"), _PROGRAM, build),
    lay_out=lay_out,
    up=(str(_PROGRAM), "up", "-env=benchmark"),
    status=(str(_PROGRAM), "status", "-env=benchmark"),
    variables={"DATA_SOURCE": "host=$host port=$port dbname=$dbname user=$user sslmode=disable"},
)

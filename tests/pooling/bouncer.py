"""A real PgBouncer between a test and the server, on a Unix socket in a temporary folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from whimbrel.cluster.account import choose_account

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
PORT = 6432


@dataclass(frozen=True)
class Bouncer:
    """A running PgBouncer; `dsn` leads through it to the database that it was started for."""

    folder: Path
    dsn: str
    direct: str

    def connect(self, application_name: str = "application") -> psycopg.Connection[TupleRow]:
        """Connect as an application would."""
        return psycopg.connect(
            self.dsn, autocommit=True, prepare_threshold=None, application_name=application_name, connect_timeout=10
        )

    def change(self, **settings: str) -> None:
        """Write other settings into its file and have them read."""
        path = self.folder / "pgbouncer.ini"
        lines = path.read_text().splitlines()
        kept = [line for line in lines if line.partition(" = ")[0] not in settings]
        path.write_text("\n".join([*kept, *(f"{key} = {value}" for key, value in settings.items())]) + "\n")
        with psycopg.connect(make_conninfo(self.dsn, dbname="pgbouncer"), autocommit=True) as console:
            console.execute("RELOAD")


@contextmanager
def run_bouncer(dsn: str, mode: str, route: str = "", **settings: str) -> Generator[Bouncer]:
    """Run a PgBouncer in front of a database and stop it at the end; it may not be root, as the server may not.

    `route` are further parameters for the way to the server, `settings` what its file may hold.
    """
    assert PROGRAM is not None
    server = conninfo_to_dict(dsn)
    folder = Path(tempfile.mkdtemp(prefix="whimbrel-pool-"))
    account = choose_account(folder / "none")
    values = {
        "listen_port": str(PORT),
        "unix_socket_dir": str(folder),
        "pidfile": str(folder / "pid"),
        "logfile": str(folder / "log"),
        "auth_type": "any",
        "admin_users": str(server["user"]),
        "pool_mode": mode,
        "max_client_conn": "200",
        **settings,
    }
    way = f"* = host={server['host']} port={server['port']} user={server['user']} {route}"
    lines = ["[databases]", way, "[pgbouncer]", *(f"{key} = {value}" for key, value in values.items())]
    (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
    if account is not None:
        for path in (folder, folder / "pgbouncer.ini"):
            os.chown(path, account.uid, account.gid)
    process = subprocess.Popen(
        [PROGRAM, "-q", str(folder / "pgbouncer.ini")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    try:
        deadline = time.monotonic() + 20
        while not _listens(folder / f".s.PGSQL.{PORT}"):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "PgBouncer does not start"
            time.sleep(0.02)
        yield Bouncer(folder, make_conninfo(dsn, host=str(folder), port=str(PORT)), dsn)
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0

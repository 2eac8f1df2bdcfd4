"""A server of the tests' own, with what the shared one has not: a TCP port that asks for passwords, and a standby."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from whimbrel.cluster.account import Account, choose_account, run
from whimbrel.cluster.address import Embedded
from whimbrel.cluster.programs import find_programs


@dataclass(frozen=True)
class TcpServer:
    """A server on 127.0.0.1, where it asks for passwords; it trusts whoever comes through its Unix socket."""

    programs: Path
    account: Account | None
    data: Path
    port: int

    def conninfo(self, dbname: str = "postgres") -> str:
        """Return the superuser's address, over the socket."""
        return f"host={self.data} port={self.port} dbname={dbname} user=postgres"

    def url(self, user: str, password: str, dbname: str) -> str:
        """Return a URL over TCP; what it is made of is put in as it stands."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{dbname}"

    def admin(self, statement: str, dbname: str = "postgres") -> None:
        """Run a statement as the superuser."""
        with psycopg.connect(self.conninfo(dbname), autocommit=True) as connection:
            connection.execute(statement.encode())

    def make_role(self, name: str, password: str) -> None:
        """Make a role that may log in, or give it another password."""
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            exists = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone()
            text = "ALTER ROLE {} PASSWORD {}" if exists is not None else "CREATE ROLE {} LOGIN PASSWORD {}"
            connection.execute(sql.SQL(text).format(sql.Identifier(name), sql.Literal(password)))

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.data),
            "fsync": "off",
            "max_wal_senders": "3",
            "max_connections": "20",
            # An expensive password hash is of no use to a test.
            **({"scram_iterations": "1"} if (self.data / "PG_VERSION").read_text().strip() >= "16" else {}),
        }
        words = " ".join(f"-c {key}={value}" for key, value in options.items())
        log = str(self.data / "server.log")
        self._run("pg_ctl", "--pgdata", str(self.data), "--log", log, "--wait", "--options", words, "start")

    def stop(self) -> None:
        """Stop the server at once."""
        self._run("pg_ctl", "--pgdata", str(self.data), "--mode", "immediate", "stop")

    def copy(self, folder: Path) -> TcpServer:
        """Return a standby of this server, not started yet."""
        standby = TcpServer(self.programs, self.account, folder / "standby", free_port())
        source = self.conninfo().replace("dbname=postgres ", "")
        target = str(standby.data)
        self._run("pg_basebackup", "--dbname", source, "--pgdata", target, "-R", "--checkpoint=fast", "--no-sync")
        return standby

    def _run(self, program: str, *words: str) -> None:
        done = run([str(self.programs / program), *words], self.account, [self.data.parent, self.programs])
        assert done.returncode == 0, done


def free_port() -> int:
    """Return a TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def tcp_server(version: int) -> Generator[TcpServer]:
    """Run a server of its own, and remove it at the end."""
    with _folder() as folder:
        data = folder / "data"
        programs, _ = find_programs(Embedded(data=data, dbname="postgres", version=version, bin=None))
        account = choose_account(data)
        if account is not None:
            os.chown(folder, account.uid, account.gid)
        server = TcpServer(programs, account, data, free_port())
        words = [f"--pgdata={data}", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        words += ["--auth-local=trust", "--auth-host=scram-sha-256"]
        done = run([f"{programs}/initdb", *words], account, [folder, programs])
        assert done.returncode == 0, done
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def _folder() -> Generator[Path]:
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30
    folder = Path(tempfile.mkdtemp(prefix="whimbrel-acceptance-", dir=memory if roomy else None)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

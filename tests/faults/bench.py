"""A server for trials: databases from templates, and what an undisturbed run looks like."""

from __future__ import annotations

import os
import queue
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

import whimbrel
from tests.conftest import FAST, roomy_folder
from tests.faults.proxy import Proxy, Seen
from tests.faults.scenarios import Scenario
from tests.faults.starter import Done, Fresh, Process, Starter
from tests.faults.state import Connection, State, read_state
from whimbrel import cluster
from whimbrel.cluster import Embedded, Running

# Nothing but what is tested may take a lock or write.
SETTINGS = {**FAST, "autovacuum": "off", "max_wal_size": "4GB"}
PATIENCE = 90.0
# The process runs the code that is imported here, wherever that is.
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "LANG": "C.UTF-8",
    "PYTHONPATH": f"{Path(whimbrel.__file__).parents[1]}:{Path(__file__).parents[2]}",
}


class BenchError(Exception):
    """The harness itself went wrong, or an undisturbed run did."""


@dataclass(frozen=True)
class Prepared:
    """A scenario with its template database, what an undisturbed run sends and leaves, and where it may be stopped.

    `waits` is how many of the scenario's holds a statement waits for.
    """

    scenario: Scenario
    template: str
    seen: Seen
    after: State
    consistent: tuple[State, ...]
    waits: int


class Bench:
    """A running server of the harness's own. Several threads may use one."""

    def __init__(self, running: Running, folder: Path, starter: Starter | None = None) -> None:
        self.running = running
        self.folder = folder
        self._starter = starter
        self._prepared: dict[str, Prepared] = {}
        self._lock = threading.Lock()
        self._idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()

    @property
    def version(self) -> int:
        """Return the major version of the server."""
        return self.running.version

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drop the templates."""
        for prepared in self._prepared.values():
            self._drop(prepared.template)
        self._hang_up()

    @contextmanager
    def connection(self, dbname: str) -> Generator[Connection]:
        """Give an autocommit connection."""
        # Closing is no trouble where the server was stopped.
        with closing(psycopg.connect(self.dsn(dbname), autocommit=True, prepare_threshold=None)) as connection:
            yield connection

    @contextmanager
    def database(self, template: str, tablespace: str | None = None) -> Generator[str]:
        """Give the name of a fresh copy of a template; it is dropped afterwards, whoever is still in it."""
        name = f"trial_{secrets.token_hex(6)}"
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        if tablespace is not None:
            create += sql.SQL(" TABLESPACE {}").format(sql.Identifier(tablespace))
        self.administer(create)
        try:
            yield name
        finally:
            self._drop(name)

    def _drop(self, name: str) -> None:
        self.administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def administer(self, statement: sql.Composed | sql.SQL, values: Sequence[object] = ()) -> list[TupleRow]:
        """Run a statement in the database postgres, on a connection that is kept for the next one."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = psycopg.connect(self.dsn("postgres"), autocommit=True, prepare_threshold=None)
        cursor = connection.execute(statement, values)
        rows = cursor.fetchall() if cursor.description else []
        self._idle.put(connection)
        return rows

    def _hang_up(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def dsn(self, dbname: str) -> str:
        """Return the connection string of a database."""
        return self.running.conninfo(dbname)

    @contextmanager
    def alone(self, scenario: Scenario) -> Generator[None]:
        """Let only one run at a time change the server's settings, and put them back behind it."""
        if scenario.setting is None:
            yield
            return
        # Also of another process on the same server.
        with self.connection("postgres") as connection:
            connection.execute("SELECT pg_advisory_lock(1)")
            try:
                yield
            finally:
                self.administer(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(scenario.setting)))

    def migrations(self, scenario: Scenario, *, before: bool = False) -> Path:
        """Return the folder of a scenario's files, written when it is first asked for."""
        folder = self.folder / f"{scenario.name}{'-before' if before else ''}"
        with self._lock:
            if not folder.exists():
                folder.mkdir()
                for name, text in (scenario.before if before else {**scenario.before, **scenario.files}).items():
                    (folder / name).write_text(text)
        return folder

    def prepare(self, scenario: Scenario) -> Prepared:
        """Make the template and run everything once undisturbed; whatever fails is a BenchError."""
        with self._lock:
            found = self._prepared.get(scenario.name)
        return found or self._prepare(scenario)

    def _prepare(self, scenario: Scenario) -> Prepared:
        template = f"template_{scenario.name}_{secrets.token_hex(6)}"
        self.administer(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(template)))
        if scenario.before:
            self._expect(self.whimbrel(("up",), self.dsn(template), self.migrations(scenario, before=True)))
        files = self.migrations(scenario)
        states: list[State] = []
        with self.connection(template) as connection:
            states.append(read_state(connection, scenario.setting))
        for command in scenario.consistent:
            with self.database(template) as name, self.alone(scenario):
                self._expect(self.whimbrel(command, self.dsn(name), files))
                states.append(self.read_state(name, scenario))
        with self.database(template) as name, self.alone(scenario), socket_folder() as place:
            with Proxy(place, self.dsn(name)) as proxy:
                self._expect(self.whimbrel(scenario.command, proxy.dsn, files))
            after = self.read_state(name, scenario)
        if proxy.seen.connections != 1:
            raise BenchError(f"{scenario.name}: {proxy.seen.connections} connections in an undisturbed run")
        prepared = Prepared(scenario, template, proxy.seen, after, tuple(states), len(scenario.holds))
        with self._lock:
            self._prepared[scenario.name] = prepared
        return prepared

    def read_state(self, dbname: str, scenario: Scenario) -> State:
        """Return the state of a database."""
        with self.connection(dbname) as connection:
            return read_state(connection, scenario.setting)

    def start(self, command: Sequence[str], dsn: str, files: Path) -> Process:
        """Start whimbrel as a person does, with nothing around that it or libpq would read."""
        arguments = [*command, "--migrations", str(files), "--lock-wait", "30s"]
        environment = {**ENVIRONMENT, "HOME": str(files), "WHIMBREL_DATABASE": _url(dsn)}
        if self._starter is not None:
            return self._starter.start(arguments, files, environment)
        return Fresh(arguments, files, environment)

    def whimbrel(self, command: Sequence[str], dsn: str, files: Path) -> Done:
        """Run whimbrel to its end."""
        return self.start(command, dsn, files).finish(PATIENCE)

    def _expect(self, done: Done) -> None:
        if done.code != 0:
            raise BenchError(f"an undisturbed run failed: {done}")

    def crash(self) -> None:
        """Stop the server as a crash would: immediately, without a checkpoint. Wait until it is gone."""
        self._hang_up()
        os.kill(self.running.pid, signal.SIGQUIT)
        pidfile = self.running.embedded.data / "postmaster.pid"
        wait_for(lambda: not pidfile.exists() and not Path(f"/proc/{self.running.pid}").exists(), "the server to stop")

    def checkpoint(self) -> None:
        """Write everything to disk.

        The copy of a sequence believes what its original wrote to the log ahead, which recovery does not find for the
        copy: after a crash it would give the same numbers again, unless there was a checkpoint (seen on 18).
        """
        self.administer(sql.SQL("CHECKPOINT"))

    def restart(self) -> None:
        """Start it again; it recovers from its log."""
        self.running = cluster.start(self.running.embedded, settings=SETTINGS)


@contextmanager
def started_bench(
    version: int | None, programs: Path | None = None, *, name: str = "", starter: Starter | None = None
) -> Generator[Bench]:
    """Start a server of a major version, or of a folder's programs; stop and remove it at the end."""
    label = f"whimbrel-faults-{os.getpid()}-{version or 'bin'}{name}"
    data = roomy_folder() / label
    embedded = Embedded(data=data, dbname="postgres", version=version, bin=programs)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whimbrel-faults-")))
        stack.callback(_remove, embedded)
        yield stack.enter_context(Bench(cluster.start(embedded, settings=SETTINGS), folder, starter))


def _remove(embedded: Embedded) -> None:
    cluster.stop(embedded)
    shutil.rmtree(embedded.data, ignore_errors=True)
    embedded.data.with_name(f"{embedded.data.name}.lock").unlink(missing_ok=True)


@contextmanager
def socket_folder() -> Generator[Path]:
    """Give a folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="wf-", dir="/tmp") as name:
        yield Path(name)


def _url(dsn: str) -> str:
    # A connection string works as well; this is what deployments have.
    found = {key: quote(str(value), safe="") for key, value in conninfo_to_dict(dsn).items()}
    return f"postgresql://{found['user']}@/{found['dbname']}?host={found['host']}&port={found['port']}"


def wait_for(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"waited in vain for {what}")
        time.sleep(0.01)

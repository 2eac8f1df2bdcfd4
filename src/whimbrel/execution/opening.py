"""A Config → an open, pinned session on its database, with the embedded PostgreSQL started if it asks for that."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from whimbrel import database, history
from whimbrel.config import EMBEDDED, Config
from whimbrel.database import Connection
from whimbrel.durations import seconds
from whimbrel.errors import ConfigError, ConnectionFailed, MissingDatabase, PlanError, StatementFailed
from whimbrel.events import Listener
from whimbrel.history import History, Record

if TYPE_CHECKING:
    from whimbrel.cluster import Embedded


@dataclass(slots=True)
class Session:
    """An open connection; `label` is how messages name the database, `run` what the log calls this run.

    `reconnect` opens another connection like it, for looking what became of a COMMIT whose answer was lost, or what
    kind of pooler there is; None where the connection was given and nobody here knows how it was made.

    `process` is the server process whose session belongs to this connection alone: settings stay there, and so does
    the lock. 0 where there is none, behind a pooler until it is known to keep sessions, and with a lock for each
    transaction.
    """

    connection: Connection
    config: Config
    label: str
    server_version: str
    reconnect: Callable[[], Connection] | None = None
    # A UUID; its module takes longer to load than a history to read.
    run: str = field(default_factory=lambda: os.urandom(16).hex())
    process: int = field(init=False)
    is_pooled: bool | None = field(init=False, default=None)
    is_replica: bool | None = field(init=False, default=None)
    mode: database.Mode | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.process = 0 if self.locks_transactions else self.connection.info.backend_pid

    @property
    def locks_transactions(self) -> bool:
        """Whether each transaction takes the lock for itself."""
        return self.config.lock == "transaction"

    def read_history(self, *, with_newest: bool = False) -> History:
        """Read the history, pinning the session's settings in the same round trip."""
        found = history.read_history(self.connection, self.config, self.process, with_newest=with_newest)
        self.is_replica = found.is_replica
        if self.is_pooled is None:
            self._meet(found.process)
        return found

    def _meet(self, process: int) -> None:
        # A pooler tells its clients a number of its own making for the server process, and not always the same one.
        self.is_pooled = process != self.connection.info.backend_pid
        if self.is_pooled:
            self.process = 0

    def hold_lock(self, emit: Listener) -> AbstractContextManager[bool]:
        """Hold the advisory lock of the history table: for the session, or in one transaction, which the block is.

        Raises ConfigError behind a pooler that cannot keep it.
        """
        self.look_for_pooler()
        key, wait = database.lock_key(self.config), seconds(self.config.lock_wait)
        if self.locks_transactions:
            return database.hold_transaction_lock(self.connection, key, wait, emit)
        return database.hold_lock(self.connection, key, wait, emit, self.process)

    def look_for_pooler(self) -> None:
        """Find out whether there is a pooler and whether it keeps what the lock needs, unless that is known.

        Raises ConfigError where it does not. Costs nothing on a direct connection whose history was read.
        """
        if self.is_pooled is None:
            self._meet(_server_process(self.connection))
        if not self.is_pooled or self.mode is not None:
            return
        # Whether it knows transactions at all is seen at once.
        rounds = 1 if self.locks_transactions else database.ROUNDS
        self.mode = database.find_mode(self.connection, self.reconnect or self._connect_alike, rounds)
        if self.mode is database.Mode.STATEMENT:
            raise ConfigError(
                f"{self.label} is behind a pooler in statement mode, which has no transactions",
                hint='Give the address that goes around the pooler: direct_url = "postgresql://…", or DIRECT_URL.',
            )
        if self.locks_transactions:
            return
        if self.mode is database.Mode.TRANSACTION:
            raise ConfigError(
                f"{self.label} is behind a pooler in transaction mode, where no session holds a lock",
                detail="Nothing was changed.",
                hint=database.POOLER_HINT,
            )
        self.process = _server_process(self.connection)
        text, values = database.opening_statement(
            database.settings(self.config, self.connection.info.server_version), self.process
        )
        diagnostic = history.write(self.connection, [Record(text, tuple(values))])
        if diagnostic is not None:
            raise StatementFailed(diagnostic.message, sqlstate=diagnostic.sqlstate, detail=diagnostic.detail)

    @contextmanager
    def with_settings(self) -> Generator[None]:
        """Give what the block looks at the configured settings: in a transaction where the session is not ours."""
        if self.process:
            yield
            return
        self.connection.execute("BEGIN")
        try:
            self.pin_transaction()
            yield
        finally:
            database.roll_back(self.connection)

    def pin_transaction(self) -> None:
        """Make the settings for the transaction that is open, where they are not the session's."""
        pinned = database.settings(self.config, self.connection.info.server_version)
        text, values = database.local_statement(pinned, self.process)
        diagnostic = history.write(self.connection, [Record(text, tuple(values))])
        if diagnostic is not None:
            raise StatementFailed(diagnostic.message, sqlstate=diagnostic.sqlstate, detail=diagnostic.detail)

    def _connect_alike(self) -> Connection:
        info = self.connection.info
        return database.connect(make_conninfo(info.dsn, **({"password": info.password} if info.password else {})))

    def reset(self) -> None:
        """Take back what was set for the session; nothing to do behind a pooler whose sessions are not ours."""
        if self.is_pooled and not self.process:
            return
        self.connection.execute("RESET ALL")
        if self.is_pooled:
            # The server process goes to the next client, whatever the pooler's own server_reset_query is.
            self.connection.execute("RESET SESSION AUTHORIZATION")
            self.connection.execute("RESET ROLE")

    def refuse_replica(self) -> None:
        """Raise PlanError where nothing can be written."""
        if self.is_replica is None:
            row = self.connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
            self.is_replica = row is not None and bool(row[0])
        if self.is_replica:
            raise PlanError(
                f"{self.label} is a read-only replica",
                hint="Connect to the primary; with several hosts in the address: target_session_attrs=read-write",
            )


def _server_process(connection: Connection) -> int:
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def find_address(config: Config) -> tuple[str, str | None]:
    """Return the connection string of a configuration, starting the embedded PostgreSQL if that is what it names.

    The second value names the embedded PostgreSQL for people, None for another server.
    """
    if config.address is not None and config.address.startswith(EMBEDDED):
        from whimbrel import cluster

        embedded = cluster.parse_address(config.address, config.root)
        running = cluster.start(embedded)
        return running.conninfo(), f"embedded PostgreSQL {running.version} at {_short(embedded, config)}"
    return database.conninfo(config.address, config.variables), None


def _short(embedded: Embedded, config: Config) -> str:
    try:
        return str(embedded.data.relative_to(config.root))
    except ValueError:
        return str(embedded.data)


@contextmanager
def open_session(config: Config, *, create_database: bool = False) -> Generator[Session]:
    """Connect to a configuration's database and close the connection at the end.

    Creates the database if it is missing and `create_database` says so, or if the server is the embedded one. Raises
    ConnectionFailed or ClusterError.
    """
    address, embedded = find_address(config)
    try:
        connection = database.connect(address)
    except ConnectionFailed as error:
        # A server that speaks another language than English is not understood: it is asked whether the database exists.
        if not (create_database or (embedded and isinstance(error, MissingDatabase))):
            raise
        database.create_database(address)
        connection = database.connect(address)
    with connection:
        where = f'"{connection.info.dbname}" on {embedded}' if embedded else database.describe(connection)
        version = database.server_version(connection)
        session = Session(connection, config, where, version, lambda: database.connect(address))
        try:
            with explained(connection):
                yield session
        finally:
            if session.is_pooled and connection.info.transaction_status == pq.TransactionStatus.IDLE:
                with suppress(psycopg.Error):
                    session.reset()


@contextmanager
def explained(connection: Connection) -> Generator[None]:
    """Turn the driver's errors in the block into whimbrel's, and cancel what a signal finds running."""
    try:
        yield
    except psycopg.Error as error:
        raise database.explain(error) from None
    except BaseException:
        # Not only what is wrong here: the server goes on with a statement whose client has left.
        with suppress(psycopg.Error):
            database.abandon(connection)
        raise

"""A Config → an open, pinned session on its database, with the embedded PostgreSQL started if it asks for that."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import psycopg

from whimbrel import cluster, database, history
from whimbrel.config import Config
from whimbrel.database import Connection
from whimbrel.errors import ConnectionFailed, MissingDatabase, PlanError
from whimbrel.events import Listener
from whimbrel.execution import recovery
from whimbrel.history import History, Record


@dataclass(frozen=True, slots=True)
class Session:
    """An open connection; `label` is how messages name the database.

    `reconnect` opens another connection like it, for looking what became of a COMMIT whose answer was lost; None where
    the connection was given and nobody here knows how it was made.
    """

    connection: Connection
    config: Config
    label: str
    server_version: str
    reconnect: Callable[[], Connection] | None = None

    def read_history(self) -> History:
        """Read the history, pinning the session's settings in the same round trip."""
        text, parameters = database.settings_statement(
            database.settings(self.config, self.connection.info.server_version)
        )
        return history.read_history(self.connection, self.config, [Record(text, tuple(parameters))])

    def hold_lock(self, emit: Listener) -> AbstractContextManager[bool]:
        """Hold the advisory lock of the history table; see `database.hold_lock`."""
        wait = database.seconds(self.config.lock_wait)
        return database.hold_lock(self.connection, database.lock_key(self.config), wait, emit)

    def refuse_replica(self) -> None:
        """Raise PlanError where nothing can be written."""
        row = self.connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
        if row is not None and row[0]:
            raise PlanError(
                f"{self.label} is a read-only replica",
                hint="Connect to the primary; with several hosts in the address: target_session_attrs=read-write",
            )


def find_address(config: Config) -> tuple[str, str | None]:
    """Return the connection string of a configuration, starting the embedded PostgreSQL if that is what it names.

    The second value names the embedded PostgreSQL for people, None for another server.
    """
    if config.database is not None and cluster.is_embedded(config.database):
        embedded = cluster.parse_address(config.database, config.root)
        running = cluster.start(embedded)
        return running.conninfo(), f"embedded PostgreSQL {running.version} at {_short(embedded, config)}"
    return database.conninfo(config.database, config.variables), None


def _short(embedded: cluster.Embedded, config: Config) -> str:
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
        with explained(connection):
            yield Session(connection, config, where, version, lambda: database.connect(address))


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
            recovery.abandon(connection)
        raise

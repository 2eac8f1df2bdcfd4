"""An application migrates its own database at its start-up: one call, over an address or an open connection."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq
from psycopg.rows import tuple_row

from whimbrel import database
from whimbrel.config import config_from
from whimbrel.errors import ConfigError
from whimbrel.events import Listener, ignore
from whimbrel.execution import operations
from whimbrel.execution.executor import Result
from whimbrel.execution.opening import Session, explained, open_session
from whimbrel.plan import State
from whimbrel.source import Source, read_migrations

Migrations = Source | Traversable | Path | str
Database = psycopg.Connection[Any] | str


def migrate(
    migrations: Migrations,
    database: Database,
    *,
    to: int | None = None,
    on_event: Listener = ignore,
    **settings: str,
) -> Result:
    """Apply what is pending to a database and return what was done.

    `migrations` is a folder or a package's resources (`importlib.resources.files("app") / "migrations"`). `database` is
    a URL, a libpq connection string, `embedded:PATH`, or an open psycopg connection, which has to be idle; its session
    settings are afterwards those that it was opened with. `settings` are keys of the configuration: `history_table`,
    `search_path`, `lock_timeout`, `statement_timeout`, `lock`, `lock_wait`, `out_of_order`, `direct_url`. No file and
    no environment variable is read but libpq's own.

    Any number of processes may call this at once: one does the work and the others wait for it. Where nothing is
    pending it takes two round trips and no lock. Raises a WhimbrelError; what was committed before stays, and the next
    call goes on from there.
    """
    source = _source(migrations)
    with session_on(database, settings) as session:
        result = operations.up(session, source, to=to, emit=on_event)
    if result.error is not None:
        raise result.error
    return result


def read_status(migrations: Migrations, database: Database, **settings: str) -> list[State]:
    """Set the migrations against a database's history: one State a version, in order. Changes nothing.

    The parameters are those of `migrate`. A health check may use it: an application is up to date when no State has
    `applied` None.
    """
    source = _source(migrations)
    with session_on(database, settings) as session:
        return operations.read_states(session, source)


def _source(migrations: Migrations) -> Source:
    if isinstance(migrations, Source):
        return migrations
    return read_migrations(Path(migrations) if isinstance(migrations, str) else migrations)


@contextmanager
def session_on(target: Database, settings: dict[str, str]) -> Generator[Session]:
    """Open a session on what a caller names; of a connection that was given everything is as before at the end."""
    if isinstance(target, str):
        # Nothing of the surroundings but what libpq reads by itself: a library does as it is told.
        with open_session(config_from({**settings, "database": target})) as session:
            yield session
        return
    if target.info.transaction_status != pq.TransactionStatus.IDLE:
        raise ConfigError(
            "the connection is in the middle of a transaction",
            hint="Commit or roll back first, or give whimbrel a connection of its own.",
        )
    was_autocommit, row_factory, threshold = target.autocommit, target.row_factory, target.prepare_threshold
    session: Session | None = None
    target.autocommit = True
    target.row_factory = tuple_row
    # Behind a pooler a statement is prepared in one server session and looked for in another.
    target.prepare_threshold = None
    try:
        role = target.execute("SELECT current_setting('role')").fetchone()
        config = config_from({"role": str(role[0]) if role else "none", **settings})
        with explained(target):
            session = Session(target, config, database.describe(target), database.server_version(target))
            yield session
    finally:
        if not target.closed:
            if session is not None:
                session.reset()
            target.autocommit = was_autocommit
            target.row_factory = row_factory
            target.prepare_threshold = threshold

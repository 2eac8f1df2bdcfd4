"""A statement that is to be run in batches: look at what it needs, find where it was left, and walk."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import pq

from whimbrel import database
from whimbrel.annotations import MAX_BATCH
from whimbrel.backfills import cursor
from whimbrel.backfills.cursor import Origin, Progress
from whimbrel.backfills.keyset import find_keyset
from whimbrel.backfills.total import estimate_rows
from whimbrel.backfills.transaction import Terms
from whimbrel.backfills.walk import walk
from whimbrel.backfills.work import Work
from whimbrel.config import Config
from whimbrel.errors import ConfigError, SourceError
from whimbrel.statements.batch import BatchError, read_batch

# How far a standby may lag behind, in seconds.
MAX_LAG = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for.

    `named` is the table that it is said to be for, (name,) or (schema, name), and `by` the columns to walk it by; both
    may be empty. `size` is the number of rows in a batch, None for as many as the time allows. `max_lag` is in seconds,
    0 for any.
    """

    sql: bytes
    origin: Origin
    named: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    size: int | None = None
    max_lag: float = MAX_LAG

    @property
    def checksum(self) -> str:
        """`sha256:` and the digest of the statement's text, as in the journal."""
        return f"sha256:{hashlib.sha256(self.sql).hexdigest()}"


def lock_key(config: Config, order: Order) -> int:
    """Return the key of the advisory lock that keeps two of the same backfill apart."""
    digest = hashlib.sha256(f"whimbrel backfill {config.history_table} {order.checksum}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def run(terms: Terms, order: Order) -> Progress:
    """Run a statement in batches, from where an interrupted run has left it; see `walk` for what holds then.

    Raises SourceError for a statement or a table that cannot be walked, before anything is changed, and Unsettled where
    an interrupted run had another statement.
    """
    if order.size is not None and not 1 <= order.size <= MAX_BATCH:
        raise ConfigError(f"a batch has 1 to {MAX_BATCH:,} rows, and not {order.size:,}")
    try:
        batch = read_batch(order.sql)
    except BatchError as error:
        raise SourceError(error.message, hint=error.hint) from None
    connection, config = terms.connection, terms.config
    keyset = find_keyset(connection, batch, order.by, order.named)
    with _as_oneself(terms):
        cursor.ensure_table(connection, config)
        begun = cursor.find_begun(connection, config, order.origin, order.checksum, keyset.columns)
    if begun is None:
        total = estimate_rows(connection, keyset.relation, batch)
        with _as_oneself(terms):
            begun = cursor.begin(connection, config, order.origin, order.checksum, keyset.label, keyset.columns, total)
    return walk(terms, Work(batch, keyset, order.size, order.max_lag), begun)


@contextmanager
def _as_oneself(terms: Terms) -> Generator[None]:
    """Open a transaction in the role that the cursor is written in."""
    connection = terms.connection
    connection.execute(database.BEGIN)
    try:
        for text, values in terms.as_oneself:
            psycopg.RawCursor(connection).execute(text, [value.decode() if value else None for value in values])
        yield
        connection.execute("COMMIT")
    finally:
        if connection.pgconn.transaction_status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR):
            connection.execute("ROLLBACK")

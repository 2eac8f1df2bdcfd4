"""The settings that every session and every migration begins with."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from psycopg import sql

from whimbrel.config import Config
from whimbrel.database.connection import Connection


def settings(config: Config, version: int) -> dict[str, str]:
    """Return the session's settings: each migration starts with exactly these. `version` is PQserverVersion's."""
    pinned = {
        "role": config.role,
        "search_path": config.search_path,
        "TimeZone": "UTC",
        "lock_timeout": session_timeout(config.lock_timeout),
        "statement_timeout": config.statement_timeout,
        "idle_in_transaction_session_timeout": "0",
        "default_transaction_isolation": "read committed",
        # A COMMIT that is confirmed and lost in a crash would make the history lie.
        "synchronous_commit": "on",
        "client_min_messages": "notice",
        "check_function_bodies": "on",
        "row_security": "on",
        # The files are UTF-8 whatever the database is in, and were split with the backslash as a plain character.
        "client_encoding": "UTF8",
        "standard_conforming_strings": "on",
    }
    if version >= 140000:
        # The server looks whether a killed client is gone, and lets go of its locks.
        pinned["client_connection_check_interval"] = "500ms"
        pinned["idle_session_timeout"] = "0"
    if version >= 170000:
        pinned["transaction_timeout"] = "0"
    return pinned


def session_timeout(configured: str) -> str:
    """Return the lock_timeout for what is tried once, where the one of each attempt is to be chosen ("auto")."""
    return "5s" if configured == "auto" else configured


def settings_statement(
    pinned: Mapping[str, str], *, local: bool = False, process: int | None = None
) -> tuple[bytes, list[bytes]]:
    """Return one statement that makes some settings, with its parameters; `local` ones end with the transaction.

    With `process` it fails with DIVISION_BY_ZERO where another server process than that one runs it.
    """
    scope = "true" if local else "false"
    calls = [f"pg_catalog.set_config(${2 * index - 1}, ${2 * index}, {scope})" for index in range(1, len(pinned) + 1)]
    values = [text.encode() for pair in pinned.items() for text in pair]
    if process is not None:
        values.append(str(process).encode())
        calls.insert(0, f"1 / CASE WHEN pg_catalog.pg_backend_pid() = ${len(values)}::integer THEN 1 ELSE 0 END")
    return f"SELECT {', '.join(calls)}".encode(), values


def opening_statement(pinned: Mapping[str, str], process: int) -> tuple[bytes, list[bytes]]:
    """Return the statement that makes a session's settings, with its parameters.

    Its first two columns are pg_backend_pid() and pg_is_in_recovery().

    They are made for the session where `process` runs it, and for the transaction alone where another server process
    does: behind a pooler the session is somebody else's next.
    """
    calls = [
        f"pg_catalog.set_config(${2 * index}, ${2 * index + 1}, pg_catalog.pg_backend_pid() <> $1::integer)"
        for index in range(1, len(pinned) + 1)
    ]
    values = [str(process).encode(), *(text.encode() for pair in pinned.items() for text in pair)]
    return f"SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(), {', '.join(calls)}".encode(), values


def local_statement(pinned: Mapping[str, str], process: int) -> tuple[bytes, list[bytes]]:
    """Return the statement that makes settings for a transaction, and does nothing where `process` runs it."""
    statement, values = settings_statement(pinned, local=True)
    condition = f" WHERE pg_catalog.pg_backend_pid() <> ${len(values) + 1}::integer"
    return statement + condition.encode(), [*values, str(process).encode()]


@contextmanager
def with_settings(connection: Connection, config: Config) -> Generator[None]:
    """Give what the block asks the settings of `config`, whatever the session has; nothing of them stays.

    Statements of the block are one transaction. No BEGIN is sent, which a pooler might refuse.
    """
    pinned = settings(config, connection.info.server_version)
    calls = sql.SQL(", ").join([sql.SQL("pg_catalog.set_config(%s, %s, true)")] * len(pinned))
    with connection.pipeline():
        connection.execute(sql.SQL("SELECT {}").format(calls), [text for pair in pinned.items() for text in pair])
        yield

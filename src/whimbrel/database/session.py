"""The settings that every session and every migration begins with."""

from __future__ import annotations

from collections.abc import Mapping

from whimbrel.config import Config


def settings(config: Config, version: int) -> dict[str, str]:
    """Return the session's settings: each migration starts with exactly these. `version` is PQserverVersion's."""
    pinned = {
        "role": config.role,
        "search_path": config.search_path,
        "TimeZone": "UTC",
        "lock_timeout": config.lock_timeout,
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


def settings_statement(pinned: Mapping[str, str], *, local: bool = False) -> tuple[bytes, list[bytes]]:
    """Return one statement that makes some settings, with its parameters."""
    calls = [
        f"pg_catalog.set_config(${2 * index - 1}, ${2 * index}, {'true' if local else 'false'})"
        for index in range(1, len(pinned) + 1)
    ]
    values = [text.encode() for pair in pinned.items() for text in pair]
    return f"SELECT {', '.join(calls)}".encode(), values

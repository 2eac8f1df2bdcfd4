"""Connect, pin the session's settings, take the advisory lock. The only place that knows a password."""

from whimbrel.database.address import conninfo, hide_secrets, split_password, without_password
from whimbrel.database.connection import Connection, connect, create_database, describe, explain, server_version
from whimbrel.database.lock import find_holder, hold_lock, lock_key, seconds
from whimbrel.database.session import settings, settings_statement

__all__ = [
    "Connection",
    "connect",
    "conninfo",
    "create_database",
    "describe",
    "explain",
    "find_holder",
    "hide_secrets",
    "hold_lock",
    "lock_key",
    "seconds",
    "server_version",
    "settings",
    "settings_statement",
    "split_password",
    "without_password",
]

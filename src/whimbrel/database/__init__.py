"""Connect, pin the session's settings, take the advisory lock. The only place that knows a password."""

from whimbrel.database.address import conninfo, hide_secrets, split_password, without_password
from whimbrel.database.connection import (
    Connection,
    abandon,
    connect,
    create_database,
    describe,
    explain,
    roll_back,
    server_version,
)
from whimbrel.database.lock import (
    BEGIN,
    POOLER_HINT,
    Waiting,
    find_holder,
    hide_texts,
    hold_lock,
    hold_transaction_lock,
    lock_key,
    swapped,
    try_statement,
)
from whimbrel.database.pooler import ROUNDS, Mode, find_mode
from whimbrel.database.session import (
    local_statement,
    opening_statement,
    session_timeout,
    settings,
    settings_statement,
    with_settings,
)

__all__ = [
    "BEGIN",
    "POOLER_HINT",
    "ROUNDS",
    "Connection",
    "Mode",
    "Waiting",
    "abandon",
    "connect",
    "conninfo",
    "create_database",
    "describe",
    "explain",
    "find_holder",
    "find_mode",
    "hide_secrets",
    "hide_texts",
    "hold_lock",
    "hold_transaction_lock",
    "local_statement",
    "lock_key",
    "opening_statement",
    "roll_back",
    "server_version",
    "session_timeout",
    "settings",
    "settings_statement",
    "split_password",
    "swapped",
    "try_statement",
    "with_settings",
    "without_password",
]

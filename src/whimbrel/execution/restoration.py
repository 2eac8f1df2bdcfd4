"""What a session was set to before a migration, and how it gets that back."""

from __future__ import annotations

from collections.abc import Mapping

from whimbrel import database
from whimbrel.execution.task import Task

# What a session that is not ours was set to before, by the pooler itself (connect_query) or on its behalf: in UTF-8 as
# hexadecimal digits, since its client_encoding is not ours either. The characteristics of the transaction do not count.
KEPT = b"""
SELECT s.name, pg_catalog.encode(pg_catalog.convert_to(s.setting, 'UTF8'), 'hex')
FROM (
    SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session'
    UNION ALL
    SELECT 'role', pg_catalog.current_setting('role') WHERE pg_catalog.current_setting('role') <> 'none'
) AS s
WHERE s.name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')
"""


def restore(task: Task, version: int, *, local: bool = False) -> list[tuple[bytes, list[bytes]]]:
    """Return the statements that give the session back the settings and the role that a migration began with."""
    return [
        (b"RESET ALL", []),
        # Also undoes SET ROLE, which RESET ALL does not.
        (b"RESET SESSION AUTHORIZATION", []),
        database.settings_statement(database.settings(task.config, version), local=local),
    ]


# The COMMITs before had the server's own synchronous_commit: a transaction that waits for its own record to be on disk
# waits for theirs too (RecordTransactionCommit flushes up to it).
FLUSH = (
    b"BEGIN",
    b"SET LOCAL synchronous_commit = on",
    b"SELECT pg_catalog.pg_current_xact_id()",
    b"COMMIT",
)


def leave(kept: Mapping[str, str]) -> list[tuple[bytes, list[bytes]]]:
    """Return the last statements before the COMMIT in a session that is not ours; it has then what it had before.

    They come behind the last SET LOCAL: where one ends after a RESET, the reset value would count as set from then on.
    """
    statements: list[tuple[bytes, list[bytes]]] = [
        # What is left for the COMMIT to check is checked with the migration's settings.
        (b"SET CONSTRAINTS ALL IMMEDIATE", []),
        (b"RESET ALL", []),
        (b"RESET SESSION AUTHORIZATION", []),
        (b"RESET ROLE", []),
    ]
    if kept:
        statements.append(database.settings_statement(kept))
    return statements

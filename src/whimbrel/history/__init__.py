"""The history tables: make, upgrade, read, record."""

from whimbrel.history.read import (
    Attempt,
    History,
    read_down_scripts,
    read_history,
    read_log,
    successes_of,
)
from whimbrel.history.record import (
    Record,
    accept_checksums,
    keep_ordinal,
    log_failure,
    measure,
    own_version,
    record_applied,
    record_undone,
    remove_record,
    resolve_statement,
    write,
)
from whimbrel.history.tables import ensure_history, identifier, quoted

__all__ = [
    "Attempt",
    "History",
    "Record",
    "accept_checksums",
    "ensure_history",
    "identifier",
    "keep_ordinal",
    "log_failure",
    "measure",
    "own_version",
    "quoted",
    "read_down_scripts",
    "read_history",
    "read_log",
    "record_applied",
    "record_undone",
    "remove_record",
    "resolve_statement",
    "successes_of",
    "write",
]

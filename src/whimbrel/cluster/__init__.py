"""Embedded PostgreSQL: start, throwaway databases, stop.

A cluster is a data directory with its server, which listens on a Unix socket only, belongs to no terminal and
outlives the command that started it. Beside the data directory PATH lie PATH.lock, which start and stop hold
while they work, and for a moment PATH.new-…, where initdb works: a kill leaves no half data directory.
"""

from whimbrel.cluster.address import DEFAULT_VERSION, Embedded, is_embedded, parse_address
from whimbrel.cluster.databases import ensure_database, throwaway_database
from whimbrel.cluster.postmaster import Running, read_log, status
from whimbrel.cluster.programs import EXTENSION_HINT, USUAL_PLACES, find_program
from whimbrel.cluster.server import start, stop

__all__ = [
    "DEFAULT_VERSION",
    "EXTENSION_HINT",
    "USUAL_PLACES",
    "Embedded",
    "Running",
    "ensure_database",
    "find_program",
    "is_embedded",
    "parse_address",
    "read_log",
    "start",
    "status",
    "stop",
    "throwaway_database",
]

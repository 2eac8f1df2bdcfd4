"""PostgreSQL migrations in plain SQL.

The names below are the public API, with the exceptions in `whimbrel.errors` and the events in `whimbrel.events`;
everything else may change. They are imported when they are first used, so that
the command line, which uses few of them, starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whimbrel.config import Config
    from whimbrel.errors import WhimbrelError
    from whimbrel.events import Event
    from whimbrel.execution.backfilling import Backfilled, backfill
    from whimbrel.execution.executor import Result
    from whimbrel.execution.startup import migrate, read_status
    from whimbrel.migration import Applied, Direction, Migration
    from whimbrel.plan import Condition, Plan, State, Step
    from whimbrel.source import Source, read_migrations

__all__ = [
    "Applied",
    "Backfilled",
    "Condition",
    "Config",
    "Direction",
    "Event",
    "Migration",
    "Plan",
    "Result",
    "Source",
    "State",
    "Step",
    "WhimbrelError",
    "backfill",
    "migrate",
    "read_migrations",
    "read_status",
]

_HOMES = {
    "Applied": "migration",
    "Backfilled": "execution.backfilling",
    "Condition": "plan",
    "Config": "config",
    "Direction": "migration",
    "Event": "events",
    "Migration": "migration",
    "Plan": "plan",
    "Result": "execution.executor",
    "Source": "source",
    "State": "plan",
    "Step": "plan",
    "WhimbrelError": "errors",
    "backfill": "execution.backfilling",
    "migrate": "execution.startup",
    "read_migrations": "source",
    "read_status": "execution.startup",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

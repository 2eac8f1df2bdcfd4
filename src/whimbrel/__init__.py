"""PostgreSQL migrations in plain SQL.

>>> import whimbrel
>>> whimbrel.migrate("migrations", "postgresql://app@localhost/app")  # doctest: +SKIP
"""

from whimbrel.config import Config
from whimbrel.errors import WhimbrelError
from whimbrel.events import Event
from whimbrel.execution.executor import Result
from whimbrel.execution.startup import migrate, read_status
from whimbrel.migration import Applied, Direction, Migration
from whimbrel.plan import Condition, Plan, State, Step
from whimbrel.source import Source, read_migrations

__all__ = [
    "Applied",
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
    "migrate",
    "read_migrations",
    "read_status",
]

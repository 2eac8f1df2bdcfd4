"""A table lock as a statement's text tells it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import RangeVar

# From the weakest to the strongest, as in pg_locks.
MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
SHARE_UPDATE_EXCLUSIVE, SHARE, SHARE_ROW_EXCLUSIVE, EXCLUSIVE, ACCESS_EXCLUSIVE = MODES[3:]


class Reach(Enum):
    """Which relations a name stands for. None of them need exist."""

    RELATION = "relation"
    # The name is an index's: its table.
    INDEXED = "indexed"
    # The indexes of the named table.
    INDEXES = "indexes"
    # The tables that foreign keys of the named table reference.
    REFERENCED = "referenced"
    # The tables with foreign keys that reference the named table.
    REFERENCING = "referencing"
    # The same, and the tables with foreign keys that reference these, and so on.
    CASCADED = "cascaded"
    # The partitioned table that the named table is a partition of, and the default partition there.
    PARENT = "parent"
    # The default partition of the named table.
    DEFAULT = "default"
    # Views and materialized views over the named one, and over these, and so on.
    DEPENDENT = "dependent"
    # The name is a domain's: the tables with a column of that type.
    DOMAIN = "domain"
    # The name is a schema's: every relation in it, what foreign keys connect with these, and views over them.
    SCHEMA = "schema"


class TableLock(NamedTuple):
    """A lock on the relations that `reach` finds from a name, held to the end of the transaction.

    `relation` is quoted as SQL wants it, with the schema if the statement gives one; `mode` is as in pg_locks.
    `with_children` says that the partitions of the named relation, or the tables that inherit from it, count as named
    too, however far down; of an index, the indexes attached to it. Where `part` is not empty, it is the bare name of a
    column or constraint of theirs, and only the foreign keys and views that use it count.
    """

    relation: str
    mode: str
    reach: Reach = Reach.RELATION
    with_children: bool = False
    part: str = ""


def strength(mode: str) -> int:
    return MODES.index(mode)


def quoted(names: Sequence[str]) -> str:
    """Return a name as SQL wants it, from its parts; that of the database is left out."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names[-2:])


def named(relation: RangeVar) -> str:
    return quoted([relation.schemaname, relation.relname] if relation.schemaname else [relation.relname])

"""A column and everything that uses it, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.expansion.names import Quoting

# Types whose values are equal only when they are the same in every byte.
_EXACT = frozenset({"bool", "int2", "int4", "int8", "oid", "uuid", "date", "timestamp", "timestamptz", "bytea", "name"})
_EXACT_TEXTS = frozenset({"text", "varchar"})


def is_exact(schema: str, name: str, kind: str, *, is_deterministic: bool) -> bool:
    """Whether a type's equal values are the same to the byte; `kind` is its typtype, the last of its collation."""
    if kind == "e":
        return True
    return schema == "pg_catalog" and (name in _EXACT or (name in _EXACT_TEXTS and is_deterministic))


@dataclass(frozen=True, slots=True)
class Grant:
    """A column privilege; the grantee is quoted."""

    privilege: str
    grantee: str
    is_grantable: bool


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `default` is its expression; `identity` is "a" (always), "d" (by default) or empty.

    `settings` are the clauses behind ALTER COLUMN that it was given.
    """

    name: str
    number: int
    type: str
    collation: str
    default: str | None
    is_not_null: bool
    identity: str
    settings: tuple[str, ...]
    comment: str | None
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """The sequence that a serial or identity column owns."""

    schema: str
    name: str
    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycles: bool


@dataclass(frozen=True, slots=True)
class Index:
    """An index that uses the column. `kind` is "p" or "u" where a constraint owns it, else empty.

    `partitions` are the indexes attached to it, each with the schema and name of its table.
    """

    oid: int
    name: str
    kind: str
    is_unique: bool
    tablespace: str | None
    comment: str | None
    statistics: tuple[tuple[int, int], ...]
    is_clustered: bool
    partitions: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Check:
    """A CHECK constraint that uses the column; its definition is the target's to say."""

    name: str
    is_valid: bool
    comment: str | None


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key from or to the column. `tail` is what follows both lists of columns."""

    name: str
    schema: str
    table: str
    columns: tuple[str, ...]
    target_schema: str
    target: str
    target_columns: tuple[str, ...]
    tail: str
    is_valid: bool
    comment: str | None
    is_outgoing: bool
    is_incoming: bool

    @property
    def acts(self) -> bool:
        """Whether the server writes to the referring columns by itself."""
        return any(action in self.tail for action in (" ON UPDATE CASCADE", " ON UPDATE SET", " ON DELETE SET"))


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of the table that fires for rows; `mentions` says whether its function's text has the column's name."""

    name: str
    function: str
    is_before: bool
    is_update: bool
    mentions: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """A column of a table with all that hangs on it."""

    oid: int
    schema: str
    table: str
    is_partitioned: bool
    column: Column
    columns: tuple[str, ...]
    key: tuple[str, ...]
    sequence: Sequence | None
    indexes: tuple[Index, ...]
    checks: tuple[Check, ...]
    foreign_keys: tuple[ForeignKey, ...]
    triggers: tuple[Trigger, ...]
    # Functions that may mean this column: their text has its name and the table's.
    functions: tuple[str, ...]
    # What cannot be carried over, each with what to do about it.
    obstacles: tuple[str, ...]
    relation_names: frozenset[str]
    constraint_names: frozenset[str]
    function_names: frozenset[str]
    trigger_names: frozenset[str]
    quoting: Quoting
    # PQserverVersion's.
    version: int

    @property
    def qualified(self) -> str:
        """The table as SQL names it."""
        return self.quoting.qualified(self.schema, self.table)

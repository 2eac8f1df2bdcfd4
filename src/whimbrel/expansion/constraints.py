"""Checks and foreign keys of the new column: added unproven, proven, and given the names of the old ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from whimbrel.expansion.names import literal
from whimbrel.expansion.parts import Parts
from whimbrel.expansion.subject import Check, ForeignKey


@dataclass(frozen=True, slots=True)
class TwinCheck:
    """A CHECK constraint for the new column."""

    check: Check
    name: str
    definition: str


@dataclass(frozen=True, slots=True)
class TwinKey:
    """A foreign key from or to the new column: its columns there and here."""

    key: ForeignKey
    name: str
    columns: tuple[str, ...]
    target_columns: tuple[str, ...]


def twin_checks(parts: Parts, definitions: dict[str, str], suffix: str) -> list[TwinCheck]:
    """Return the column's checks for the other column, under names that are free."""
    return [
        TwinCheck(check, parts.constraints.free(check.name, suffix=suffix), definitions[check.name])
        for check in parts.subject.checks
    ]


def twin_action(parts: Parts, twin: TwinCheck) -> str:
    """Return the action that adds such a check for what is written from now on."""
    return f"ADD CONSTRAINT {parts.q(twin.name)} {twin.definition} NOT VALID"


def comment_check(parts: Parts, check: Check, name: str) -> list[str]:
    """Return what gives the comment of a check to the one that has a name."""
    if check.comment is None:
        return []
    return [f"COMMENT ON CONSTRAINT {parts.q(name)} ON {parts.table} IS {literal(check.comment)};"]


def twin_keys(parts: Parts) -> list[TwinKey]:
    """Return the foreign keys from and to the column, for the new one."""
    old = parts.subject.column.name
    return [
        TwinKey(
            key,
            parts.constraints.free(key.name, suffix="next"),
            tuple(parts.new if key.is_outgoing and name == old else name for name in key.columns),
            tuple(parts.new if key.is_incoming and name == old else name for name in key.target_columns),
        )
        for key in parts.subject.foreign_keys
    ]


def move_key(parts: Parts, twin: TwinKey, *, back: bool = False) -> str:
    """Return what puts a foreign key beside the one of the other column, proves it, and lets it take its place."""
    key = twin.key
    columns = key.columns if back else twin.columns
    target_columns = key.target_columns if back else twin.target_columns
    table = table_of(parts, twin)
    lines = [add_key(parts, twin, twin.name, columns, target_columns)]
    if key.is_valid:
        lines.append(f"ALTER TABLE {table} VALIDATE CONSTRAINT {parts.q(twin.name)};")
    lines.append(drop_key(parts, twin))
    lines.append(parts.rename_constraint(twin.name, key.name, table))
    return "\n".join([*lines, *comment_key(parts, twin)])


def prove_key(parts: Parts, twin: TwinKey) -> list[str]:
    """Return what proves a foreign key that has its final name, and gives it its comment."""
    key, table = twin.key, table_of(parts, twin)
    lines = [f"ALTER TABLE {table} VALIDATE CONSTRAINT {parts.q(key.name)};"] if key.is_valid else []
    return [*lines, *comment_key(parts, twin)]


def comment_key(parts: Parts, twin: TwinKey) -> list[str]:
    """Return what gives a foreign key its comment."""
    if twin.key.comment is None:
        return []
    place = f"{parts.q(twin.key.name)} ON {table_of(parts, twin)}"
    return [f"COMMENT ON CONSTRAINT {place} IS {literal(twin.key.comment)};"]


def drop_key(parts: Parts, twin: TwinKey) -> str:
    """Return what drops a foreign key that has its final name."""
    return f"ALTER TABLE {table_of(parts, twin)} {parts.drop_constraint(twin.key.name)};"


def table_of(parts: Parts, twin: TwinKey) -> str:
    """Return the table that a foreign key belongs to."""
    return parts.subject.quoting.qualified(twin.key.schema, twin.key.table)


def add_key(parts: Parts, twin: TwinKey, name: str, columns: Iterable[str], target_columns: Iterable[str]) -> str:
    """Return what adds a foreign key for what is written from now on."""
    quoting, key = parts.subject.quoting, twin.key
    table, target = quoting.qualified(key.schema, key.table), quoting.qualified(key.target_schema, key.target)
    return (
        f"ALTER TABLE {table} ADD CONSTRAINT {parts.q(name)}\n"
        f"    FOREIGN KEY ({quoting.names(columns)}) REFERENCES {target} ({quoting.names(target_columns)})"
        f"{key.tail} NOT VALID;"
    )

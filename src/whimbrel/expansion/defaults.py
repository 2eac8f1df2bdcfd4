"""Defaults, and the sequences behind them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from whimbrel.expansion.names import literal
from whimbrel.expansion.parts import Parts
from whimbrel.expansion.subject import Column

INTEGERS = {
    "smallint": (-(2**15), 2**15 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
# What the statements of move_identity need in the block around them.
IDENTITY_VARIABLES = "last_number bigint;\nwas_used boolean;"
# A constant is the same for every row, and so are the transaction's time and the date.
_CONSTANT = re.compile(
    r"\(?(?:E?'(?:[^']|'')*'|-?\d+(?:\.\d+)?|true|false|NULL|now\(\)|CURRENT_TIMESTAMP|CURRENT_DATE)\)?"
    r"(?:::[\w .\"(),\[\]]+)*",
    re.DOTALL,
)


def constant_default(column: Column) -> str | None:
    """Return the column's default where it is the same for every row that is written at a time."""
    if column.default is not None and not column.identity and _CONSTANT.fullmatch(column.default):
        return column.default
    return None


def set_default(parts: Parts, column: str, default: str | None) -> list[str]:
    """Return what gives a column its default."""
    return [] if default is None else [parts.alter(f"ALTER COLUMN {parts.q(column)} SET DEFAULT {default}")]


def own_sequence(parts: Parts, column: str, counted: str = "") -> list[str]:
    """Return what makes a column the owner of the serial's sequence; `counted` is the type that it counts in."""
    sequence = parts.subject.sequence
    if sequence is None or parts.subject.column.identity:
        return []
    name = parts.subject.quoting.qualified(sequence.schema, sequence.name)
    kind = f"AS {counted} " if counted else ""
    return [f"ALTER SEQUENCE {name} {kind}OWNED BY {parts.table}.{parts.q(column)};"]


def move_identity(
    parts: Parts, source: str, column: str, between: Iterable[str] = (), *, is_widened: bool = False
) -> list[str]:
    """Return statements of PL/pgSQL that move an identity with the number that it has come to.

    `between` are statements that run while neither column has it.
    """
    sequence, identity = parts.subject.sequence, parts.subject.column.identity
    assert sequence is not None
    name = parts.subject.quoting.qualified(sequence.schema, sequence.name)
    options = [f"SEQUENCE NAME {name}", f"START WITH {sequence.start}", f"INCREMENT BY {sequence.increment}"]
    limits = INTEGERS.get(sequence.type)
    if not (limits and is_widened and sequence.maximum == limits[1]):
        options.append(f"MAXVALUE {sequence.maximum}")
    if not (limits and is_widened and sequence.minimum == limits[0]):
        options.append(f"MINVALUE {sequence.minimum}")
    options += [f"CACHE {sequence.cache}", "CYCLE" if sequence.cycles else "NO CYCLE"]
    always = "ALWAYS" if identity == "a" else "BY DEFAULT"
    added = f"ADD GENERATED {always} AS IDENTITY (\n    {' '.join(options)}\n)"
    return [
        f"SELECT last_value, is_called INTO STRICT last_number, was_used FROM {name};",  # noqa: S608  (names are quoted)
        f"ALTER TABLE {parts.table} ALTER COLUMN {parts.q(source)} DROP IDENTITY;",
        *between,
        f"ALTER TABLE {parts.table} ALTER COLUMN {parts.q(column)} {added};",
        f"PERFORM pg_catalog.setval({literal(name)}::pg_catalog.regclass, last_number, was_used);",
    ]

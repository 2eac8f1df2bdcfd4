"""By which columns a table is walked: what the catalog says of them, and the conditions for a part of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whimbrel.database import Connection
from whimbrel.errors import SourceError, StatementFailed
from whimbrel.statements.batch import Batch, quote

_UNDEFINED_TABLE = "42P01"
_UNDEFINED_COLUMN = "42703"
# The settings under which a key is read as text, so that the text gives the same key again.
EXACT = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}


@dataclass(frozen=True, slots=True)
class Keyset:
    """A table and the columns that it is walked by; `types` are theirs, as SQL writes them.

    `relation` is the table's oid, `label` its name with the schema.
    """

    relation: int
    label: str
    columns: tuple[str, ...]
    types: tuple[str, ...]

    def page(self, batch: Batch, *, is_first: bool) -> bytes:
        """Return the query for the last key of the next rows and their number: number, key as text, …

        Its parameters are the key behind which to begin, unless it `is_first`, and then how many rows. No row: the end.
        """
        names = [quote(name) for name in self.columns]
        where = "" if is_first else f"WHERE {self._behind(names, 1)} "
        limit = 1 if is_first else 1 + len(names)
        columns = ", ".join(names)
        # A bare name in ORDER BY would be that of the text beside it.
        descending = ", ".join(f"page.{name} DESC" for name in names)
        texts = ", ".join(f"page.{name}::text" for name in names)
        return (
            f"WITH page AS MATERIALIZED (SELECT {columns} FROM {batch.target} {where}"  # noqa: S608
            f"ORDER BY {columns} LIMIT ${limit}::bigint) "
            f"SELECT (SELECT pg_catalog.count(*) FROM page), {texts} FROM page ORDER BY {descending} LIMIT 1"
        ).encode()

    def condition(self, batch: Batch, *, is_first: bool) -> str:
        """Return the condition for the rows up to a key; unless it `is_first`, for those behind another one.

        The parameters are the key behind which to begin, unless it `is_first`, and then the last one.
        """
        names = [batch.column(name) for name in self.columns]
        upper = self._compared(names, "<=", 1 if is_first else 1 + len(names))
        return upper if is_first else f"{self._behind(names, 1)} AND {upper}"

    def text(self, batch: Batch) -> str:
        """Return an expression for a row's key as a person reads it."""
        return " || ', ' || ".join(f"{batch.column(name)}::text" for name in self.columns)

    def _behind(self, names: Sequence[str], start: int) -> str:
        return self._compared(names, ">", start)

    def _compared(self, names: Sequence[str], operator: str, start: int) -> str:
        values = [f"${index}::{kind}" for index, kind in enumerate(self.types, start)]
        if len(names) == 1:
            return f"{names[0]} {operator} {values[0]}"
        row = f"({', '.join(names)}) {operator} ({', '.join(values)})"
        # Follows from the other. The planner's estimate for rows knows no ranges (rowcomparesel, PostgreSQL 18).
        return f"{row} AND {names[0]} {operator[0]}= {values[0]}"


def find_keyset(connection: Connection, batch: Batch, by: Sequence[str], named: Sequence[str] = ()) -> Keyset:
    """Look up a statement's table and the columns `by` which it is to be walked, none for those of its primary key.

    `named` is the table that somebody said it is, which may have a schema. Raises SourceError where the table cannot be
    walked by them, saying what is missing.
    """
    name = batch.target.removeprefix("ONLY ")
    row = connection.execute(_TABLE, [name]).fetchone()
    if row is None:
        raise StatementFailed(f"relation {name} does not exist", sqlstate=_UNDEFINED_TABLE)
    relation, label, kind, has_children = row
    _check_table(str(label), str(kind), batch, bool(has_children))
    if named:
        other = connection.execute(_TABLE, [".".join(quote(each) for each in named)]).fetchone()
        if other is None or other[0] != relation:
            raise SourceError(
                f"the statement changes table {label}, and {'.'.join(named)} is named", hint=f"Name {label}."
            )
    columns = tuple(by) or _primary_key(connection, int(relation), str(label))
    _check_columns(columns, batch)
    found = {str(each[0]): each for each in connection.execute(_COLUMNS, [relation]).fetchall()}
    for column in columns:
        if column not in found:
            raise SourceError(f'table {label} has no column "{column}" to be walked by')
    missing = [column for column in columns if not found[column][2]]
    if missing:
        raise SourceError(
            f'table {label} cannot be walked by column "{missing[0]}", which may be null',
            detail="Rows without a value there would be passed over.",
            hint="Name other columns (by …), or make it NOT NULL first.",
        )
    wanted = [(found[column][1], found[column][4]) for column in columns]
    _check_indexes(connection, int(relation), str(label), columns, wanted)
    return Keyset(int(relation), str(label), columns, tuple(str(found[column][3]) for column in columns))


_TABLE = """
SELECT c.oid, pg_catalog.format('%%I.%%I', n.nspname, c.relname), c.relkind::text,
       EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = pg_catalog.to_regclass(%s)
"""
_COLUMNS = """
SELECT a.attname, a.attnum,
       -- A constraint that is not valid yet (18) says nothing about the rows that are there.
       a.attnotnull AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_constraint AS c
           WHERE c.conrelid = a.attrelid AND c.contype = 'n' AND c.conkey = ARRAY[a.attnum] AND NOT c.convalidated
       ),
       -- With -1: without one `character` would be read as character(1).
       pg_catalog.format_type(a.atttypid, -1), a.attcollation
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
"""
_KEY = """
SELECT a.attname
FROM pg_catalog.pg_index AS i
CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %s AND i.indisprimary AND k.place <= i.indnkeyatts
ORDER BY k.place
"""
_INDEXES = """
SELECT c.relname, m.amname, i.indisvalid AND i.indisready AND i.indislive, i.indpred IS NOT NULL,
       i.indkey::int2[], i.indcollation::oid[], i.indoption::int2[], i.indnkeyatts,
       ARRAY(SELECT o.opcdefault FROM pg_catalog.unnest(i.indclass::oid[]) WITH ORDINALITY AS k (oid, place)
             JOIN pg_catalog.pg_opclass AS o ON o.oid = k.oid ORDER BY k.place)
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am AS m ON m.oid = c.relam
WHERE i.indrelid = %s
ORDER BY c.relname
"""


def _check_table(label: str, kind: str, batch: Batch, has_children: bool) -> None:
    if kind not in ("r", "p"):
        kinds = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
        raise SourceError(
            f"{label} is {kinds.get(kind, 'no table')}, and cannot be walked", hint="Name the table below it."
        )
    if kind == "r" and has_children and not batch.is_only:
        raise SourceError(
            f"table {label} has others that inherit from it, which its indexes do not cover",
            hint=f"Write one statement for each: {batch.verb} ONLY …",
        )
    if kind == "p" and batch.is_only:
        raise SourceError(f"partitioned table {label} has no rows of its own", hint="Remove ONLY.")


def _check_columns(columns: tuple[str, ...], batch: Batch) -> None:
    if len(set(columns)) < len(columns):
        raise SourceError("a column to be walked by is named twice")
    for column in columns:
        if column in batch.assigned:
            raise SourceError(
                f'the statement sets column "{column}", by which the table is walked',
                detail="Rows would be met twice, or not at all.",
                hint="Name other columns: by …",
            )


def _primary_key(connection: Connection, relation: int, label: str) -> tuple[str, ...]:
    rows = connection.execute(_KEY, [relation]).fetchall()
    if not rows:
        raise SourceError(
            f"table {label} has no primary key to be walked by",
            hint="Name columns with an index, and NOT NULL: by …",
        )
    return tuple(str(name) for (name,) in rows)


def _check_indexes(
    connection: Connection, relation: int, label: str, columns: Sequence[str], wanted: Sequence[tuple[int, int]]
) -> None:
    """Raise SourceError unless an index gives the rows in the order of some columns."""
    faults: list[str] = []
    for row in connection.execute(_INDEXES, [relation]).fetchall():
        fault = _fault(row, wanted)
        if fault is None:
            return
        if fault:
            faults.append(f'Index "{row[0]}" {fault}.')
    names = ", ".join(quote(column) for column in columns)
    raise SourceError(
        f"table {label} has no index to be walked by: ({names})",
        detail=" ".join(faults) or None,
        hint=f"Build it, or name other columns (by …): CREATE INDEX CONCURRENTLY … ON {label} ({names});",
    )


def _fault(row: Sequence[Any], wanted: Sequence[tuple[int, int]]) -> str | None:
    """Return why an index cannot be used, None if it can, nothing if it has other columns."""
    _, method, is_valid, is_partial, key, collations, options, count, defaults = row
    size = len(wanted)
    if count < size or list(key[:size]) != [number for number, _ in wanted]:
        return ""
    if method != "btree":
        return f"is no btree but {method}"
    if is_partial:
        return "is partial"
    if not is_valid:
        return "is not valid"
    if not all(defaults[:size]):
        return "has another operator class than the type's own"
    if [int(each) for each in collations[:size]] != [int(collation) for _, collation in wanted]:
        return "has another collation than the column"
    # A backward scan turns all of them around, and no scan a part of them.
    if len({int(each) & 1 for each in options[:size]}) > 1:
        return "is ascending in one column and descending in another"
    return None

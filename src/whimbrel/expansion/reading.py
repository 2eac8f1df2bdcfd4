"""A database → a Subject. Reads the catalog only; names outside pg_catalog come back qualified and quoted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import dict_row

from whimbrel.database import Connection
from whimbrel.errors import ConfigError
from whimbrel.expansion import queries
from whimbrel.expansion.names import MAX_BYTES, Quoting
from whimbrel.expansion.obstacles import find_obstacles
from whimbrel.expansion.subject import Check, Column, ForeignKey, Grant, Index, Sequence, Subject, Trigger

Row = dict[str, Any]
_STORAGE = {"p": "PLAIN", "e": "EXTERNAL", "x": "EXTENDED", "m": "MAIN"}
_COMPRESSION = {"p": "pglz", "l": "lz4"}


class Place(NamedTuple):
    """A column as it was found: the table's oid, and the column's name."""

    table: int
    column: str


def read_quoting(connection: Connection) -> Quoting:
    """Ask the server which words it quotes."""
    rows = connection.execute("SELECT word FROM pg_catalog.pg_get_keywords() WHERE catcode <> 'U'").fetchall()
    return Quoting(frozenset(str(row[0]) for row in rows))


def read_name(connection: Connection, text: str, what: str) -> str:
    """Return the name that a person typed as SQL reads it: folded to lower case unless it is quoted."""
    parts = _parts(connection, text, what)
    if len(parts) != 1:
        raise ConfigError(f"{what} {text} is more than a name", hint="Give the bare name, without a schema or a table.")
    name = parts[0]
    if len(name.encode()) > MAX_BYTES:
        raise ConfigError(
            f"{what} {text} has {len(name.encode())} bytes", detail=f"PostgreSQL keeps {MAX_BYTES} of a name."
        )
    return name


def find_column(connection: Connection, path: str) -> Place:
    """Return the column that SCHEMA.TABLE.COLUMN or TABLE.COLUMN names, by the session's search_path."""
    parts = _parts(connection, path, "column")
    if len(parts) not in (2, 3):
        raise ConfigError(f"{path} does not name a column", hint="Write SCHEMA.TABLE.COLUMN, or TABLE.COLUMN.")
    *table, column = parts
    row = connection.execute(
        """
        SELECT pg_catalog.to_regclass(pg_catalog.array_to_string(
            ARRAY(SELECT pg_catalog.quote_ident(part) FROM pg_catalog.unnest(%s::text[]) AS part), '.'))::pg_catalog.oid
        """,
        [table],
    ).fetchone()
    if row is None or row[0] is None:
        raise ConfigError(f"there is no table {'.'.join(table)}")
    found = connection.execute(
        "SELECT FROM pg_catalog.pg_attribute WHERE attrelid = %s AND attname = %s AND attnum > 0 AND NOT attisdropped",
        [row[0], column],
    ).fetchone()
    if found is None:
        raise ConfigError(f'table {".".join(table)} has no column "{column}"')
    return Place(int(row[0]), column)


def _parts(connection: Connection, text: str, what: str) -> list[str]:
    try:
        row = connection.execute("SELECT pg_catalog.parse_ident(%s)", [text]).fetchone()
    except psycopg.errors.InvalidParameterValue:
        raise ConfigError(
            f"{what} {text} is not a name as SQL has them", hint="Quote what is no plain word: 'app.\"My Table\".id'"
        ) from None
    assert row is not None
    parts = [str(part) for part in row[0]]
    if any(re.search(r"[\x00-\x1f]", part) for part in parts):
        raise ConfigError(f"{what} {text!r} has a control character, which no file can show")
    return parts


def read_subject(connection: Connection, place: Place) -> Subject:
    """Read a column with all that hangs on it. The session's search_path has to be pg_catalog."""
    version = connection.info.server_version
    quoting = read_quoting(connection)
    rows = _Rows(connection, place)
    table = rows.one(queries.TABLE)
    column = rows.one(queries.COLUMN.format(compression="a.attcompression" if version >= 140000 else "''"))
    rows.number = column["number"]
    names = rows.one(queries.NAMES)
    sequences = rows.all(queries.SEQUENCE)
    triggers = rows.all(queries.TRIGGERS)
    pattern = _word(place.column)
    return Subject(
        oid=place.table,
        schema=table["schema"],
        table=table["name"],
        is_partitioned=table["kind"] == "p",
        column=_column(column, rows.all(queries.GRANTS)),
        columns=tuple(names["columns"]),
        key=tuple(key[0]["columns"]) if (key := rows.all(queries.KEY)) else (),
        sequence=_sequence(sequences[0]) if len(sequences) == 1 else None,
        indexes=tuple(_index(row) for row in rows.all(queries.INDEXES)),
        checks=tuple(Check(row["name"], row["is_valid"], row["comment"]) for row in rows.all(queries.CHECKS)),
        foreign_keys=tuple(_foreign_key(row, quoting) for row in rows.all(queries.FOREIGN_KEYS)),
        triggers=tuple(_trigger(row, pattern) for row in triggers),
        functions=tuple(
            row["name"]
            for row in rows.all(queries.FUNCTIONS.format(body="p.prosqlbody IS NULL" if version >= 140000 else "true"))
            if pattern.search(row["text"]) and _word(table["name"]).search(row["text"])
        ),
        obstacles=tuple(find_obstacles(rows.all, table, column, sequences, version)),
        relation_names=frozenset(names["relations"]),
        constraint_names=frozenset(names["constraints"]),
        function_names=frozenset(names["functions"]),
        trigger_names=frozenset(names["triggers"]),
        quoting=quoting,
        version=version,
    )


class _Rows:
    def __init__(self, connection: Connection, place: Place) -> None:
        self.connection = connection
        self.place = place
        self.number = 0

    def all(self, query: str) -> list[Row]:
        values: Mapping[str, object] = {"table": self.place.table, "column": self.place.column, "number": self.number}
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query.encode(), values).fetchall()

    def one(self, query: str) -> Row:
        return self.all(query)[0]


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)


def _column(row: Row, grants: Iterable[Row]) -> Column:
    settings: list[str] = []
    if row["storage"] != row["type_storage"]:
        settings.append(f"SET STORAGE {_STORAGE[row['storage']]}")
    if row["compression"] in _COMPRESSION:
        settings.append(f"SET COMPRESSION {_COMPRESSION[row['compression']]}")
    if row["statistics"] is not None and row["statistics"] >= 0:
        settings.append(f"SET STATISTICS {row['statistics']}")
    if row["options"]:
        settings.append(f"SET ({', '.join(row['options'])})")
    return Column(
        name=row["name"],
        number=row["number"],
        type=row["type"],
        collation=row["collation"] or "",
        default=row["default"],
        is_not_null=row["is_not_null"],
        identity=row["identity"],
        settings=tuple(settings),
        comment=row["comment"],
        grants=tuple(Grant(each["privilege"], each["grantee"], each["is_grantable"]) for each in grants),
    )


def _sequence(row: Row) -> Sequence:
    return Sequence(
        row["schema"],
        row["name"],
        row["type"],
        row["seqstart"],
        row["seqincrement"],
        row["seqmin"],
        row["seqmax"],
        row["seqcache"],
        row["seqcycle"],
    )


def _index(row: Row) -> Index:
    return Index(
        oid=row["oid"],
        name=row["name"],
        kind=row["kind"] or "",
        is_unique=row["is_unique"],
        tablespace=row["tablespace"],
        comment=row["comment"],
        statistics=tuple((each[0], each[1]) for each in row["statistics"] or ()),
        is_clustered=row["is_clustered"],
        partitions=tuple((each[0], each[1], each[2]) for each in row["partitions"] or ()),
    )


def _foreign_key(row: Row, quoting: Quoting) -> ForeignKey:
    target = quoting.qualified(row["target_schema"], row["target"])
    head = f"FOREIGN KEY ({quoting.names(row['columns'])}) REFERENCES {target}({quoting.names(row['target_columns'])})"
    assert row["definition"].startswith(head), (row["definition"], head)
    return ForeignKey(
        name=row["name"],
        schema=row["schema"],
        table=row["table"],
        columns=tuple(row["columns"]),
        target_schema=row["target_schema"],
        target=row["target"],
        target_columns=tuple(row["target_columns"]),
        tail=row["definition"].removeprefix(head).removesuffix(" NOT VALID"),
        is_valid=row["is_valid"],
        comment=row["comment"],
        is_outgoing=row["is_outgoing"],
        is_incoming=row["is_incoming"],
    )


def _trigger(row: Row, word: re.Pattern[str]) -> Trigger:
    return Trigger(
        row["name"], row["function"], row["is_before"], row["is_update"], word.search(row["text"] or "") is not None
    )

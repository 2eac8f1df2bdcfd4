"""What a database holds, as far as a fault could have spoiled it."""

from __future__ import annotations

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

Connection = psycopg.Connection[TupleRow]
Row = tuple[object, ...]
State = dict[str, list[Row]]

HISTORY = "schema_migrations"

_QUERIES = {
    "relations": """
        SELECT c.oid::regclass::text, c.relkind, pg_get_expr(c.relpartbound, c.oid), pg_get_viewdef(c.oid)
        FROM pg_class AS c
        WHERE c.relnamespace = 'public'::regnamespace
        """,
    "columns": """
        SELECT a.attrelid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute AS a
        JOIN pg_class AS c ON c.oid = a.attrelid AND c.relnamespace = 'public'::regnamespace
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped
        """,
    # Those of TOAST tables have numbers in their names; here only what is wrong with them counts.
    "indexes": """
        SELECT i.indrelid::regclass::text, pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisready, i.indislive,
               i.indisunique
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relnamespace = 'public'::regnamespace
        """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, convalidated, pg_get_constraintdef(oid)
        FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
        """,
    "partitions": """
        SELECT inhparent::regclass::text, inhrelid::regclass::text,
               coalesce(to_jsonb(i) ->> 'inhdetachpending', 'false')
        FROM pg_inherits AS i
        """,
}


def read_state(connection: Connection, setting: str | None) -> State:
    """Return the catalog, the rows of the tables, what ALTER SYSTEM wrote of a setting, and which versions are applied.

    In the order of application. `effects`, whose length depends on what was tried, is `read_effects`.
    """
    with connection.transaction():
        found: State = {part: sorted(_rows(connection, query), key=repr) for part, query in _QUERIES.items()}
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            " AND relname !~ '^(schema_migrations|effects)' ORDER BY 1"
        ).fetchall()
        found["rows"] = [
            (name, *row)
            for (name,) in tables
            for row in connection.execute(
                sql.SQL("SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {} AS t").format(
                    sql.Identifier(name)
                )
            )
        ]
        found["setting"] = list(
            connection.execute(
                "SELECT setting FROM pg_file_settings WHERE name = %s AND sourcefile LIKE '%%auto.conf'", [setting]
            )
        )
        found["applied"] = _read_applied(connection)
    return found


def _rows(connection: Connection, query: str) -> list[Row]:
    return list(connection.execute(query.encode()))


def _read_applied(connection: Connection) -> list[Row]:
    if not _exists(connection, HISTORY):
        return []
    return _rows(
        connection,
        f"SELECT version, name, checksum, token_checksum, down_sql IS NOT NULL, ordinal IS NOT NULL FROM {HISTORY}"
        " ORDER BY ordinal, version",
    )


def read_effects(connection: Connection) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Return which scripts ran, by the rows that they wrote themselves, and which did by the log; both in order."""
    effects: list[tuple[int, str]] = []
    logged: list[tuple[int, str]] = []
    if _exists(connection, "effects"):
        rows = connection.execute("SELECT version, direction FROM effects ORDER BY id").fetchall()
        effects = [(int(version), str(direction)) for version, direction in rows]
    if _exists(connection, f"{HISTORY}_log"):
        rows = connection.execute(
            "SELECT version, CASE action WHEN 'force' THEN 'up' ELSE action END"
            f" FROM {HISTORY}_log WHERE outcome = 'succeeded' ORDER BY id".encode()
        ).fetchall()
        logged = [(int(version), str(action)) for version, action in rows]
    return effects, logged


def find_leftovers(connection: Connection) -> list[str]:
    """Return what must not be there when all is done."""
    found = [
        f"index {name} is invalid"
        for (name,) in connection.execute(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT (indisvalid AND indisready AND indislive)"
        )
    ]
    found += [
        f"index {name} is left over"
        for (name,) in connection.execute("SELECT oid::regclass::text FROM pg_class WHERE relname ~ '_cc(new|old)'")
    ]
    found += [
        f"an advisory lock is held by process {pid}"
        for (pid,) in connection.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    ]
    if _exists(connection, f"{HISTORY}_journal"):
        found += [
            f"the journal has statement {statement} of the {direction} of {version}"
            for version, direction, statement in connection.execute(
                f"SELECT version, direction, statement FROM {HISTORY}_journal".encode()
            )
        ]
    return found


def count_sessions(connection: Connection) -> int:
    """Return how many sessions of whimbrel the database has."""
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '^whimbrel'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def differences(found: State, wanted: State) -> list[str]:
    """Say in what two states differ, a line for each part of them."""
    return [f"{part}: {_difference(found[part], wanted[part])}" for part in wanted if found[part] != wanted[part]]


def _difference(found: list[Row], wanted: list[Row]) -> str:
    more = [each for each in found if each not in wanted]
    less = [each for each in wanted if each not in found]
    return f"more {more}, less {less}" if more or less else f"{found} instead of {wanted}"


def _exists(connection: Connection, table: str) -> bool:
    return connection.execute("SELECT to_regclass(%s)", [table]).fetchone() != (None,)

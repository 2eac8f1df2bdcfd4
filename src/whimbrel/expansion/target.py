"""What the server itself makes of a column's indexes, checks and default when it is renamed or given another type.

Nothing of an expression has to be understood here, and what the server would refuse is refused before anything is
written.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from whimbrel.database import Connection
from whimbrel.errors import ConfigError
from whimbrel.expansion.conversion import Conversion, Retyping, convert, refuse_session_dependent, type_of
from whimbrel.expansion.rehearsal import COPY, copied, look_up, qualify, run
from whimbrel.expansion.subject import Subject, is_exact


@dataclass(frozen=True, slots=True)
class Target:
    """The column as it is to be. Index definitions lack the part up to the table's name, checks are whole."""

    type: str
    collation: str
    default: str | None
    indexes: dict[str, str]
    checks: dict[str, str]
    conversion: Conversion
    is_exact: bool
    # Whether its values may be stored outside of the row.
    is_toastable: bool
    has_equality: bool


def renamed(connection: Connection, subject: Subject, new: str) -> Target:
    """Return the column under another name."""
    old, quoted = subject.quoting.name(subject.column.name), subject.quoting.name(new)
    with copied(connection, subject) as copies:
        run(connection, f"ALTER TABLE {COPY} RENAME COLUMN {old} TO {quoted}")
        return _read(connection, subject, new, copies, Conversion(old, quoted, (), True))


def retyped(connection: Connection, subject: Subject, new: str, kept: str, change: Retyping) -> tuple[Target, Target]:
    """Return the column with another type, under the name `new` and under its own; `kept` is what the old one becomes.

    Raises ConfigError for a type that does not exist, a conversion that the server refuses, and one whose result
    depends on the session.
    """
    quoting = subject.quoting
    old = quoting.name(subject.column.name)
    with copied(connection, subject) as copies:
        run(connection, "SAVEPOINT before")
        look_up(connection, change.search_path)
        run(connection, f"ALTER TABLE {COPY} ADD COLUMN {quoting.name(new)} {change.type}")
        qualify(connection)
        if domain := find_constrained(connection, COPY, new):
            raise ConfigError(
                f"type {domain} is a domain with constraints: to add a column of it rewrites the table",
                hint="Take the type below it, with a CHECK of the table's own.",
            )
        shown, is_enum = type_of(connection, new)
        expression = f"({change.using})" if change.using else old
        look_up(connection, change.search_path)
        conversion = convert(connection, subject, new, kept, f"{expression}::{shown}")
        if not (is_enum or type_of(connection, kept)[1]):
            refuse_session_dependent(connection, conversion, shown)
        if not change.using:
            conversion = Conversion(f"{old}::{shown}", f"{quoting.name(kept)}::{shown}", (), is_plain=True)
        run(connection, "ROLLBACK TO SAVEPOINT before")
        look_up(connection, change.search_path)
        using = f" USING {change.using}" if change.using else ""
        run(connection, f"ALTER TABLE {COPY} ALTER COLUMN {old} TYPE {change.type}{using}")
        qualify(connection)
        final = _read(connection, subject, subject.column.name, copies, conversion)
        _refuse_references(connection, subject)
        run(connection, f"ALTER TABLE {COPY} RENAME COLUMN {old} TO {quoting.name(new)}")
        return _read(connection, subject, new, copies, conversion), final


def _refuse_references(connection: Connection, subject: Subject) -> None:
    """Let the server say whether the column's new type goes with the other sides of its foreign keys."""
    quoting = subject.quoting
    own = (subject.schema, subject.table)
    for number, key in enumerate(subject.foreign_keys):
        names: list[str] = []
        for schema, table in ((key.schema, key.table), (key.target_schema, key.target)):
            if (schema, table) == own:
                names.append(COPY)
                continue
            name = f"whimbrel_other{number}"
            run(connection, f"CREATE TEMPORARY TABLE {name} (LIKE {quoting.qualified(schema, table)} INCLUDING ALL)")
            names.append(f"pg_temp.{name}")
        run(
            connection,
            f"ALTER TABLE {names[0]} ADD FOREIGN KEY ({quoting.names(key.columns)})"
            f" REFERENCES {names[1]} ({quoting.names(key.target_columns)})",
        )


def find_constrained(connection: Connection, table: str, column: str) -> str | None:
    """Return the type of a column if it is a domain that some values are refused by."""
    row = connection.execute(
        """
        WITH RECURSIVE chain AS (
            SELECT t.oid, t.typbasetype, t.typnotnull, t.typtype
            FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
            WHERE a.attrelid = %(table)s::pg_catalog.regclass AND a.attname = %(column)s
            UNION ALL
            SELECT t.oid, t.typbasetype, t.typnotnull, t.typtype
            FROM chain JOIN pg_catalog.pg_type AS t ON t.oid = chain.typbasetype
        )
        SELECT pg_catalog.format_type(oid, NULL) FROM chain
        WHERE typtype = 'd' AND (typnotnull OR EXISTS (
            SELECT FROM pg_catalog.pg_constraint AS k WHERE k.contypid = chain.oid))
        LIMIT 1
        """,
        {"table": table, "column": column},
    ).fetchone()
    return None if row is None else str(row[0])


def _read(
    connection: Connection,
    subject: Subject,
    new: str,
    copies: dict[str, str],
    conversion: Conversion,
) -> Target:
    quoting = subject.quoting
    row = connection.execute(
        """
        SELECT pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.pg_get_expr(d.adbin, d.adrelid),
            CASE WHEN a.attcollation <> t.typcollation
                THEN pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.collname) END,
            tn.nspname, t.typname, t.typtype::text, coalesce(c.collisdeterministic, true), t.typstorage <> 'p'
        FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
        JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.typnamespace
        LEFT JOIN pg_catalog.pg_collation AS c ON c.oid = a.attcollation
        LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace
        LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = %s::pg_catalog.regclass AND a.attname = %s
        """,
        [COPY, new],
    ).fetchone()
    assert row is not None
    definitions = {
        str(name): (str(definition), f" WHERE {condition}" if condition else "")
        for name, definition, condition in connection.execute(
            """
            SELECT c.relname, pg_catalog.pg_get_indexdef(c.oid), pg_catalog.pg_get_expr(i.indpred, i.indrelid)
            FROM pg_catalog.pg_index AS i
            JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = %s::pg_catalog.regclass
            """,
            [COPY],
        )
    }
    checks = dict(
        connection.execute(
            """
            SELECT conname, pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint
            WHERE conrelid = %s::pg_catalog.regclass AND contype = 'c'
            """,
            [COPY],
        ).fetchall()
    )
    return Target(
        type=str(row[0]),
        collation=row[2] or "",
        default=row[1],
        indexes={
            index.name: _definition(
                *definitions[copies[index.name]], index.tablespace and quoting.name(index.tablespace)
            )
            for index in subject.indexes
        },
        checks={check.name: str(checks[check.name]) for check in subject.checks},
        conversion=conversion,
        is_exact=is_exact(row[3], row[4], row[5], is_deterministic=row[6]),
        is_toastable=row[7],
        has_equality=_has_equality(connection, str(row[0])),
    )


def _definition(whole: str, condition: str, tablespace: str | None) -> str:
    """Return what follows the table's name; what stands before it are names of the server's own choice."""
    text = whole.partition("whimbrel_copy USING ")[2]
    # The one clause that the server leaves out belongs before the condition.
    return f"{text.removesuffix(condition)} TABLESPACE {tablespace}{condition}" if tablespace else text


def _has_equality(connection: Connection, shown: str) -> bool:
    try:
        with connection.transaction():
            query = f"SELECT NULL::{shown} IS NOT DISTINCT FROM NULL::{shown}"  # noqa: S608  (the server wrote it)
            connection.execute(query.encode())
    except psycopg.errors.UndefinedFunction:
        return False
    return True

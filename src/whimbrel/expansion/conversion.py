"""How the new value is made of the old one, as the server writes it."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from whimbrel.database import Connection
from whimbrel.errors import ConfigError
from whimbrel.expansion.rehearsal import COPY, qualify, refused, run
from whimbrel.expansion.subject import Subject


@dataclass(frozen=True, slots=True)
class Retyping:
    """The type that is wanted, and the expression for it, as a person wrote them for a search_path."""

    type: str
    using: str | None
    search_path: str


@dataclass(frozen=True, slots=True)
class Conversion:
    """How the new value is made of the old column, and `backward` of the same under its later name.

    `uses` are the other columns that it reads. `is_plain`: it is the cast that an assignment makes as well.
    """

    forward: str
    backward: str
    uses: tuple[str, ...]
    is_plain: bool


def type_of(connection: Connection, column: str) -> tuple[str, bool]:
    """Return the type of a column of the copy, and whether it is an enum."""
    qualify(connection)
    row = connection.execute(
        """
        SELECT pg_catalog.format_type(a.atttypid, a.atttypmod), t.typtype = 'e'
        FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
        WHERE a.attrelid = %s::pg_catalog.regclass AND a.attname = %s
        """,
        [COPY, column],
    ).fetchone()
    assert row is not None
    # Of an enum the server calls the conversion stable, since its values are in the catalog; no setting changes it.
    return str(row[0]), bool(row[1])


def convert(connection: Connection, subject: Subject, new: str, kept: str, expression: str) -> Conversion:
    """Let the server write a conversion with every name qualified, before and after the columns change their names."""
    quoting = subject.quoting
    old = quoting.name(subject.column.name)
    # Whether a value is null can be asked of every type.
    run(connection, f"ALTER TABLE {COPY} ADD CONSTRAINT whimbrel_conversion CHECK (({expression}) IS NULL)")
    forward, uses = _conversion(connection, subject.column.name)
    run(connection, f"ALTER TABLE {COPY} RENAME COLUMN {old} TO {quoting.name(kept)}")
    run(connection, f"ALTER TABLE {COPY} RENAME COLUMN {quoting.name(new)} TO {old}")
    backward, _ = _conversion(connection, kept)
    return Conversion(forward, backward, uses, is_plain=False)


def _conversion(connection: Connection, column: str) -> tuple[str, tuple[str, ...]]:
    qualify(connection)
    row = connection.execute(
        """
        SELECT pg_catalog.pg_get_expr(k.conbin, k.conrelid),
            ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
                WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) AND a.attname <> %s ORDER BY a.attnum)
        FROM pg_catalog.pg_constraint AS k
        WHERE k.conrelid = %s::pg_catalog.regclass AND k.conname = 'whimbrel_conversion'
        """,
        [column, COPY],
    ).fetchone()
    assert row is not None
    return str(row[0]).removeprefix("(").removesuffix(" IS NULL)"), tuple(row[1])


def refuse_session_dependent(connection: Connection, conversion: Conversion, shown: str) -> None:
    """Let the server say whether a conversion gives the same in every session."""
    try:
        with connection.transaction():
            # The columns have their later names by now.
            connection.execute(f"CREATE INDEX ON {COPY} ((({conversion.backward}) IS NULL))".encode())
    except psycopg.errors.InvalidObjectDefinition:
        raise ConfigError(
            f"the conversion to {shown} depends on the session that does it",
            detail="Each client would write what its own settings say, its TimeZone for instance.",
            hint="Say what is meant, with functions that are IMMUTABLE: --using \"created_at AT TIME ZONE 'UTC'\"",
        ) from None
    except psycopg.Error as error:
        raise refused(error) from None

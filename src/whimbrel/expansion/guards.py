"""Blocks of PL/pgSQL: statements that are done as a whole, and what refuses to go on where something is not ready."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from whimbrel.expansion.names import dollar_quoted, literal
from whimbrel.expansion.parts import Parts

# What `alone` needs in the block around it.
VARIABLES = "others text;"


def ready(parts: Parts, fact: str, hint: str, proven: Sequence[str], built: Sequence[str]) -> str:
    """Return a statement that fails unless constraints are proven and indexes are there and valid; it scans nothing."""
    condition = f"""\
(SELECT count(*) FROM pg_catalog.pg_constraint
        WHERE conrelid = {relation(parts)} AND convalidated
            AND conname IN ({_listed(proven)})) = {len(proven)}"""  # noqa: S608  (names are quoted)
    if built:
        condition += f"""
    AND (SELECT count(*) FROM pg_catalog.pg_index AS i
        JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indrelid = {relation(parts)} AND i.indisvalid
            AND c.relname IN ({_listed(built)})) = {len(built)}"""  # noqa: S608
    return unless(condition, fact, hint)


def alone(parts: Parts, column: str, known: Iterable[str]) -> str:
    """Return a statement that fails where an index or a constraint uses a column and is none of those known.

    It would vanish with the column, or stay behind with it. Needs a variable `others`.
    """
    names = [*known]
    but = f"\n    AND coalesce(c.relname, k.conname) NOT IN ({_listed(names)})" if names else ""
    fact = f"column {column} is used by what was made after this file was written: ".replace("%", "%%")
    hint = "Drop it, or make it anew for the other column, and run this again."
    return f"""\
SELECT pg_catalog.string_agg(DISTINCT coalesce(c.relname, k.conname), ', ') INTO others
FROM pg_catalog.pg_depend AS d
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = d.objid AND c.relkind IN ('i', 'I')
    AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
LEFT JOIN pg_catalog.pg_constraint AS k ON k.oid = d.objid AND k.contype <> 'n'
    AND d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND d.refobjid = {relation(parts)}
    AND a.attname = {literal(column)}{but};
IF others IS NOT NULL THEN
    RAISE EXCEPTION {literal(fact + "%")}, others
        USING HINT = {literal(hint)};
END IF;"""  # noqa: S608


def relation(parts: Parts) -> str:
    """Return the table as a value."""
    return f"{literal(parts.table)}::pg_catalog.regclass"


def unless(condition: str, fact: str, hint: str) -> str:
    """Return a statement that fails unless a condition holds."""
    return (
        f"IF NOT (\n    {condition}\n) THEN\n"
        f"    RAISE EXCEPTION {literal(fact.replace('%', '%%'))}\n"
        f"        USING HINT = {literal(hint)};\n"
        "END IF;"
    )


def do_block(statements: Iterable[str], declared: str = "") -> str:
    """Return a DO block: its statements are done together or not at all."""
    declaration = ["DECLARE", _indented(declared)] if declared else []
    lines = ["", *declaration, "BEGIN", *map(_indented, statements), "END", ""]
    return f"DO {dollar_quoted(chr(10).join(lines))};"


def _indented(statement: str) -> str:
    # A string that goes over several lines would become another.
    if "$$" in statement or "$body" in statement or any(line.count("'") % 2 for line in statement.splitlines()):
        return statement
    return textwrap.indent(statement, "    ")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(literal(name) for name in names)

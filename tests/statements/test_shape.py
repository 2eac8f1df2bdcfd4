"""Whether an index may have come of a statement, by what both are made of."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import TupleRow

from whimbrel.statements.shape import find_shape

DEFINITIONS = [
    "(n)",
    "(m)",
    "(n, m)",
    "(m, n)",
    "(n DESC) INCLUDE (m)",
    "(lower(t))",
    "(n, (m + 1))",
    "USING hash (n)",
    "(n) WHERE m IS NULL",
]


@pytest.mark.parametrize("unique", ["", "UNIQUE "])
def test_the_servers_definition_has_the_shape_of_the_statement_and_of_no_other(
    connection: psycopg.Connection[TupleRow], unique: str
) -> None:
    connection.execute('CREATE TABLE a (n int, m int, t text, "Größe" int)')
    shapes = set[object]()
    for number, definition in enumerate(DEFINITIONS):
        if unique and "hash" in definition:
            continue
        statement = f"CREATE {unique}INDEX CONCURRENTLY ON a {definition}"
        connection.execute(f"CREATE {unique}INDEX i{number} ON a {definition}".encode())
        row = connection.execute("SELECT pg_get_indexdef(%s::regclass)", [f"i{number}"]).fetchone()
        assert row is not None
        shape = find_shape(statement.encode())
        assert shape is not None
        assert shape == find_shape(str(row[0]).encode())
        assert shape not in shapes
        shapes.add(shape)


@pytest.mark.parametrize(
    ("definition", "plain"),
    [('("Größe")', '("Größe" int4_ops)'), ("(N)", "(n)"), ("((n))", "(n)"), ('((t COLLATE "C"))', '(t COLLATE "C")')],
)
def test_a_column_is_the_same_however_it_is_written(
    connection: psycopg.Connection[TupleRow], definition: str, plain: str
) -> None:
    connection.execute('CREATE TABLE a (n int, m int, t text, "Größe" int)')
    connection.execute(f"CREATE INDEX i ON a {definition}".encode())
    row = connection.execute("SELECT pg_get_indexdef('i'::regclass)").fetchone()
    assert row is not None
    shapes = {find_shape(text.encode()) for text in (f"CREATE INDEX ON a {definition}", f"CREATE INDEX ON a {plain}")}
    assert shapes == {find_shape(str(row[0]).encode())}


def test_what_makes_no_index_has_no_shape() -> None:
    assert find_shape(b"DROP INDEX CONCURRENTLY i") is None
    assert find_shape(b"CREATE INDEX CONCURRENTLY ON a (") is None

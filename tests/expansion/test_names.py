"""Names of any kind: quoted as the server does, cut where it would cut, and never taken twice."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql
from psycopg.rows import TupleRow

from whimbrel.expansion.names import MAX_BYTES, Registry, dollar_quoted, joined, literal
from whimbrel.expansion.reading import read_quoting

from .conftest import Change

NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20)


@given(
    parts=st.lists(
        st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=70), min_size=1, max_size=3
    )
)
def test_a_name_of_parts_has_63_bytes_at_most_and_its_end(parts: list[str]) -> None:
    name = joined(parts, "in_step")

    assert len(name.encode()) <= MAX_BYTES
    assert name.endswith("_in_step")
    if len("_".join(parts).encode()) <= MAX_BYTES - len("_in_step"):
        assert name == "_".join([*parts, "in_step"])


@given(names=st.lists(st.sampled_from(["a", "b", "n" * 70]), max_size=12))
def test_a_name_is_handed_out_once(names: list[str]) -> None:
    registry = Registry({"a_next", "b_next1"})

    found = [registry.free(name, suffix="next") for name in names]

    assert len(set(found)) == len(found)
    assert not {"a_next", "b_next1"} & set(found)
    assert all(len(name.encode()) <= MAX_BYTES for name in found)


def test_quoting_is_the_servers(connection: psycopg.Connection[TupleRow]) -> None:
    quoting = read_quoting(connection)

    @given(name=NAMES | st.sampled_from(["select", "user", "name", "Name", "a$1", "_a", "1a", 'a"b', "between"]))
    def check(name: str) -> None:
        row = connection.execute("SELECT quote_ident(%s)", [name]).fetchone()
        assert row is not None
        # The server leaves a word bare that is a name and a keyword at once.
        assert quoting.name(name) == row[0] or quoting.name(name) == f'"{name}"'

    check()


def test_strings_are_read_back_as_they_were(connection: psycopg.Connection[TupleRow]) -> None:
    @given(text=st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")))
    def check(text: str) -> None:
        for written in (literal(text), dollar_quoted(text)):
            row = connection.execute(f"SELECT {written.replace('%', '%%')}".encode(), []).fetchone()
            assert row == (text,)

    check()


@pytest.mark.parametrize(
    ("schema", "table", "old", "new"),
    [
        ("My Schema", "Order", "select", "From"),
        ("a.b", 'quo"te', "a'b", "per%cent"),
        ("naïve", "tä ble", "bödy", "$$"),
        ("s", "t" * 63, "o" * 63, "n" * 63),
        ("s", "ü" * 31, "ö" * 31, "ä" * 31),
        ("s", "back\\slash", "c\\d", "e{column}f"),
        ("s", "t", "new", "old"),
        ("s", "t", "tg_op", "found"),
    ],
)
def test_any_name_can_be_renamed_and_retyped(change: Change, schema: str, table: str, old: str, new: str) -> None:
    def q(*names: str) -> str:
        return sql.Identifier(*names).as_string(change.connection)

    assert change.connection is not None
    change.execute(f"""
        CREATE SCHEMA {q(schema)};
        CREATE TABLE {q(schema, table)} (key1 integer, "Key 2" integer, {q(old)} integer NOT NULL CHECK ({q(old)} > 0),
            PRIMARY KEY (key1, "Key 2"), UNIQUE ({q(old)}));
        CREATE INDEX {q("by " + old[:20])} ON {q(schema, table)} ({q(old)}) WHERE {q(old)} > 1;
        COMMENT ON COLUMN {q(schema, table, old)} IS 'it''s \\ 100%';
        INSERT INTO {q(schema, table)} SELECT i, i, i FROM generate_series(1, 50) AS i;
    """)
    before = change.schema()
    path = ".".join(map(q, (schema, table, old)))
    change.rename(path, q(new))
    change.up(3)
    change.down(0)
    assert change.schema() == before
    change.up(4)
    change.execute(f'INSERT INTO {q(schema, table)} (key1, "Key 2", {q(new)}) VALUES (99, 99, 99)')
    # What is called _new and _old besides has to fit too.
    if len(new.encode()) < 60:
        change.retype(".".join(map(q, (schema, table, new))), "bigint")
        change.up(8)
        change.execute(f"UPDATE {q(schema, table)} SET {q(new)} = {q(new)} + 1000")
        change.down(7)
        change.up(9)
    assert change.value(f"SELECT count({q(new)}) FROM {q(schema, table)}") == 51

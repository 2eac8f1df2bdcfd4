"""What cannot be expanded is refused before anything is written, all of it at once, with what to do."""

from __future__ import annotations

import pytest

from whimbrel.errors import ConfigError

from .conftest import Change

TABLE = """
CREATE TABLE notes (
    id integer PRIMARY KEY,
    body text,
    size integer,
    at timestamp,
    CONSTRAINT sizes EXCLUDE USING btree (size WITH =)
);
CREATE TABLE orphan (body text);
CREATE TABLE parent (id integer PRIMARY KEY, body text);
CREATE TABLE child (extra text, PRIMARY KEY (id)) INHERITS (parent);
CREATE TABLE parted (id integer, body text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9);
CREATE INDEX part_body ON part (body);
CREATE DOMAIN word AS text CHECK (VALUE <> '');
CREATE TABLE words (id integer PRIMARY KEY, word word);
CREATE TABLE doubled (id integer PRIMARY KEY, half integer, whole integer GENERATED ALWAYS AS (half * 2) STORED);
CREATE TABLE places (id integer PRIMARY KEY, place integer UNIQUE DEFERRABLE, line integer);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION lower_body() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.body := lower(NEW.body); RETURN NEW; END';
"""


def refused(change: Change, column: str, name: str = "content") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        change.rename(column, name)
    assert not list(change.root.glob("migrations/*"))
    return str(caught.value.detail).split("\n        ")


def test_every_obstacle_is_named_at_once(change: Change) -> None:
    change.execute(TABLE)
    change.execute("""
        CREATE VIEW shown AS SELECT body FROM notes;
        CREATE MATERIALIZED VIEW kept AS SELECT body FROM notes;
        CREATE RULE silent AS ON DELETE TO notes WHERE OLD.body = '' DO INSTEAD NOTHING;
        CREATE POLICY own ON notes USING (body <> '');
        CREATE TRIGGER on_body BEFORE UPDATE OF body ON notes FOR EACH ROW EXECUTE FUNCTION nothing();
        CREATE TRIGGER on_some AFTER UPDATE ON notes FOR EACH ROW WHEN (NEW.body = '') EXECUTE FUNCTION nothing();
        CREATE TRIGGER lowered BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION lower_body();
        CREATE STATISTICS together ON id, body FROM notes;
    """)

    found = refused(change, "notes.body", "size")

    assert [line.partition(":")[0] for line in sorted(found)] == [
        "materialized view public.kept uses it",
        "policy own on table public.notes uses it",
        "rule silent on table public.notes uses it",
        "statistics object public.together uses it",
        'the table has a column "size" already',
        "trigger lowered fires before both columns are in step, and its function public.lower_body names the column",
        "trigger on_body on table public.notes uses it",
        "trigger on_some on table public.notes uses it",
        "view public.shown uses it",
    ]


@pytest.mark.parametrize(
    ("column", "obstacle"),
    [
        ("notes.size", "constraint sizes is an exclusion constraint"),
        ("places.place", "constraint places_place_key is deferrable"),
        ("orphan.body", "the table has no primary key"),
        ("child.body", "it is inherited"),
        ("parent.body", "other tables inherit from parent"),
        ("parted.id", "it is part of the partition key"),
        ("parted.body", "part_body belongs to a partition alone"),
        ("part.body", "part is a partition"),
        ("words.word", "its type public.word is a domain with constraints"),
        ("doubled.half", "column whole uses it"),
        ("doubled.whole", "it is a generated column"),
    ],
)
def test_an_obstacle_is_named(change: Change, column: str, obstacle: str) -> None:
    change.execute(TABLE)

    assert any(obstacle in line for line in refused(change, column))


def test_a_column_list_of_a_publication_is_named(change: Change) -> None:
    assert change.server is not None
    if change.server.version < 15:
        pytest.skip("column lists came with 15")
    change.execute(TABLE)
    change.execute("CREATE PUBLICATION news FOR TABLE parent (id, body)")

    assert any("publication" in line for line in refused(change, "parent.body"))


def test_a_function_whose_body_the_server_knows_is_named(change: Change) -> None:
    assert change.server is not None
    if change.server.version < 14:
        pytest.skip("BEGIN ATOMIC came with 14")
    change.execute(TABLE)
    change.execute("CREATE FUNCTION bodies() RETURNS SETOF text BEGIN ATOMIC SELECT body FROM notes; END")

    assert any("function public.bodies() uses it" in line for line in refused(change, "notes.body"))


def test_a_function_that_only_holds_the_words_is_told_of_and_no_obstacle(change: Change) -> None:
    change.execute(TABLE)
    change.execute("CREATE FUNCTION bodies() RETURNS SETOF text LANGUAGE sql AS 'SELECT body FROM notes'")

    (note,) = change.rename("notes.body", "content").notes

    assert "public.bodies()" in note


@pytest.mark.parametrize(
    ("column", "wanted", "message"),
    [
        ("notes.at", "timestamptz", "depends on the session"),
        ("notes.body", "integer", "cannot be cast automatically"),
        ("notes.body", "nonsense", 'type "nonsense" does not exist'),
        ("notes.body", "word", "type public.word is a domain with constraints"),
        ("notes.id", "integer", "is of type integer already"),
        ("notes.nowhere", "integer", 'no column "nowhere"'),
        ("nowhere.body", "integer", "there is no table nowhere"),
        ("notes", "integer", "does not name a column"),
        ("notes.body x", "integer", "is not a name as SQL has them"),
    ],
)
def test_what_the_server_refuses_is_refused_before_anything_is_written(
    change: Change, column: str, wanted: str, message: str
) -> None:
    change.execute(TABLE)

    with pytest.raises(ConfigError, match=message):
        change.retype(column, wanted)

    assert not list(change.root.glob("migrations/*"))


def test_a_foreign_key_that_writes_by_itself_goes_with_no_expression(change: Change) -> None:
    change.execute(TABLE)
    change.execute("ALTER TABLE places ADD CONSTRAINT cascades FOREIGN KEY (line) REFERENCES parent ON UPDATE CASCADE")

    with pytest.raises(ConfigError, match="1 obstacle") as caught:
        change.retype("places.line", "bigint", "line * 2")

    assert str(caught.value.detail).startswith("foreign key cascades writes to the column by itself")


def test_a_trigger_behind_which_none_can_fire_is_named(change: Change) -> None:
    change.execute(TABLE)
    change.execute("""
        CREATE TRIGGER "~~~~~~~~~~~" BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION nothing();
    """)

    (found,) = refused(change, "notes.body")

    assert found == "a trigger of the table has a name behind which no other comes: give it another one"


def test_a_name_that_is_too_long_is_refused(change: Change) -> None:
    change.execute(TABLE)

    with pytest.raises(ConfigError, match="has 64 bytes"):
        change.rename("notes.body", "n" * 64)
    with pytest.raises(ConfigError, match="cannot be expanded"):
        change.execute(f"ALTER TABLE notes RENAME body TO {'n' * 62}")
        change.retype(f"notes.{'n' * 62}", "varchar(9)")


def test_looking_leaves_nothing_behind_and_waits_for_nobody(change: Change) -> None:
    import psycopg

    change.execute(TABLE)
    before = change.schema()
    with psycopg.connect(change.dsn) as writer:
        writer.execute("INSERT INTO parent VALUES (1, 'open')")
        change.retype("notes.body", "varchar(9)")

    assert change.schema() == before

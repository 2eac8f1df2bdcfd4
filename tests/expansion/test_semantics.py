"""What one row looks like after a statement of an old or of a new client."""

from __future__ import annotations

import psycopg
import pytest

from .conftest import Change

TABLE = """
CREATE TABLE notes (
    id integer PRIMARY KEY,
    body text NOT NULL,
    kind text DEFAULT 'plain',
    lax numeric,
    data json,
    span interval DEFAULT '1 day',
    code uuid DEFAULT gen_random_uuid(),
    word varchar(5),
    rough double precision
);
INSERT INTO notes (id, body, lax, data) VALUES (1, 'one', 1.0, '{"a": 1}');
"""


@pytest.mark.parametrize(
    ("column", "statement", "expected"),
    [
        ("kind", "INSERT INTO notes (id, body) VALUES (2, '')", "plain"),
        ("kind", "INSERT INTO notes (id, body, kind) VALUES (2, '', 'old')", "old"),
        ("kind", "INSERT INTO notes (id, body, next) VALUES (2, '', 'new')", "new"),
        ("kind", "INSERT INTO notes (id, body, kind, next) VALUES (2, '', 'old', 'new')", "new"),
        ("kind", "INSERT INTO notes (id, body, kind) VALUES (2, '', NULL)", None),
        ("kind", "INSERT INTO notes (id, body, next) VALUES (2, '', NULL)", None),
        ("kind", "INSERT INTO notes (id, body, next) VALUES (2, '', DEFAULT)", "plain"),
        ("kind", "UPDATE notes SET next = NULL, id = 2", None),
        ("kind", "UPDATE notes SET kind = NULL, id = 2", None),
        ("kind", "UPDATE notes SET kind = 'old', next = 'new', id = 2", "new"),
        ("body", "INSERT INTO notes (id, next) VALUES (2, 'new')", "new"),
        (
            "body",
            "INSERT INTO notes (id, next) VALUES (1, 'new') ON CONFLICT (id) DO UPDATE SET id = 2, next = 'new'",
            "new",
        ),
        (
            "body",
            "INSERT INTO notes (id, body) VALUES (1, 'old') ON CONFLICT (id) DO UPDATE SET id = 2, body = 'old'",
            "old",
        ),
        # Equal, and not the same: the later one counts.
        ("lax", "UPDATE notes SET next = 1.000, id = 2", "1.000"),
        ("lax", "UPDATE notes SET lax = 1.000, id = 2", "1.000"),
        ("span", "UPDATE notes SET next = '24 hours', id = 2", "24:00:00"),
        ("span", "INSERT INTO notes (id, body, next) VALUES (2, '', '24 hours')", "24:00:00"),
        # Without an operator for equality.
        ("data", "UPDATE notes SET next = '{\"a\":  1}', id = 2", '{"a":  1}'),
        ("data", "INSERT INTO notes (id, body, data) VALUES (2, '', '[]')", "[]"),
    ],
)
def test_both_columns_hold_what_was_written_last(
    change: Change, column: str, statement: str, expected: str | None
) -> None:
    change.execute(TABLE)
    change.rename(f"notes.{column}", "next")
    change.up(3)

    change.execute(statement)

    assert change.rows(f"SELECT {column}::text, next::text FROM notes WHERE id = 2") == [(expected, expected)]


def test_a_default_that_differs_each_time_is_the_same_in_both_columns(change: Change) -> None:
    change.execute(TABLE)
    change.rename("notes.code", "next")
    change.up(3)

    change.execute("INSERT INTO notes (id, body) VALUES (2, '')")

    assert change.value("SELECT code IS NOT NULL AND code = next FROM notes WHERE id = 2") is True


def test_a_row_that_is_not_filled_yet_is_filled_by_any_update(change: Change) -> None:
    change.execute(TABLE)
    change.rename("notes.body", "next")
    change.up(1)

    change.execute("UPDATE notes SET kind = 'other'")

    assert change.rows("SELECT body, next FROM notes") == [("one", "one")]


def test_a_row_that_is_moved_to_another_partition_stays_in_step(change: Change) -> None:
    change.execute("""
        CREATE TABLE parted (id integer, place integer, kind text DEFAULT 'plain', PRIMARY KEY (id, place))
            PARTITION BY LIST (place);
        CREATE TABLE here PARTITION OF parted FOR VALUES IN (1);
        CREATE TABLE there PARTITION OF parted FOR VALUES IN (2);
        INSERT INTO parted VALUES (1, 1, 'a'), (2, 1, NULL);
    """)
    change.rename("parted.kind", "sort")
    change.up(1)

    change.execute("UPDATE parted SET place = 2")
    change.execute("UPDATE parted SET place = 1, sort = 'b' WHERE id = 1")

    assert change.rows("SELECT id, kind, sort FROM parted ORDER BY id") == [(1, "b", "b"), (2, None, None)]


def test_what_the_trigger_does_not_see_is_refused_by_the_constraint(change: Change) -> None:
    change.execute(TABLE)
    change.rename("notes.body", "next")
    change.up(1)

    with pytest.raises(psycopg.errors.CheckViolation, match="notes_body_next_in_step"):
        change.execute("SET session_replication_role = replica; INSERT INTO notes (id, body) VALUES (2, 'a')")
    change.execute("SET session_replication_role = replica; INSERT INTO notes (id, body, next) VALUES (2, 'a', 'a')")


def test_a_value_that_the_narrower_type_cannot_hold_is_refused_and_not_cut(change: Change) -> None:
    change.execute(TABLE)
    change.retype("notes.body", "varchar(5)")
    change.up(2)

    with pytest.raises(psycopg.errors.StringDataRightTruncation):
        change.execute("UPDATE notes SET body = 'too long'")


@pytest.mark.parametrize(
    ("column", "wanted", "using", "written", "kept"),
    [
        ("word", "text", None, "abc", "abc"),
        ("word", "text", None, "abcdef", None),
        ("lax", "text", None, "12", "12"),
        ("lax", "text", None, "twelve", None),
        ("rough", "numeric", None, "0.1", "0.1"),
        ("rough", "numeric", None, "0.12345678901234567890123", None),
        ("word", "text", "lower(word)", "abc", "abc"),
        ("word", "text", "lower(word)", "ABC", None),
        ("word", "text", "word || id", "abc", None),
    ],
)
def test_behind_the_swap_the_old_column_keeps_what_it_can_hold(
    change: Change, column: str, wanted: str, using: str | None, written: str, kept: str | None
) -> None:
    change.execute(TABLE)
    change.retype(f"notes.{column}", wanted, using)
    change.up(4)

    change.execute(f"UPDATE notes SET {column} = '{written}'")

    assert change.rows(f"SELECT {column}::text, {column}_old::text FROM notes") == [(written, kept)]


def test_the_trigger_fires_behind_those_that_change_the_row(change: Change) -> None:
    change.execute(TABLE)
    change.execute("""
        CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN NEW.kind := upper(NEW.kind); RETURN NEW; END';
        CREATE TRIGGER zzz_shout BEFORE INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION shout();
    """)
    change.retype("notes.kind", "varchar(20)")
    change.up(3)

    change.execute("INSERT INTO notes (id, body, kind) VALUES (2, '', 'old')")

    assert change.rows("SELECT kind, kind_new FROM notes ORDER BY id") == [("PLAIN", "PLAIN"), ("OLD", "OLD")]


@pytest.mark.parametrize("kind", ["rename", "retype"])
def test_what_a_foreign_key_does_by_itself_arrives_at_each_step(change: Change, kind: str) -> None:
    change.execute("""
        CREATE TABLE words (id integer PRIMARY KEY);
        CREATE TABLE notes (
            id integer PRIMARY KEY,
            word integer REFERENCES words ON UPDATE CASCADE ON DELETE SET NULL,
            last integer REFERENCES words ON UPDATE CASCADE
        );
        INSERT INTO words VALUES (1), (1000);
        INSERT INTO notes VALUES (1, 1, 1), (2, 1000, NULL);
    """)
    if kind == "rename":
        change.rename("notes.word", "next")
    else:
        change.retype("notes.word", "bigint")
    steps = [1, 2, 3, 4, 3, 2, 1, 0] if kind == "retype" else [1, 2, 3, 2, 1, 0, 4]
    at = 0
    for number, step in enumerate(steps, 2):
        (change.up if step > at else change.down)(step)
        at = step
        change.execute(f"UPDATE words SET id = {number} WHERE id < 1000")
        column = "next" if step == 4 and kind == "rename" else "word"
        assert change.rows(f"SELECT {column}, last FROM notes WHERE id = 1") == [(number, number)]
        change.execute(f"INSERT INTO words VALUES ({number + 2000})")
        change.execute(f"UPDATE notes SET {column} = {number + 2000} WHERE id = 2")
        change.execute(f"DELETE FROM words WHERE id = {number + 2000}")
        assert change.rows(f"SELECT {column} FROM notes WHERE id = 2") == [(None,)]


def test_an_expression_gives_the_same_in_every_session(change: Change) -> None:
    change.execute(
        "CREATE TABLE visits (id integer PRIMARY KEY, at timestamp); INSERT INTO visits VALUES (1, '2025-07-01')"
    )
    change.retype("visits.at", "timestamptz", "at AT TIME ZONE 'UTC'")
    change.up(3)

    change.execute("SET TimeZone = 'Asia/Tokyo'; INSERT INTO visits VALUES (2, '2025-07-01')")

    found = change.rows("SELECT at_new = '2025-07-01 00:00+00' FROM visits")
    assert found == [(True,), (True,)]
    change.up(5)
    change.execute("INSERT INTO visits VALUES (3, '2025-07-01')")
    assert change.value("SELECT at = '2025-07-01 00:00+09' FROM visits WHERE id = 3") is True


def test_a_prepared_statement_meets_the_new_type_when_it_is_prepared_anew(change: Change) -> None:
    change.execute(TABLE)
    change.retype("notes.id", "bigint")
    change.up(3)
    with psycopg.connect(change.dsn, autocommit=True) as client:
        client.execute("PREPARE one AS SELECT id FROM notes")
        client.execute("EXECUTE one")
        change.up(4)
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="cached plan must not change result type"):
            client.execute("EXECUTE one")
        client.execute("DEALLOCATE one; PREPARE one AS SELECT id FROM notes")
        assert client.execute("EXECUTE one").fetchall() == [(1,)]

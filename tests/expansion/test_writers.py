"""While a column is changed, old and new versions of an application write to it, and no write is lost."""

from __future__ import annotations

from .clients import Client, latest, writing
from .conftest import Change

TABLE = """
CREATE SCHEMA app;
CREATE TABLE app.notes (
    id integer PRIMARY KEY,
    body text NOT NULL UNIQUE,
    seq integer NOT NULL DEFAULT 1,
    revision integer NOT NULL DEFAULT 0
);
CREATE INDEX notes_seq ON app.notes (seq);
INSERT INTO app.notes (id, body, seq) SELECT i, 'note ' || i, i FROM generate_series(1, 3000) AS i;
"""
BEYOND = 2**31


def columns_of(change: Change, *columns: str) -> dict[int, tuple[object, ...]]:
    return {row[0]: row[1:] for row in change.rows(f"SELECT id, {', '.join(columns)} FROM app.notes")}


def test_old_and_new_clients_lose_no_write_to_a_renamed_column(change: Change) -> None:
    change.execute(TABLE)
    change.rename("app.notes.body", "content")
    old, new = Client(change.dsn, "body", 1_000_000), Client(change.dsn, "content", 2_000_000)
    with writing(old):
        change.up(1)
        with writing(new):
            pass
        filled = "SELECT count(*) FROM app.notes WHERE content IS NOT NULL AND content IS DISTINCT FROM body"
        assert change.value(filled) == 0
        with writing(new):
            change.up(2)
            assert change.value("SELECT count(*) FROM app.notes WHERE content IS DISTINCT FROM body") == 0
            change.up(3)
    found = columns_of(change, "body", "content")
    for number, value in latest(old, new).items():
        assert found[number] == (value, value)

    with writing(new):
        change.up(4)

    assert {number: value for number, (value,) in columns_of(change, "content").items()} == {
        **{number: f"note {number}" for number in range(1, 3001)},
        **latest(old, new),
    }


def test_clients_of_both_kinds_lose_no_write_on_the_way_back(change: Change) -> None:
    change.execute(TABLE)
    change.rename("app.notes.body", "content")
    old, new = Client(change.dsn, "body", 1_000_000), Client(change.dsn, "content", 2_000_000)
    change.up(3)
    with writing(old):
        with writing(new):
            change.down(1)
        change.down(0)

    assert {number: value for number, (value,) in columns_of(change, "body").items()} == {
        **{number: f"note {number}" for number in range(1, 3001)},
        **latest(old, new),
    }


def test_no_write_is_lost_while_a_type_is_changed_and_changed_back(change: Change) -> None:
    change.execute(TABLE.replace("body text NOT NULL UNIQUE", "body text"))
    change.retype("app.notes.seq", "bigint")
    client = Client(change.dsn, "seq", 1_000_000, make=int)
    with writing(client):
        for version in (1, 2, 3, 4):
            change.up(version)
        change.down(3)
        assert change.value("SELECT count(*) FROM app.notes WHERE seq_new IS DISTINCT FROM seq") == 0
        change.up(4)
        assert change.value("SELECT count(*) FROM app.notes WHERE seq_old IS DISTINCT FROM seq") == 0

    large = Client(change.dsn, "seq", 3_000_000, make=lambda number: BEYOND + number)
    with writing(client, large):
        pass
    with writing(large):
        change.up(5)

    expected: dict[int, object] = {number: number for number in range(1, 3001)}
    expected |= latest(client, large)
    assert {number: value for number, (value,) in columns_of(change, "seq").items()} == expected
    assert (
        change.value(
            "SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = 'app.notes'::regclass"
            " AND attname = 'seq'"
        )
        == "bigint"
    )


def test_a_value_that_the_old_type_cannot_hold_bars_the_way_back_and_is_kept(change: Change) -> None:
    change.execute(TABLE)
    change.retype("app.notes.seq", "bigint")
    change.up(4)
    change.execute(f"UPDATE app.notes SET seq = {BEYOND} WHERE id = 5")

    error = change.fail(1, "down", "3", "--yes")

    assert "notes_seq_seq_new_in_step" in error
    assert change.value("SELECT seq FROM app.notes WHERE id = 5") == BEYOND
    # Put right, the same command goes on.
    change.execute("UPDATE app.notes SET seq = 17 WHERE id = 5")
    change.down(0)
    assert change.value("SELECT seq FROM app.notes WHERE id = 5") == 17

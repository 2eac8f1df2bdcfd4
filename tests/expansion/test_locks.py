"""What the steps do to others: those with a strong lock read and rewrite nothing, the rest stands in nobody's way."""

from __future__ import annotations

import psycopg
import pytest

from ..acceptance.programs import eventually
from .conftest import Change

TABLE = """
CREATE TABLE notes (id serial PRIMARY KEY, body text NOT NULL UNIQUE, seq integer NOT NULL CHECK (seq > 0));
CREATE INDEX notes_seq ON notes (seq);
INSERT INTO notes (body, seq) SELECT 'note ' || i, i FROM generate_series(1, 2000) AS i;
CREATE TABLE lines (note integer REFERENCES notes);
"""


def storage(change: Change) -> object:
    return change.value("SELECT relfilenode FROM pg_class WHERE relname = 'notes'")


def scans(change: Change) -> object:
    """Return how often the table was read from its beginning, when every other session has told what it did."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    others += " AND backend_type = 'client backend'"
    eventually(lambda: change.value(others) == 0)
    return change.value("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'notes'")


@pytest.mark.parametrize(
    ("column", "wanted", "brief"), [("body", None, (1, 4)), ("seq", "bigint", (1, 4, 5)), ("id", "bigint", (1, 4, 5))]
)
def test_the_steps_with_a_strong_lock_read_and_rewrite_nothing(
    change: Change, column: str, wanted: str | None, brief: tuple[int, ...]
) -> None:
    assert change.server is not None
    if change.server.version < 15:
        pytest.skip("before 15 the server's statistics come late")
    change.execute(TABLE)
    if wanted is None:
        change.rename(f"notes.{column}", "content")
    else:
        change.retype(f"notes.{column}", wanted)
    file = storage(change)
    for version in range(1, max(brief) + 1):
        before = scans(change)
        change.up(version)
        assert storage(change) == file
        if version in brief:
            assert scans(change) == before
        elif version == 3:
            assert scans(change) != before


@pytest.mark.parametrize("kind", ["rename", "retype"])
def test_readers_and_writers_with_open_transactions_do_not_hold_up_the_proof(change: Change, kind: str) -> None:
    """They would hold up a strong lock until they end. An index that is built waits for them: there is none here."""
    change.execute("CREATE TABLE notes (id integer PRIMARY KEY, body text, seq integer); INSERT INTO notes VALUES (1)")
    if kind == "rename":
        change.rename("notes.body", "content")
    else:
        change.retype("notes.seq", "bigint")
    change.up(1)
    with psycopg.connect(change.dsn) as reader, psycopg.connect(change.dsn) as writer:
        reader.execute("SELECT count(*) FROM notes")
        writer.execute("INSERT INTO notes VALUES (2)")
        change.up(3)


@pytest.mark.parametrize("version", [1, 4])
def test_a_step_that_does_not_get_its_lock_leaves_everything_as_it_was(change: Change, version: int) -> None:
    change.execute(TABLE)
    change.retype("notes.seq", "bigint")
    if version > 1:
        change.up(version - 1)
    before = change.schema()
    with psycopg.connect(change.dsn) as reader:
        reader.execute("SELECT count(*) FROM notes")
        change.fail(5, "up", "--to", str(version), "--lock-timeout", "20ms", "--lock-budget", "100ms")
        assert change.schema() == before
    change.up(version)


def test_the_way_back_from_a_swap_goes_on_after_a_lock_was_not_obtained(change: Change) -> None:
    change.execute(TABLE)
    change.retype("notes.id", "bigint")
    change.up(3)
    before = change.schema()
    change.up(4)
    with psycopg.connect(change.dsn) as reader:
        reader.execute("SELECT count(*) FROM lines")
        change.fail(5, "down", "3", "--yes", "--lock-budget", "100ms")
    change.down(3)

    assert change.schema() == before

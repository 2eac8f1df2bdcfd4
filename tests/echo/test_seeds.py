"""The seed data: who is in it, and that a second run changes nothing."""

from __future__ import annotations

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from .programs import SCHEMAS, Server, run_files, seeds

COUNTS = {
    "auth.users": 5,
    "messages.bookmarks": 1,
    "messages.conversation_settings": 2,
    "messages.conversations": 4,
    "messages.drafts": 1,
    "messages.mentions": 1,
    "messages.message_receipts": 4,
    "messages.message_revisions": 1,
    "messages.messages": 12,
    "messages.participants": 11,
    "messages.pinned_messages": 1,
    "messages.poll_options": 2,
    "messages.poll_votes": 3,
    "messages.polls": 1,
    "messages.reactions": 3,
    "notifications.notifications": 3,
    "presence.activity_log": 2,
    "presence.status_history": 5,
    "presence.subscriptions": 5,
    "presence.user_status": 5,
    "users.blocks": 1,
    "users.contacts": 9,
    "users.profiles": 5,
    "users.settings": 4,
}


def contents(conninfo: str) -> dict[str, list[TupleRow]]:
    """Give all rows of all tables that have any."""
    with psycopg.connect(conninfo) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY (%s)", (list(SCHEMAS),)
        ).fetchall()
        rows = {
            f"{schema}.{table}": connection.execute(
                sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1").format(sql.Identifier(schema, table))
            ).fetchall()
            for schema, table in tables
        }
    return {table: found for table, found in rows.items() if found}


def test_every_table_has_the_seeded_number_of_rows(seeded: str) -> None:
    assert {table: len(rows) for table, rows in contents(seeded).items()} == COUNTS


def test_a_second_run_changes_no_row(server: Server, seeded: str) -> None:
    before = contents(seeded)
    run_files(server, seeded, seeds())
    assert contents(seeded) == before


def test_a_second_run_leaves_alone_what_people_have_done_since(server: Server, seeded: str) -> None:
    with psycopg.connect(seeded, autocommit=True) as connection:
        connection.execute("UPDATE users.profiles SET bio = 'Mine' WHERE username = 'alice'")
        connection.execute("UPDATE presence.user_status SET lapses_at = now() WHERE lapses_at < 'infinity'")
        connection.execute(
            "SELECT presence.update_user_status(user_id, 'offline', 'seed-phone')"
            " FROM users.profiles WHERE username = 'alice'"
        )
        connection.execute("DELETE FROM messages.reactions")
    before = contents(seeded)
    run_files(server, seeded, seeds())
    after = contents(seeded)
    assert len(after.pop("messages.reactions")) == 3
    assert after == before


def test_the_five_people_have_the_ids_of_the_guide(seeded: str) -> None:
    with psycopg.connect(seeded) as connection:
        rows = connection.execute("SELECT left(user_id::text, 8), username FROM users.profiles ORDER BY 1").fetchall()
    assert rows == [
        ("a1111111", "alice"),
        ("b2222222", "bob"),
        ("c3333333", "charlie"),
        ("d4444444", "dave"),
        ("e5555555", "eve"),
    ]


def test_each_person_has_a_status_of_the_five(seeded: str) -> None:
    with psycopg.connect(seeded) as connection:
        rows = connection.execute(
            "SELECT username, status FROM presence.user_status JOIN users.profiles USING (user_id) ORDER BY 1"
        ).fetchall()
    assert dict(rows) == {
        "alice": "online",
        "bob": "away",
        "charlie": "busy",
        "dave": "invisible",
        "eve": "offline",
    }


def test_nobody_has_a_password_that_was_made_up(seeded: str) -> None:
    with psycopg.connect(seeded) as connection:
        assert connection.execute("SELECT count(password_hash) FROM auth.users").fetchone() == (0,)

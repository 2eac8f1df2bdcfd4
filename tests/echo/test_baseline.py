"""What the baseline's tables promise to the services that use them."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import TupleRow

from .people import ALICE, BOB, add_user

Database = psycopg.Connection[TupleRow]


def add_group(db: Database, *members: UUID) -> UUID:
    row = db.execute("INSERT INTO messages.conversations (kind, title) VALUES ('group', 'A') RETURNING id").fetchone()
    assert row
    for member in members:
        db.execute("INSERT INTO messages.participants (conversation_id, user_id) VALUES (%s, %s)", (row[0], member))
    return row[0]


def add_session(db: Database, user: UUID) -> None:
    db.execute(
        "INSERT INTO auth.sessions (user_id, token_hash, expires_at)"
        " VALUES (%s, sha256('token'), now() + interval '1 day')",
        (user,),
    )


def say(db: Database, conversation: UUID, sender: UUID | None, content: str, reply_to: UUID | None = None) -> UUID:
    row = db.execute(
        "INSERT INTO messages.messages (conversation_id, sender_id, content, reply_to_id) VALUES (%s, %s, %s, %s)"
        " RETURNING id",
        (conversation, sender, content, reply_to),
    ).fetchone()
    assert row
    return row[0]


def test_updated_at_moves_with_an_update(db: Database) -> None:
    add_user(db, ALICE)
    db.execute("UPDATE auth.users SET updated_at = '2001-01-01'")
    db.execute("UPDATE auth.users SET email = 'new@example.com'")
    assert db.execute("SELECT updated_at = now() OR updated_at > '2020-01-01' FROM auth.users").fetchone() == (True,)


def test_a_row_can_be_back_dated(db: Database) -> None:
    """Script bug 34: a trigger overwrote every time that was set."""
    add_user(db, ALICE)
    db.execute("UPDATE auth.users SET updated_at = '2001-01-01+00'")
    assert db.execute("SELECT updated_at = '2001-01-01+00' FROM auth.users").fetchone() == (True,)


def test_a_session_can_be_refreshed_and_revoked(db: Database) -> None:
    """Script bug 31: its trigger made every UPDATE of a session fail."""
    add_user(db, ALICE)
    add_session(db, ALICE)
    db.execute("UPDATE auth.sessions SET last_used_at = now(), expires_at = expires_at + interval '1 day'")
    db.execute("UPDATE auth.sessions SET revoked_at = now(), revoked_reason = 'signed_out'")
    assert db.execute("SELECT revoked_reason FROM auth.sessions").fetchone() == ("signed_out",)


def test_a_user_who_wrote_and_uploaded_can_be_deleted(db: Database) -> None:
    """Script bug 32: NOT NULL and ON DELETE SET NULL on the same column."""
    add_user(db, ALICE)
    add_user(db, BOB)
    conversation = add_group(db, ALICE, BOB)
    db.execute("UPDATE messages.conversations SET created_by = %s", (ALICE,))
    say(db, conversation, ALICE, "I was here")
    db.execute(
        "INSERT INTO media.files (owner_id, storage_key, name, content_type, byte_size)"
        " VALUES (%s, 'k', 'a.png', 'image/png', 1)",
        (ALICE,),
    )
    add_session(db, ALICE)
    db.execute("SELECT presence.update_user_status(%s, 'online', 'phone')", (ALICE,))
    db.execute(
        "INSERT INTO presence.connections (connection_id, user_id, device_id) VALUES ('c', %s, 'phone')", (ALICE,)
    )
    db.execute("DELETE FROM auth.users WHERE id = %s", (ALICE,))
    assert db.execute(
        "SELECT created_by, sender_id, content, owner_id FROM messages.conversations, messages.messages, media.files"
    ).fetchone() == (None, None, "I was here", None)
    assert db.execute("SELECT count(*) FROM presence.user_status").fetchone() == (0,)


def test_users_with_similar_ids_can_be_loaded_in_bulk(db: Database) -> None:
    """Script bug 33: a trigger made up user names from the first digits of the id, and they collided."""
    db.execute(
        "INSERT INTO auth.users (id, email)"
        " SELECT ('aaaaaaaa-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.com'"
        " FROM generate_series(1, 1000) AS n"
    )
    assert db.execute("SELECT count(*) FROM auth.users").fetchone() == (1000,)
    assert db.execute("SELECT count(*) FROM users.profiles").fetchone() == (0,)


def test_an_address_belongs_to_one_account_whatever_its_case(db: Database) -> None:
    db.execute("INSERT INTO auth.users (email) VALUES ('Alice@example.com')")
    with pytest.raises(errors.UniqueViolation):
        db.execute("INSERT INTO auth.users (email) VALUES ('alice@EXAMPLE.com')")


def test_a_password_is_never_stored_in_the_clear(db: Database) -> None:
    with pytest.raises(errors.CheckViolation):
        db.execute("INSERT INTO auth.users (email, password_hash) VALUES ('a@example.com', 'password123')")


def test_two_people_have_one_direct_conversation(db: Database) -> None:
    key = f"{min(ALICE, BOB)}:{max(ALICE, BOB)}"
    db.execute("INSERT INTO messages.conversations (kind, direct_key) VALUES ('direct', %s)", (key,))
    with pytest.raises(errors.UniqueViolation):
        db.execute("INSERT INTO messages.conversations (kind, direct_key) VALUES ('direct', %s)", (key,))
    with pytest.raises(errors.CheckViolation):
        db.execute(
            "INSERT INTO messages.conversations (kind, direct_key) VALUES ('direct', %s)",
            (f"{max(ALICE, BOB)}:{min(ALICE, BOB)}",),
        )


@pytest.mark.parametrize(
    "key",
    [
        f"{ALICE}:{BOB}".upper(),
        f"{ALICE}:{ALICE}",
        f"{ALICE}-{BOB}",
        f"{ALICE}:{BOB} ",
        f"{ALICE}:",
        f"{'a' * 36}:{'b' * 36}",
        f"{'A' * 8}{str(ALICE)[8:]}:{BOB}",
        "",
    ],
)
def test_a_direct_conversation_is_between_two_ids_in_lower_case_and_in_order(db: Database, key: str) -> None:
    with pytest.raises((errors.CheckViolation, errors.InvalidTextRepresentation)):
        db.execute("INSERT INTO messages.conversations (kind, direct_key) VALUES ('direct', %s)", (key,))


def test_the_time_of_joining_is_the_last_one(db: Database) -> None:
    add_user(db, ALICE)
    add_group(db, ALICE)
    joined = "SELECT joined_at < '2002-01-01', left_at IS NULL FROM messages.participants"
    db.execute("UPDATE messages.participants SET joined_at = '2001-01-01+00', last_read_at = now()")
    db.execute("UPDATE messages.participants SET left_at = '2001-02-01+00'")
    db.execute("UPDATE messages.participants SET last_read_at = now()")
    assert db.execute(joined).fetchone() == (True, False)
    db.execute("UPDATE messages.participants SET left_at = NULL")
    assert db.execute(joined).fetchone() == (False, True)
    db.execute("UPDATE messages.participants SET left_at = now()")
    db.execute("UPDATE messages.participants SET left_at = NULL, joined_at = '2001-03-01+00'")
    assert db.execute(joined).fetchone() == (True, True)


def test_a_deleted_message_has_no_content(db: Database) -> None:
    say(db, add_group(db), None, "regret")
    with pytest.raises(errors.CheckViolation):
        db.execute("UPDATE messages.messages SET deleted_at = now()")
    db.execute("UPDATE messages.messages SET deleted_at = now(), content = NULL")
    with pytest.raises(errors.CheckViolation):
        db.execute("UPDATE messages.messages SET content = 'back again'")


def report(db: Database, message: UUID, by: UUID) -> None:
    db.execute(
        "INSERT INTO messages.message_reports (message_id, reported_user_id, reported_content, reported_by, reason)"
        " SELECT id, sender_id, content, %s, 'spam' FROM messages.messages WHERE id = %s",
        (by, message),
    )


def test_a_report_outlives_the_message_and_keeps_what_it_said(db: Database) -> None:
    add_user(db, ALICE)
    add_user(db, BOB)
    conversation = add_group(db, ALICE, BOB)
    for content in ("Buy this!", "Buy that!"):
        report(db, say(db, conversation, BOB, content), by=ALICE)
    db.execute("UPDATE messages.messages SET deleted_at = now(), content = NULL WHERE content = 'Buy that!'")
    db.execute("DELETE FROM messages.messages")
    kept = "SELECT message_id, reported_user_id, reported_content, reported_by FROM messages.message_reports ORDER BY 3"
    assert db.execute(kept.encode()).fetchall() == [
        (None, BOB, "Buy that!", ALICE),
        (None, BOB, "Buy this!", ALICE),
    ]
    db.execute("DELETE FROM auth.users")
    assert db.execute(kept.encode()).fetchall() == [(None, None, "Buy that!", None), (None, None, "Buy this!", None)]


def test_a_message_is_reported_once_by_each(db: Database) -> None:
    add_user(db, ALICE)
    message = say(db, add_group(db, ALICE), None, "Buy this!")
    report(db, message, by=ALICE)
    with pytest.raises(errors.UniqueViolation):
        report(db, message, by=ALICE)


def test_a_place_found_by_an_address_names_the_address(db: Database) -> None:
    add_user(db, ALICE)
    add = "INSERT INTO location.user_locations (user_id, source, ip_address) VALUES (%s, 'ip', %s)"
    with pytest.raises(errors.CheckViolation):
        db.execute(add, (ALICE, None))
    db.execute("INSERT INTO location.ip_addresses (ip_address) VALUES ('192.0.2.1')")
    db.execute(add, (ALICE, "192.0.2.1"))
    with pytest.raises(errors.ForeignKeyViolation):
        db.execute("DELETE FROM location.ip_addresses")
    db.execute("DELETE FROM auth.users")
    db.execute("DELETE FROM location.ip_addresses")


def test_sessions_that_have_run_out_are_found_by_index(db: Database) -> None:
    db.execute("SET enable_seqscan = off")
    plan = db.execute(
        "EXPLAIN (COSTS OFF) DELETE FROM auth.sessions WHERE revoked_at IS NULL AND expires_at <= now()"
    ).fetchall()
    assert any("sessions_live_idx" in line for (line,) in plan), plan


def test_the_conversations_of_a_user_are_found_by_index(db: Database) -> None:
    db.execute("SET enable_seqscan = off")
    plan = db.execute(
        "EXPLAIN (COSTS OFF) SELECT conversation_id FROM messages.participants WHERE user_id = %s AND left_at IS NULL",
        (ALICE,),
    ).fetchall()
    assert any("participants_user_id_idx" in line for (line,) in plan), plan


def test_a_reply_stays_in_its_conversation(db: Database) -> None:
    add_user(db, ALICE)
    first, second = add_group(db, ALICE), add_group(db, ALICE)
    message = say(db, first, ALICE, "secret")
    say(db, first, ALICE, "and more", reply_to=message)
    with pytest.raises(errors.ForeignKeyViolation):
        say(db, second, ALICE, "leak", reply_to=message)


def test_a_reply_outlives_what_it_answers(db: Database) -> None:
    conversation = add_group(db)
    message = say(db, conversation, None, "question")
    reply = say(db, conversation, None, "answer", reply_to=message)
    db.execute("DELETE FROM messages.messages WHERE id = %s", (message,))
    assert db.execute("SELECT id, reply_to_id, conversation_id FROM messages.messages").fetchall() == [
        (reply, None, conversation)
    ]


def test_a_file_in_a_message_cannot_be_deleted(db: Database) -> None:
    message = say(db, add_group(db), None, "look")
    db.execute(
        "INSERT INTO media.files (storage_key, name, content_type, byte_size) VALUES ('k', 'a.png', 'image/png', 1)"
    )
    db.execute("INSERT INTO messages.attachments (message_id, file_id) SELECT %s, id FROM media.files", (message,))
    # PostgreSQL 18 tells RESTRICT from NO ACTION.
    with pytest.raises((errors.ForeignKeyViolation, errors.RestrictViolation)):
        db.execute("DELETE FROM media.files")
    db.execute("DELETE FROM messages.messages")
    db.execute("DELETE FROM media.files")


def test_a_vote_is_for_an_option_of_its_own_poll(db: Database) -> None:
    add_user(db, ALICE)
    conversation = add_group(db, ALICE)
    for question in ("one", "two"):
        db.execute(
            "WITH poll AS (INSERT INTO messages.polls (message_id, question) VALUES (%s, %s) RETURNING id)"
            " INSERT INTO messages.poll_options (poll_id, position, label) SELECT id, 1, 'yes' FROM poll",
            (say(db, conversation, ALICE, question), question),
        )
    with pytest.raises(errors.ForeignKeyViolation):
        db.execute(
            "INSERT INTO messages.poll_votes (poll_id, option_id, user_id)"
            " SELECT p.id, o.id, %s FROM messages.polls AS p"
            " JOIN messages.poll_options AS o ON o.poll_id <> p.id LIMIT 1",
            (ALICE,),
        )


def test_nobody_is_a_contact_of_themselves_or_blocks_themselves(db: Database) -> None:
    add_user(db, ALICE)
    with pytest.raises(errors.CheckViolation):
        db.execute("INSERT INTO users.contacts (user_id, contact_user_id) VALUES (%(id)s, %(id)s)", {"id": ALICE})
    with pytest.raises(errors.CheckViolation):
        db.execute("INSERT INTO users.blocks (user_id, blocked_user_id) VALUES (%(id)s, %(id)s)", {"id": ALICE})


@pytest.mark.parametrize("level", ["everyone", "contacts", "nobody"])
def test_presence_can_be_shown_to_everyone_contacts_or_nobody(db: Database, level: str) -> None:
    add_user(db, ALICE)
    db.execute(
        "INSERT INTO users.settings (user_id, last_seen_visibility, online_status_visibility) VALUES (%s, %s, %s)",
        (ALICE, level, level),
    )


def test_presence_cannot_be_shown_to_friends_of_friends(db: Database) -> None:
    add_user(db, ALICE)
    with pytest.raises(errors.CheckViolation):
        db.execute("INSERT INTO users.settings (user_id, last_seen_visibility) VALUES (%s, 'friends')", (ALICE,))

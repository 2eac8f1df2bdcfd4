"""Full-text search over messages: what is found, by whom, and how."""

from __future__ import annotations

from collections.abc import Generator
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import TupleRow

from .people import ALICE, BOB, CHARLIE, DAVE, EVE

Database = psycopg.Connection[TupleRow]


@pytest.fixture
def talk(seeded: str) -> Generator[Database]:
    with psycopg.connect(seeded, autocommit=True) as connection:
        yield connection


def find(db: Database, user: UUID, query: str) -> list[str]:
    """Give the contents of the messages found, best first."""
    rows = db.execute("SELECT content FROM messages.search(%s, %s)", (user, query)).fetchall()
    return [str(content) for (content,) in rows]


def test_a_word_finds_the_messages_with_it(talk: Database) -> None:
    assert find(talk, ALICE, "whimbrel") == ["A whimbrel was seen on the estuary this morning!"]


def test_case_does_not_matter(talk: Database) -> None:
    assert find(talk, ALICE, "WHIMBREL") == find(talk, ALICE, "whimbrel")


def test_search_is_for_participants_only(talk: Database) -> None:
    assert len(find(talk, BOB, "flour")) == 1
    assert find(talk, ALICE, "flour") == []
    assert find(talk, DAVE, "flour") == []


def test_who_left_a_conversation_no_longer_searches_it(talk: Database) -> None:
    assert len(find(talk, CHARLIE, "whimbrel")) == 1
    assert find(talk, DAVE, "whimbrel") == []


def test_who_joins_finds_what_is_said_from_then_on(talk: Database) -> None:
    talk.execute(
        "INSERT INTO messages.participants (conversation_id, user_id)"
        " SELECT conversation_id, %s FROM messages.messages WHERE content LIKE '%%whimbrel%%'",
        (EVE,),
    )
    assert find(talk, EVE, "whimbrel") == []
    say_it_again(talk, "whimbrel")
    assert len(find(talk, EVE, "whimbrel")) == 1
    assert len(find(talk, CHARLIE, "whimbrel")) == 2


def test_who_comes_back_finds_what_is_said_from_then_on(talk: Database) -> None:
    say_it_again(talk, "whimbrel")
    talk.execute("UPDATE messages.participants SET left_at = NULL WHERE user_id = %s", (DAVE,))
    assert find(talk, DAVE, "whimbrel") == []
    say_it_again(talk, "whimbrel")
    assert len(find(talk, DAVE, "whimbrel")) == 1


def say_it_again(db: Database, word: str) -> None:
    db.execute(
        "INSERT INTO messages.messages (conversation_id, sender_id, content)"
        " SELECT conversation_id, sender_id, content FROM messages.messages WHERE content ~ %s LIMIT 1",
        (word,),
    )


def test_deleted_and_expired_messages_are_not_found(talk: Database) -> None:
    talk.execute("UPDATE messages.messages SET deleted_at = now(), content = NULL WHERE content LIKE '%whimbrel%'")
    talk.execute("UPDATE messages.messages SET expires_at = now() WHERE content LIKE '%flour%'")
    assert find(talk, ALICE, "whimbrel") == []
    assert find(talk, BOB, "flour") == []


def test_an_edited_message_is_found_by_its_new_words_only(talk: Database) -> None:
    talk.execute("UPDATE messages.messages SET content = 'A godwit, then.' WHERE content LIKE '%whimbrel%'")
    assert find(talk, ALICE, "whimbrel") == []
    assert find(talk, ALICE, "godwit") == ["A godwit, then."]


def test_what_says_it_more_often_comes_first(talk: Database) -> None:
    talk.execute("UPDATE messages.messages SET content = 'late late late' WHERE content = 'Deal.'")
    assert find(talk, ALICE, "late") == ["late late late", "My train is late again. Please start without me."]


@pytest.mark.parametrize(
    ("query", "found"),
    [("train again", 1), ("train curlew", 0), ("train or curlew", 2), ('"late again"', 1), ('"again late"', 0)],
)
def test_queries_are_what_people_type(talk: Database, query: str, found: int) -> None:
    assert len(find(talk, ALICE, query)) == found


@pytest.mark.parametrize("query", ["", "   ", "&", "!!", "'; DROP TABLE messages.messages", "(((", "a:*b"])
def test_no_query_is_an_error(talk: Database, query: str) -> None:
    assert find(talk, EVE, query) == []


def test_at_most_the_limit_is_found(talk: Database) -> None:
    row = talk.execute("SELECT count(*) FROM messages.search(%s, 'train or curlew', 1)", (ALICE,)).fetchone()
    assert row == (1,)


def test_the_index_is_used(talk: Database) -> None:
    talk.execute(
        "INSERT INTO messages.messages (conversation_id, sender_id, content)"
        " SELECT conversation_id, user_id, 'word' || n || ' and word' || n + 1"
        " FROM messages.participants, generate_series(1, 500) AS n"
    )
    talk.execute("ANALYZE messages.messages, messages.participants, messages.conversations")
    talk.execute("SET enable_seqscan = off")
    plan = talk.execute("EXPLAIN (COSTS OFF) SELECT * FROM messages.search(%s, 'word77')", (ALICE,)).fetchall()
    assert any("Bitmap Index Scan on messages_search_idx" in line for (line,) in plan), plan

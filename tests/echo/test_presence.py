"""The presence functions and triggers, one thing at a time; test_presence_at_once.py has them all together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import TupleRow, class_row

from .people import ALICE, BOB, CHARLIE, add_user

Database = psycopg.Connection[TupleRow]

# The statements of the guide's Go code as they stand there, $1 included.
UPDATE_STATUS = b"""
        SELECT presence.update_user_status($1, $2, $3)
    """
TRACK_CONNECTION = b"""
        INSERT INTO presence.connections (
            user_id, connection_id, device_id, device_type,
            ip_address, user_agent, server_id, last_heartbeat_at
        ) VALUES ($1, $2, $3, $4, $5, $6, $7, NOW())
        ON CONFLICT (connection_id) DO UPDATE SET
            last_heartbeat_at = NOW()
    """
SET_TYPING = b"""
        INSERT INTO presence.typing_indicators (
            conversation_id, user_id, device_id, expires_at
        ) VALUES ($1, $2, $3, NOW() + INTERVAL '10 seconds')
        ON CONFLICT (conversation_id, user_id) DO UPDATE SET
            last_updated_at = NOW(),
            expires_at = NOW() + INTERVAL '10 seconds'
    """


@dataclass(frozen=True)
class Status:
    status: str
    is_online: bool
    active_connections: int
    status_changed_at: datetime | None
    last_seen_at: datetime | None
    version: int
    change_seq: int


@dataclass(frozen=True)
class Transition:
    previous_status: str | None
    new_status: str
    change_reason: str
    device_id: str | None
    connection_id: str | None
    changed_at: datetime
    duration_seconds: Decimal | None

    def story(self) -> tuple[str | None, str, str]:
        return self.previous_status, self.new_status, self.change_reason


def set_status(db: Database, user: UUID, status: str | None, device: str | None = "phone") -> str:
    row = db.execute("SELECT presence.update_user_status(%s, %s, %s)", (user, status, device)).fetchone()
    assert row
    return str(row[0])


def connect(
    db: Database, user: UUID, connection: str, device: str = "phone", heard: LiteralString = "0 seconds"
) -> None:
    """Connect, with the last heartbeat that long ago."""
    db.execute(
        "INSERT INTO presence.connections (user_id, connection_id, device_id, server_id, last_heartbeat_at)"
        " VALUES (%s, %s, %s, 'server-1', now() - %s::interval)",
        (user, connection, device, heard),
    )


def disconnect(db: Database, connection: str) -> None:
    db.execute("UPDATE presence.connections SET status = 'disconnected' WHERE connection_id = %s", (connection,))


def age_heartbeats(db: Database) -> None:
    db.execute("UPDATE presence.connections SET last_heartbeat_at = last_heartbeat_at - interval '31 seconds'")


def lapse_reports(db: Database) -> None:
    """Let the reports of devices be six minutes older."""
    db.execute("""
        UPDATE presence.user_status AS s SET lapses_at = s.lapses_at - interval '6 minutes', devices = (
            SELECT coalesce(jsonb_object_agg(d.key, d.value || jsonb_build_object(
                'lapses_at', (d.value ->> 'lapses_at')::timestamptz - interval '6 minutes')), '{}')
            FROM jsonb_each(s.devices) AS d
        )
    """)


def sweep(db: Database) -> int:
    row = db.execute("SELECT presence.cleanup_stale_connections()").fetchone()
    assert row
    return int(row[0])


def status_of(db: Database, user: UUID) -> Status:
    with db.cursor(row_factory=class_row(Status)) as cursor:
        status = cursor.execute(
            "SELECT status, is_online, active_connections, status_changed_at, last_seen_at, version, change_seq"
            " FROM presence.user_status WHERE user_id = %s",
            (user,),
        ).fetchone()
    assert status
    return status


def history_of(db: Database, user: UUID) -> list[Transition]:
    with db.cursor(row_factory=class_row(Transition)) as cursor:
        return cursor.execute(
            "SELECT previous_status, new_status, change_reason, device_id, connection_id, changed_at, duration_seconds"
            " FROM presence.status_history WHERE user_id = %s ORDER BY id",
            (user,),
        ).fetchall()


def stories(db: Database, user: UUID) -> list[tuple[str | None, str, str]]:
    return [transition.story() for transition in history_of(db, user)]


@pytest.fixture
def alice(db: Database) -> UUID:
    return add_user(db, ALICE)


@pytest.fixture
def bob(db: Database) -> UUID:
    return add_user(db, BOB)


@pytest.fixture
def conversation(db: Database) -> UUID:
    row = db.execute("INSERT INTO messages.conversations (kind, title) VALUES ('group', 'A') RETURNING id").fetchone()
    assert row
    return row[0]


# The guide ------------------------------------------------------------------------------------------------------------


def test_the_guides_example_runs_as_it_stands(seeded: str) -> None:
    with psycopg.connect(seeded) as db:
        db.execute("""
            SELECT presence.update_user_status(
                'a1111111-1111-1111-1111-111111111111',
                'online',
                'device-123'
            );
        """)
        row = db.execute("""
            SELECT status, is_online FROM presence.user_status
            WHERE user_id = 'a1111111-1111-1111-1111-111111111111';
        """).fetchone()
        db.execute("SELECT presence.cleanup_expired_typing();")
        db.execute("SELECT presence.cleanup_stale_connections();")
    assert row == ("online", True)


def test_without_the_user_the_guides_example_names_what_is_missing(db: Database) -> None:
    with pytest.raises(errors.ForeignKeyViolation, match=f"there is no user {ALICE}") as raised:
        set_status(db, ALICE, "online")
    assert raised.value.diag.message_detail == f'Key (user_id)=({ALICE}) is not present in table "users".'
    assert raised.value.diag.constraint_name == "user_status_user_id_fkey"


def test_the_three_statements_of_the_guides_go_code_run_as_they_stand(
    db: Database, alice: UUID, conversation: UUID
) -> None:
    connection = [str(alice), "conn-1", "device-123", "ios", "192.0.2.7", "Echo/1.0", "server-1"]
    for _ in range(2):
        with psycopg.RawCursor(db) as cursor:
            cursor.execute(TRACK_CONNECTION, connection)
            cursor.execute(UPDATE_STATUS, [str(alice), "busy", "device-123"])
            cursor.execute(SET_TYPING, [str(conversation), str(alice), "device-123"])
    assert status_of(db, alice).status == "busy"
    assert status_of(db, alice).active_connections == 1
    assert db.execute("SELECT count(*) FROM presence.typing_indicators").fetchone() == (1,)


def test_a_connection_may_come_before_the_first_status(db: Database, alice: UUID) -> None:
    """Presence bug f: it left active_connections at 0."""
    connect(db, alice, "c1")
    assert status_of(db, alice).active_connections == 1
    assert status_of(db, alice).status == "online"
    assert stories(db, alice) == [(None, "online", "connect")]


# Status ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["online", "away", "busy", "invisible", "offline"])
def test_every_status_but_offline_is_online(db: Database, alice: UUID, status: str) -> None:
    """Presence bug a: only 'online' itself was."""
    assert set_status(db, alice, status) == status
    assert status_of(db, alice).is_online == (status != "offline")


@pytest.mark.parametrize("status", ["", "Online", "afk", "online ", None])
def test_an_unknown_status_is_an_error(db: Database, alice: UUID, status: str | None) -> None:
    """Presence bug d: any string was accepted."""
    with pytest.raises(errors.InvalidParameterValue, match="unknown presence status") as raised:
        set_status(db, alice, status)
    assert raised.value.diag.message_hint == "A status is online, away, busy, invisible or offline."
    assert db.execute("SELECT count(*) FROM presence.user_status").fetchone() == (0,)


def test_an_unknown_status_cannot_be_written_past_the_function_either(db: Database, alice: UUID) -> None:
    with pytest.raises(errors.CheckViolation):
        db.execute("INSERT INTO presence.user_status (user_id, status) VALUES (%s, 'afk')", (alice,))


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "offline"),
        (["offline"], "offline"),
        (["offline", "away"], "away"),
        (["away", "online"], "online"),
        (["online", "busy", "away"], "busy"),
        (["busy", "invisible", "online"], "invisible"),
    ],
)
def test_the_aggregate_is_the_strongest_status(db: Database, statuses: list[str], expected: str) -> None:
    for order in (statuses, statuses[::-1]):
        assert db.execute("SELECT presence.aggregate_status(%s::text[])", (order,)).fetchone() == (expected,)


def test_one_device_going_offline_leaves_the_user_online_on_the_other(db: Database, alice: UUID) -> None:
    """Presence bug e: it put the user offline."""
    set_status(db, alice, "online", "phone")
    set_status(db, alice, "online", "laptop")
    assert set_status(db, alice, "offline", "phone") == "online"
    assert set_status(db, alice, "offline", "laptop") == "offline"
    assert stories(db, alice) == [(None, "online", "manual"), ("online", "offline", "manual")]


def test_a_connected_device_keeps_the_user_online_when_another_goes_offline(db: Database, alice: UUID) -> None:
    connect(db, alice, "c1", "laptop")
    set_status(db, alice, "online", "phone")
    assert set_status(db, alice, "offline", "phone") == "online"
    assert status_of(db, alice).active_connections == 1


def test_a_connected_device_that_says_offline_is_offline_until_it_says_more(db: Database, alice: UUID) -> None:
    connect(db, alice, "c1")
    assert set_status(db, alice, "offline") == "offline"
    assert status_of(db, alice).active_connections == 1
    assert sweep(db) == 0
    assert set_status(db, alice, "away") == "away"


def test_a_device_that_connects_anew_is_no_longer_offline_or_away(db: Database, alice: UUID) -> None:
    connect(db, alice, "c1")
    set_status(db, alice, "offline")
    connect(db, alice, "c2")
    assert status_of(db, alice).status == "online"


@pytest.mark.parametrize("choice", ["busy", "invisible"])
def test_a_choice_is_remembered_when_the_device_comes_back(db: Database, alice: UUID, choice: str) -> None:
    connect(db, alice, "c1")
    set_status(db, alice, choice)
    disconnect(db, "c1")
    assert status_of(db, alice).status == "offline"
    connect(db, alice, "c2")
    assert status_of(db, alice).status == choice


def test_devices_is_what_the_devices_reported(db: Database, alice: UUID) -> None:
    """Presence bug l: nobody maintained it."""
    connect(db, alice, "c1", "laptop")
    set_status(db, alice, "busy", "laptop")
    set_status(db, alice, "away", "phone")
    row = db.execute(
        "SELECT devices #>> '{laptop,status}', devices #>> '{laptop,lapses_at}', devices #>> '{phone,status}',"
        " (devices #>> '{phone,lapses_at}')::timestamptz = lapses_at FROM presence.user_status"
    ).fetchone()
    assert row == ("busy", None, "away", True)


def test_a_device_may_have_no_name(db: Database, alice: UUID) -> None:
    assert set_status(db, alice, "away", None) == "away"
    assert set_status(db, alice, "online", "") == "online"


# History --------------------------------------------------------------------------------------------------------------


def test_every_transition_has_one_row_the_first_one_too(db: Database, alice: UUID) -> None:
    """Presence bug c: the first status had none, and every reason was 'manual'."""
    connect(db, alice, "c1")
    set_status(db, alice, "away")
    set_status(db, alice, "away")
    set_status(db, alice, "online")
    disconnect(db, "c1")
    connect(db, alice, "c2")
    age_heartbeats(db)
    sweep(db)
    assert stories(db, alice) == [
        (None, "online", "connect"),
        ("online", "away", "manual"),
        ("away", "online", "manual"),
        ("online", "offline", "disconnect"),
        ("offline", "online", "connect"),
        ("online", "offline", "timeout"),
    ]


def test_history_names_the_device_and_the_connection(db: Database, alice: UUID) -> None:
    """Presence bug c: the connection was never filled in."""
    connect(db, alice, "c1", "laptop")
    set_status(db, alice, "busy", "phone")
    set_status(db, alice, "offline", "phone")
    disconnect(db, "c1")
    assert [(t.device_id, t.connection_id) for t in history_of(db, alice)] == [
        ("laptop", "c1"),
        ("phone", None),
        ("phone", None),
        ("laptop", "c1"),
    ]


def test_a_duration_is_measured_from_the_last_transition(db: Database, alice: UUID) -> None:
    """Presence bug c: it was measured from last_seen_at, which heartbeats move."""
    set_status(db, alice, "online")
    db.execute("UPDATE presence.user_status SET status_changed_at = status_changed_at - interval '1 hour'")
    set_status(db, alice, "online")
    set_status(db, alice, "away")
    set_status(db, alice, "busy")
    first, second, third = history_of(db, alice)
    assert first.duration_seconds is None
    assert second.duration_seconds is not None
    assert 3600 <= second.duration_seconds < 3660
    assert third.duration_seconds is not None
    assert float(third.duration_seconds) == pytest.approx((third.changed_at - second.changed_at).total_seconds())


def test_transitions_of_one_transaction_happen_one_after_the_other(db: Database, alice: UUID) -> None:
    """Presence bug k: they all happened at the start of the transaction."""
    with db.transaction():
        set_status(db, alice, "online")
        set_status(db, alice, "busy")
    first, second = history_of(db, alice)
    assert first.changed_at < second.changed_at
    assert second.duration_seconds


def test_what_changes_nothing_visible_leaves_no_row_and_no_new_version(db: Database, alice: UUID) -> None:
    connect(db, alice, "c1")
    before = status_of(db, alice)
    set_status(db, alice, "online")
    connect(db, alice, "c2", "laptop")
    db.execute("UPDATE presence.connections SET last_heartbeat_at = now()")
    after = status_of(db, alice)
    assert len(history_of(db, alice)) == 1
    assert (after.version, after.change_seq) == (before.version, before.change_seq)


def test_version_and_change_seq_rise_with_each_visible_change(db: Database, alice: UUID, bob: UUID) -> None:
    set_status(db, alice, "online")
    first = status_of(db, alice)
    set_status(db, bob, "online")
    set_status(db, alice, "away")
    second = status_of(db, alice)
    assert second.version == first.version + 1
    assert first.change_seq < status_of(db, bob).change_seq < second.change_seq
    db.execute("UPDATE presence.user_status SET custom_status_text = 'Lunch' WHERE user_id = %s", (alice,))
    assert status_of(db, alice).version == second.version + 1


# The sweep ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["online", "away", "busy", "invisible"])
def test_a_user_of_any_status_is_offline_after_the_connection_died(db: Database, alice: UUID, status: str) -> None:
    """Presence bug a: an away or busy user stayed for ever."""
    connect(db, alice, "c1")
    set_status(db, alice, status)
    age_heartbeats(db)
    assert sweep(db) == 1
    assert status_of(db, alice).status == "offline"
    assert status_of(db, alice).active_connections == 0


@pytest.mark.parametrize("status", ["online", "away", "busy", "invisible"])
def test_a_ghost_without_connection_or_report_is_swept(db: Database, alice: UUID, status: str) -> None:
    db.execute("INSERT INTO presence.user_status (user_id, status) VALUES (%s, %s)", (alice, status))
    assert sweep(db) == 1
    assert status_of(db, alice).status == "offline"
    assert stories(db, alice) == [(status, "offline", "timeout")]


def test_the_sweep_writes_history_and_the_time_of_the_last_heartbeat(db: Database, alice: UUID) -> None:
    """Presence bug b: no history, and last seen at the time of the sweep."""
    connect(db, alice, "c1", "phone", heard="2 hours")
    connect(db, alice, "c2", "laptop", heard="1 hour")
    assert sweep(db) == 2
    assert stories(db, alice)[1:] == [("online", "offline", "timeout")]
    assert history_of(db, alice)[-1].connection_id == "c2"
    row = db.execute("SELECT max(last_heartbeat_at) FROM presence.connections").fetchone()
    assert row == (status_of(db, alice).last_seen_at,)


def test_the_sweep_spares_what_was_heard_within_30_seconds(db: Database, alice: UUID) -> None:
    connect(db, alice, "c1", "phone", heard="20 seconds")
    connect(db, alice, "c2", "laptop", heard="31 seconds")
    assert sweep(db) == 1
    assert status_of(db, alice).status == "online"
    assert status_of(db, alice).active_connections == 1
    assert sweep(db) == 0


def test_a_sweep_in_an_old_transaction_goes_by_the_clock(echo: str, db: Database, alice: UUID) -> None:
    """Presence bug k: NOW() is when the transaction began."""
    with psycopg.connect(echo) as old:
        old.execute("SELECT now()")
        connect(db, alice, "c1")
        db.execute("UPDATE presence.connections SET last_heartbeat_at = clock_timestamp() - interval '30.5 seconds'")
        assert sweep(old) == 1


def test_a_status_set_without_a_socket_survives_the_sweep(db: Database, alice: UUID) -> None:
    """Presence bug f: it was gone at the next one."""
    set_status(db, alice, "busy")
    assert sweep(db) == 0
    assert status_of(db, alice).status == "busy"


def test_a_status_set_without_a_socket_lapses_unless_repeated(db: Database, alice: UUID, bob: UUID) -> None:
    set_status(db, alice, "online")
    set_status(db, bob, "online")
    lapse_reports(db)
    set_status(db, bob, "online")
    assert sweep(db) == 1
    assert (status_of(db, alice).status, status_of(db, bob).status) == ("offline", "online")
    assert stories(db, alice)[-1] == ("online", "offline", "timeout")


def test_a_lapsed_choice_of_one_device_frees_the_others(db: Database, alice: UUID) -> None:
    connect(db, alice, "c1", "laptop")
    set_status(db, alice, "busy", "phone")
    lapse_reports(db)
    assert sweep(db) == 1
    assert status_of(db, alice).status == "online"


def test_a_heartbeat_after_the_sweep_connects_again(db: Database, alice: UUID) -> None:
    connect(db, alice, "c1", heard="1 minute")
    sweep(db)
    with psycopg.RawCursor(db) as cursor:
        cursor.execute(TRACK_CONNECTION, [str(alice), "c1", "phone", None, None, None, "server-1"])
    assert status_of(db, alice).status == "online"
    assert status_of(db, alice).active_connections == 1
    assert db.execute("SELECT status, disconnected_at FROM presence.connections").fetchone() == ("connected", None)
    assert sweep(db) == 0


def test_a_deleted_connection_is_no_longer_counted(db: Database, alice: UUID) -> None:
    connect(db, alice, "c1")
    connect(db, alice, "c2")
    db.execute("DELETE FROM presence.connections WHERE connection_id = 'c1'")
    assert status_of(db, alice).active_connections == 1
    db.execute("DELETE FROM presence.connections")
    assert status_of(db, alice).status == "offline"
    assert stories(db, alice)[-1] == ("online", "offline", "disconnect")


def test_a_server_that_goes_away_disconnects_its_users_at_once(db: Database, alice: UUID, bob: UUID) -> None:
    connect(db, alice, "c1")
    connect(db, bob, "c2")
    db.execute(
        "UPDATE presence.connections SET status = 'disconnected', disconnect_reason = 'system'"
        " WHERE server_id = 'server-1' AND status = 'connected'"
    )
    assert stories(db, alice)[-1] == stories(db, bob)[-1] == ("online", "offline", "system")


def test_last_seen_stands_still_while_the_user_is_invisible(db: Database, alice: UUID) -> None:
    connect(db, alice, "c1")
    set_status(db, alice, "invisible")
    frozen = status_of(db, alice).last_seen_at
    assert frozen
    db.execute("UPDATE presence.connections SET last_heartbeat_at = clock_timestamp() + interval '1 minute'")
    disconnect(db, "c1")
    assert status_of(db, alice).status == "offline"
    assert status_of(db, alice).last_seen_at == frozen


def test_an_expired_custom_status_is_emptied(db: Database, alice: UUID, bob: UUID) -> None:
    """Presence bug l: nobody looked at its time."""
    for user, ends in ((alice, "-1 second"), (bob, "1 hour")):
        set_status(db, user, "online")
        db.execute(
            "UPDATE presence.user_status SET custom_status_text = 'Lunch',"
            " custom_status_expires_at = now() + %s::interval WHERE user_id = %s",
            (ends, user),
        )
    sweep(db)
    assert db.execute("SELECT custom_status_text FROM presence.user_status ORDER BY user_id").fetchall() == [
        (None,),
        ("Lunch",),
    ]


# Heartbeats -----------------------------------------------------------------------------------------------------------


def test_a_heartbeat_does_not_touch_the_users_row(db: Database, alice: UUID) -> None:
    """The hot spot of the shipped trigger: it counted and wrote at each heartbeat."""
    connect(db, alice, "c1")
    row = db.execute("SELECT xmin, ctid FROM presence.user_status").fetchone()
    with psycopg.RawCursor(db) as cursor:
        for _ in range(3):
            cursor.execute(TRACK_CONNECTION, [str(alice), "c1", "phone", None, None, None, "server-1"])
    assert db.execute("SELECT xmin, ctid FROM presence.user_status").fetchone() == row


def test_a_heartbeat_and_a_keystroke_are_hot_updates(db: Database, alice: UUID, conversation: UUID) -> None:
    connect(db, alice, "c1")
    typing = [str(conversation), str(alice), "phone"]
    with psycopg.RawCursor(db) as cursor:
        cursor.execute(SET_TYPING, typing)
        for _ in range(20):
            cursor.execute(TRACK_CONNECTION, [str(alice), "c1", "phone", None, None, None, "server-1"])
            cursor.execute(SET_TYPING, typing)
    db.execute("SELECT pg_stat_force_next_flush()")
    rows = db.execute(
        "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
        " WHERE relid IN ('presence.connections'::regclass, 'presence.typing_indicators'::regclass) ORDER BY 1"
    ).fetchall()
    assert rows == [("connections", 20, 20), ("typing_indicators", 20, 20)]


def test_heartbeats_of_many_connections_are_recorded_at_once(db: Database, alice: UUID, bob: UUID) -> None:
    connect(db, alice, "c1", heard="1 minute")
    connect(db, bob, "c2", heard="1 minute")
    assert db.execute("SELECT presence.record_heartbeats('{c2,c1,gone}')").fetchone() == (2,)
    assert sweep(db) == 0


def test_a_users_connections_are_found_by_user_even_with_stale_statistics(db: Database, alice: UUID) -> None:
    """After all were disconnected and came back, an index of the connected alone looks small, and is not."""
    db.execute(
        "INSERT INTO presence.connections (connection_id, user_id, device_id, server_id)"
        " SELECT n::text, %s, 'd', 's' FROM generate_series(1, 2000) AS n",
        (alice,),
    )
    db.execute("UPDATE presence.connections SET status = 'disconnected'")
    db.execute("ANALYZE presence.connections")
    db.execute("UPDATE presence.connections SET status = 'connected'")
    plan = db.execute(
        "EXPLAIN (COSTS OFF) SELECT FROM presence.connections"
        " WHERE user_id = gen_random_uuid() AND status = 'connected'"
    ).fetchall()
    assert not any("server_id" in line for (line,) in plan), plan


# Typing, subscriptions, activity, retention ---------------------------------------------------------------------------


def test_expired_typing_is_deleted_and_counted(db: Database, alice: UUID, bob: UUID, conversation: UUID) -> None:
    for user in (alice, bob):
        with psycopg.RawCursor(db) as cursor:
            cursor.execute(SET_TYPING, [str(conversation), str(user), "phone"])
    db.execute(
        "UPDATE presence.typing_indicators SET expires_at = now() - interval '1 second' WHERE user_id = %s", (bob,)
    )
    assert db.execute("SELECT presence.cleanup_expired_typing()").fetchone() == (1,)
    assert db.execute("SELECT user_id FROM presence.typing_indicators").fetchall() == [(alice,)]
    assert db.execute("SELECT presence.cleanup_expired_typing()").fetchone() == (0,)


def test_typing_needs_a_conversation(db: Database, alice: UUID) -> None:
    """Presence bug n: there was no foreign key."""
    with pytest.raises(errors.ForeignKeyViolation), psycopg.RawCursor(db) as cursor:
        cursor.execute(SET_TYPING, [str(BOB), str(alice), "phone"])


def test_two_who_share_two_conversations_have_two_subscriptions(db: Database, alice: UUID, bob: UUID) -> None:
    """Presence bug i: the second was refused, and leaving one conversation ended both."""
    subscribe = (
        "INSERT INTO presence.subscriptions (subscriber_user_id, target_user_id, subscription_type, context_id)"
        " SELECT %s, %s, 'conversation', id FROM messages.conversations"
    )
    db.execute("INSERT INTO messages.conversations (kind, title) VALUES ('group', 'A'), ('group', 'B')")
    db.execute(subscribe, (alice, bob))
    with pytest.raises(errors.UniqueViolation):
        db.execute(subscribe, (alice, bob))
    db.execute("DELETE FROM messages.conversations WHERE title = 'A'")
    assert db.execute("SELECT count(*) FROM presence.subscriptions").fetchone() == (1,)


def test_a_contact_is_subscribed_to_once_although_it_has_no_context(db: Database, alice: UUID, bob: UUID) -> None:
    subscribe = (
        "INSERT INTO presence.subscriptions (subscriber_user_id, target_user_id, subscription_type)"
        " VALUES (%s, %s, 'contact')"
    )
    db.execute(subscribe, (alice, bob))
    with pytest.raises(errors.UniqueViolation):
        db.execute(subscribe, (alice, bob))


def test_deleting_a_target_finds_its_subscriptions_by_index(db: Database) -> None:
    """Presence bug o: the partial indexes could not serve the foreign key."""
    db.execute("SET enable_seqscan = off")
    plan = db.execute(
        "EXPLAIN (COSTS OFF) SELECT FROM presence.subscriptions WHERE target_user_id = gen_random_uuid()"
    ).fetchall()
    assert any("subscriptions_target_user_id_idx" in line for (line,) in plan)


def test_an_activity_has_its_duration(db: Database, alice: UUID) -> None:
    db.execute(
        "INSERT INTO presence.activity_log (user_id, activity_type, started_at) VALUES (%s, 'recording', now())",
        (alice,),
    )
    db.execute("UPDATE presence.activity_log SET ended_at = started_at + interval '90 seconds'")
    assert db.execute("SELECT duration_seconds FROM presence.activity_log").fetchone() == (90,)


def test_old_records_can_be_deleted(db: Database, alice: UUID, bob: UUID) -> None:
    """Presence bug m: history, activity and dead connections stayed for ever."""
    connect(db, alice, "old")
    connect(db, alice, "new")
    disconnect(db, "old")
    set_status(db, bob, "online")
    db.execute(
        "UPDATE presence.connections SET disconnected_at = now() - interval '2 days' WHERE connection_id = 'old'"
    )
    db.execute(
        "UPDATE presence.status_history SET changed_at = now() - interval '31 days' WHERE user_id = %s", (alice,)
    )
    db.execute(
        "INSERT INTO presence.activity_log (user_id, activity_type, started_at)"
        " SELECT %s, 'viewing', now() - n * interval '20 days' FROM generate_series(0, 2) AS n",
        (alice,),
    )
    db.execute(
        "INSERT INTO presence.subscriptions (subscriber_user_id, target_user_id, subscription_type, expires_at)"
        " VALUES (%s, %s, 'temporary', now() - interval '1 second')",
        (alice, bob),
    )
    assert db.execute("SELECT presence.cleanup_old_records()").fetchone() == (4,)
    assert db.execute("SELECT presence.cleanup_old_records()").fetchone() == (0,)
    assert history_of(db, alice) == []
    assert len(history_of(db, bob)) == 1
    assert status_of(db, alice).active_connections == 1
    assert db.execute("SELECT count(*) FROM presence.activity_log").fetchone() == (2,)


def test_a_status_of_somebody_else_is_never_touched(db: Database, alice: UUID, bob: UUID) -> None:
    add_user(db, CHARLIE)
    set_status(db, bob, "busy")
    row = db.execute("SELECT s::text FROM presence.user_status AS s").fetchone()
    connect(db, alice, "c1", heard="1 minute")
    sweep(db)
    set_status(db, CHARLIE, "offline")
    assert db.execute("SELECT s::text FROM presence.user_status AS s WHERE user_id = %s", (bob,)).fetchone() == row

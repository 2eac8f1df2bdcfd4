"""Presence when much happens at once: real sessions, real locks."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from threading import Barrier
from typing import TypeVar
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import TupleRow

from .locks import await_lock_wait
from .people import ALICE, add_user
from .test_presence import TRACK_CONNECTION, connect, history_of, set_status, status_of, stories, sweep

Database = psycopg.Connection[TupleRow]
T = TypeVar("T")


def track(db: Database, user: UUID, connection: str, device: str) -> None:
    with psycopg.RawCursor(db) as cursor:
        cursor.execute(TRACK_CONNECTION, [str(user), connection, device, "web", None, None, "server-1"])


def in_session(conninfo: str, work: Callable[[Database], T]) -> T:
    with psycopg.connect(conninfo, autocommit=True) as db:
        return work(db)


def test_two_devices_connecting_at_once_are_both_counted(echo: str, db: Database) -> None:
    """Presence bug g: each counted before the other had committed, and one was lost."""
    add_user(db, ALICE)
    with psycopg.connect(echo) as first, ThreadPoolExecutor() as pool:
        track(first, ALICE, "c1", "phone")
        second = pool.submit(in_session, echo, lambda other: track(other, ALICE, "c2", "laptop"))
        await_lock_wait(db)
        first.commit()
        second.result()
    assert status_of(db, ALICE).active_connections == 2
    assert stories(db, ALICE) == [(None, "online", "connect")]


def test_two_devices_disconnecting_at_once_leave_the_user_offline(echo: str, db: Database) -> None:
    add_user(db, ALICE)
    for name in ("c1", "c2"):
        connect(db, ALICE, name, f"device of {name}")
    leave = b"UPDATE presence.connections SET status = 'disconnected' WHERE connection_id = %s"
    with psycopg.connect(echo) as first, ThreadPoolExecutor() as pool:
        first.execute(leave, ("c1",))
        second = pool.submit(in_session, echo, lambda other: other.execute(leave, ("c2",)).rowcount)
        await_lock_wait(db)
        first.commit()
        assert second.result() == 1
    assert (status_of(db, ALICE).status, status_of(db, ALICE).active_connections) == ("offline", 0)
    assert stories(db, ALICE)[1:] == [("online", "offline", "disconnect")]


def test_a_storm_of_devices_is_counted_exactly(echo: str, db: Database) -> None:
    add_user(db, ALICE)
    start = Barrier(8)

    def connect_five(worker: int) -> None:
        with psycopg.connect(echo, autocommit=True) as session:
            start.wait()
            for n in range(5):
                track(session, ALICE, f"c{worker}-{n}", f"device-{worker}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(connect_five, range(8)))
    assert status_of(db, ALICE).active_connections == 40
    assert len(history_of(db, ALICE)) == 1


def test_racing_updates_leave_an_unbroken_history(echo: str, db: Database) -> None:
    """Presence bug j: the previous status was read before the row was locked, and could be a wrong one."""
    add_user(db, ALICE)
    start = Barrier(4)

    def change(seed: int) -> None:
        choose = random.Random(seed)  # noqa: S311 - a test's dice
        with psycopg.connect(echo, autocommit=True) as session:
            start.wait()
            for _ in range(40):
                set_status(
                    session, ALICE, choose.choice(["online", "away", "busy", "invisible", "offline"]), f"d{seed}"
                )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(4)))
    history = history_of(db, ALICE)
    assert history[0].previous_status is None
    for earlier, later in pairwise(history):
        assert later.previous_status == earlier.new_status
        assert later.previous_status != later.new_status
        assert later.changed_at > earlier.changed_at
        assert later.duration_seconds is not None
        assert later.duration_seconds * 1_000_000 == (later.changed_at - earlier.changed_at) / timedelta(microseconds=1)
    assert history[-1].new_status == status_of(db, ALICE).status
    assert history[-1].changed_at == status_of(db, ALICE).status_changed_at


def test_sweeps_heartbeats_and_connects_at_once_do_not_deadlock(echo: str, db: Database) -> None:
    """Presence bug h: batches in another order, and the sweep among them, did."""
    users = [add_user(db, uuid4()) for _ in range(12)]
    names = [f"{user}/{n}" for user in users for n in range(3)]
    for name in names:
        connect(db, UUID(name[:36]), name, f"device-{name[-1]}")
    start = Barrier(8)

    def heartbeats(session: Database, choose: random.Random) -> None:
        session.execute("SELECT presence.record_heartbeats(%s)", (choose.sample(names, 24),))

    def sweeps(session: Database, choose: random.Random) -> None:
        stale = choose.sample(names, 6)
        session.execute(
            "UPDATE presence.connections SET last_heartbeat_at = now() - interval '1 minute' WHERE connection_id IN ("
            " SELECT connection_id FROM presence.connections WHERE connection_id = ANY (%s) FOR UPDATE SKIP LOCKED)",
            (stale,),
        )
        sweep(session)

    def connects(session: Database, choose: random.Random) -> None:
        name = choose.choice(names)
        track(session, UUID(name[:36]), name, f"device-{name[-1]}")

    def statuses(session: Database, choose: random.Random) -> None:
        set_status(session, choose.choice(users), choose.choice(["online", "away", "busy", "offline"]), "device-0")

    def repeat(work: Callable[[Database, random.Random], None], seed: int) -> None:
        choose = random.Random(seed)  # noqa: S311 - a test's dice
        with psycopg.connect(echo, autocommit=True, options="-c deadlock_timeout=20ms") as session:
            start.wait()
            for _ in range(60):
                work(session, choose)

    works = [heartbeats, heartbeats, sweeps, sweeps, connects, connects, statuses, statuses]
    with ThreadPoolExecutor(len(works)) as pool:
        running: list[Future[None]] = [pool.submit(repeat, work, seed) for seed, work in enumerate(works)]
        for done in running:
            done.result()
    miscounted = db.execute("""
        SELECT s.user_id FROM presence.user_status AS s
        WHERE s.active_connections <> (
            SELECT count(*) FROM presence.connections AS c WHERE c.user_id = s.user_id AND c.status = 'connected'
        )
    """).fetchall()
    assert miscounted == []
    deadlocks = db.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert deadlocks == (0,)


def test_two_batches_of_heartbeats_in_opposite_order_do_not_deadlock(echo: str, db: Database) -> None:
    add_user(db, ALICE)
    names = [f"c{n}" for n in range(50)]
    for name in names:
        connect(db, ALICE, name)
    start = Barrier(2)

    def beat(order: list[str]) -> None:
        with psycopg.connect(echo, autocommit=True, options="-c deadlock_timeout=20ms") as session:
            start.wait()
            for _ in range(50):
                session.execute("SELECT presence.record_heartbeats(%s)", (order,))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(beat, [names, names[::-1]]))


def test_the_sweep_does_not_wait_for_a_user_who_is_being_changed(echo: str, db: Database) -> None:
    bob = add_user(db, uuid4())
    add_user(db, ALICE)
    connect(db, ALICE, "c1", heard="1 minute")
    connect(db, bob, "c2", heard="1 minute")
    with psycopg.connect(echo) as busy:
        set_status(busy, ALICE, "busy")
        db.execute("SET lock_timeout = '1ms'")
        assert sweep(db) == 1
    assert status_of(db, bob).status == "offline"
    assert sweep(db) == 1


def test_the_sweep_does_not_wait_for_an_account_that_is_being_deleted(echo: str, db: Database) -> None:
    add_user(db, ALICE)
    connect(db, ALICE, "c1", heard="1 minute")
    with psycopg.connect(echo) as closing:
        closing.execute("SELECT FROM auth.users FOR UPDATE")
        db.execute("SET lock_timeout = '1ms'")
        assert sweep(db) == 0
        closing.execute("DELETE FROM auth.users")
    assert db.execute("SELECT count(*) FROM presence.status_history").fetchone() == (0,)


def test_the_sweep_does_not_wait_for_a_lost_status_that_is_being_made_again(echo: str, db: Database) -> None:
    add_user(db, ALICE)
    connect(db, ALICE, "c1", heard="1 minute")
    db.execute("DELETE FROM presence.user_status")
    with psycopg.connect(echo) as busy:
        set_status(busy, ALICE, "busy")
        db.execute("SET lock_timeout = '1ms'")
        assert sweep(db) == 0
    assert sweep(db) == 1
    assert status_of(db, ALICE).active_connections == 0


def test_a_heartbeat_that_comes_during_the_sweep_keeps_the_connection(echo: str, db: Database) -> None:
    add_user(db, ALICE)
    connect(db, ALICE, "c1", heard="1 minute")
    with psycopg.connect(echo) as beating:
        track(beating, ALICE, "c1", "phone")
        assert sweep(db) == 0
    assert sweep(db) == 0
    assert status_of(db, ALICE).status == "online"


def test_two_sweeps_at_once_clean_each_connection_once(echo: str, db: Database) -> None:
    users = [add_user(db, uuid4()) for _ in range(30)]
    for user in users:
        connect(db, user, f"c-{user}", heard="1 minute")
    start = Barrier(2)

    def clean(_: int) -> int:
        with psycopg.connect(echo, autocommit=True) as session:
            start.wait()
            return sweep(session)

    with ThreadPoolExecutor(2) as pool:
        cleaned = sum(pool.map(clean, range(2)))
    assert cleaned + sweep(db) == 30
    assert db.execute("SELECT count(*) FROM presence.status_history WHERE change_reason = 'timeout'").fetchone() == (
        30,
    )


def test_servers_that_drain_at_once_do_not_deadlock(echo: str, db: Database) -> None:
    """Users with a connection to each are locked in order, whatever order their connections lie in."""
    users = [add_user(db, uuid4()) for _ in range(40)]
    for server, order in (("server-1", users), ("server-2", users[::-1])):
        for user in order:
            db.execute(
                "INSERT INTO presence.connections (user_id, connection_id, device_id, server_id)"
                " VALUES (%s, %s, %s, %s)",
                (user, f"{server}/{user}", server, server),
            )
    start = Barrier(2)

    def drain(server: str) -> int:
        with psycopg.connect(echo, autocommit=True, options="-c deadlock_timeout=20ms") as session:
            start.wait()
            return session.execute(
                "UPDATE presence.connections SET status = 'disconnected', disconnect_reason = 'system'"
                " WHERE server_id = %s",
                (server,),
            ).rowcount

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(drain, ["server-1", "server-2"])) == [40, 40]
    assert db.execute("SELECT DISTINCT status, active_connections FROM presence.user_status").fetchall() == [
        ("offline", 0)
    ]

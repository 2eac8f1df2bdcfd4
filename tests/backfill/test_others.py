"""What a backfill makes way for: row locks, waiting sessions, autovacuum, standbys."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

import whimbrel
from whimbrel.backfills import transaction
from whimbrel.errors import LockNotObtained, StatementFailed
from whimbrel.events import BackfillAdvanced, Event

from ..acceptance.programs import eventually
from ..acceptance.servers import TcpServer
from .conftest import SLOW, STATEMENT, Connection, counts, done, make_table


class Watcher:
    """Takes the events of a backfill; `act` is called once, at the first pause that holds a text."""

    def __init__(self, text: str = "\0", act: Callable[[], object] = lambda: None) -> None:
        self.events: list[BackfillAdvanced] = []
        self.warnings: list[Event] = []
        self._text = text
        self._act = act
        self._is_done = False

    def __call__(self, event: Event) -> None:
        if not isinstance(event, BackfillAdvanced):
            self.warnings.append(event)
            return
        self.events.append(event)
        if not self._is_done and self._text in (event.pause or ""):
            self._is_done = True
            self._act()

    @property
    def pauses(self) -> list[str]:
        """Why it paused."""
        return [event.pause for event in self.events if event.pause is not None]


def test_a_row_that_another_session_has_is_waited_for_in_smaller_and_smaller_batches(
    dsn: str, connection: Connection
) -> None:
    make_table(connection, 200)
    with psycopg.connect(dsn) as other:
        other.execute("SET application_name = 'shop'")
        other.execute("UPDATE t SET n = n + 10 WHERE id = 150")
        sizes: list[int] = []

        def release() -> None:
            other.rollback()

        watcher = Watcher("(shop), idle in transaction", lambda: sizes.append(watcher.events[-1].batch))
        watched = watcher.__call__

        def emit(event: Event) -> None:
            watched(event)
            if len(watcher.pauses) == 2:
                release()

        whimbrel.backfill(STATEMENT, dsn, batch=64, emit=emit)
    assert counts(connection) == [(1, 200)]
    assert watcher.pauses[0].startswith("waiting for rows that process ")
    assert sizes == [32]
    # It had come to the row before it waited.
    assert next(event.walked for event in watcher.events if event.pause is not None) == 128


def test_it_gives_up_when_its_budget_is_spent_and_keeps_what_is_done(dsn: str, connection: Connection) -> None:
    make_table(connection, 100)
    with psycopg.connect(dsn) as other:
        other.execute("SET application_name = 'shop'")
        other.execute("SELECT FROM t WHERE id = 50 FOR UPDATE")
        process = other.info.backend_pid
        with pytest.raises(LockNotObtained, match=r"backfill of public\.t got no further for") as caught:
            whimbrel.backfill(STATEMENT, dsn, batch=8, lock_budget="3s")
    assert caught.value.sqlstate == "55P03"
    assert caught.value.detail is not None
    assert f"In the way may be process {process} (shop), idle in transaction" in caught.value.detail
    # Up to the row, but for what is left of the last batch that was too large.
    before = done(connection)
    assert 48 <= before <= 49
    assert f"{before} of about 100 rows are walked, {before} changed." in caught.value.detail
    whimbrel.backfill(STATEMENT, dsn, batch=8)
    assert counts(connection) == [(1, 100)]


def test_a_deadlock_is_tried_again(dsn: str, connection: Connection) -> None:
    make_table(connection, 20)
    connection.execute(f"ALTER DATABASE {connection.info.dbname} SET deadlock_timeout = '50ms'".encode())
    # The batch takes row 1 and, slowly, row 2; the other has row 2 and wants row 1.
    slow = "UPDATE t SET n = n + 1, done = pg_sleep(0.1) IS NOT NULL WHERE NOT done"
    ready = threading.Event()
    ended: list[str] = []

    def cross() -> None:
        with psycopg.connect(dsn) as other:
            other.execute("UPDATE t SET n = n WHERE id = 20")
            ready.set()
            eventually(lambda: holds_rows(connection))
            try:
                other.execute("UPDATE t SET n = n WHERE id = 1")
                ended.append("won")
            except psycopg.errors.DeadlockDetected:
                ended.append("lost")
            other.rollback()

    thread = threading.Thread(target=cross)
    thread.start()
    assert ready.wait(20)
    whimbrel.backfill(slow, dsn, batch=20)
    thread.join(20)
    assert ended
    assert counts(connection) == [(1, 20)]


def holds_rows(connection: Connection) -> bool:
    """Whether a backfill is in the middle of a batch."""
    row = connection.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '^whimbrel: backfill'"
        " AND backend_xid IS NOT NULL"
    ).fetchone()
    return row is not None


def test_a_batch_that_keeps_others_waiting_makes_the_next_half_as_large(dsn: str, connection: Connection) -> None:
    make_table(connection, 120)
    is_over = threading.Event()

    def wait() -> None:
        with psycopg.connect(dsn, autocommit=True) as other:
            while not is_over.is_set():
                # The first row of whichever batch is under way; between two it may find nobody there.
                other.execute("SELECT FROM t WHERE NOT done ORDER BY id LIMIT 1 FOR UPDATE")

    thread = threading.Thread(target=wait)
    thread.start()
    watcher = Watcher()
    slow = "UPDATE t SET n = n + 1, done = pg_sleep(0.02) IS NOT NULL WHERE NOT done"
    try:
        whimbrel.backfill(slow, dsn, batch=40, emit=watcher)
    finally:
        is_over.set()
        thread.join(20)
    assert 20 in [event.batch for event in watcher.events]
    assert counts(connection) == [(1, 120)]


def test_it_stands_aside_while_others_wait_for_a_lock_on_the_table(dsn: str, connection: Connection) -> None:
    make_table(connection, 100)
    with psycopg.connect(dsn) as reader:
        reader.execute("SELECT FROM t LIMIT 1")
        threads: list[threading.Thread] = []

        def alter() -> None:
            with psycopg.connect(dsn, autocommit=True) as other:
                other.execute("ALTER TABLE t ADD COLUMN more int")

        threads.append(threading.Thread(target=alter))
        threads[0].start()
        eventually(lambda: is_waiting(connection))
        watcher = Watcher("other sessions wait for a lock on the table", reader.rollback)
        whimbrel.backfill(STATEMENT, dsn, emit=watcher)
        threads[0].join(20)
    assert watcher.pauses[0] == "other sessions wait for a lock on the table"
    assert watcher.events[0].walked == 0
    assert counts(connection) == [(1, 100)]


def is_waiting(connection: Connection) -> bool:
    return (
        connection.execute("SELECT FROM pg_locks WHERE NOT granted AND relation = 't'::regclass").fetchone() is not None
    )


def test_a_batch_that_takes_too_long_is_cut_off_and_tried_with_half_the_rows(
    dsn: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "STATEMENT_TIMEOUT", 0.5)
    make_table(connection, 8)
    slow = "UPDATE t SET n = n + 1, done = pg_sleep(0.2) IS NOT NULL WHERE NOT done"
    oldest: list[float] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.02):
            row = connection.execute(
                "SELECT max(extract(epoch FROM clock_timestamp() - xact_start))::float8 FROM pg_stat_activity"
                " WHERE datname = current_database() AND backend_xid IS NOT NULL"
            ).fetchone()
            oldest.append(float(row[0] or 0) if row is not None else 0)

    thread = threading.Thread(target=look)
    thread.start()
    watcher = Watcher()
    try:
        whimbrel.backfill(slow, dsn, batch=8, emit=watcher)
    finally:
        is_over.set()
        thread.join(20)
    assert "the last batch took too long" in watcher.pauses
    assert counts(connection) == [(1, 8)]
    # The statement's bound, and what a busy machine adds; without it the batch would take 1.6 s.
    assert 0 < max(oldest) < 1.5


def test_a_statement_that_a_person_cancels_is_not_sent_again(dsn: str, connection: Connection) -> None:
    make_table(connection, 2000)

    def cancel(event: Event) -> None:
        if isinstance(event, BackfillAdvanced) and event.walked == 100:
            threading.Thread(target=later).start()

    def later() -> None:
        with psycopg.connect(dsn, autocommit=True) as other:
            eventually(lambda: holds_rows(other))
            other.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name ~ '^whimbrel: backfill'"
            )

    with pytest.raises(StatementFailed, match="user request"):
        whimbrel.backfill(SLOW, dsn, batch=100, emit=cancel)
    assert done(connection) % 100 == 0


def test_a_writer_that_is_idle_in_its_transaction_holds_up_its_own_rows_alone(dsn: str, connection: Connection) -> None:
    make_table(connection, 100)
    with psycopg.connect(dsn) as other:
        other.execute("INSERT INTO t (id) VALUES (1000)")
        result = whimbrel.backfill(STATEMENT, dsn)
        assert result.changed == 100
        other.commit()
    # What was not committed was not there; a trigger or a default fills such rows.
    assert counts(connection) == [(0, 1), (1, 100)]


# -------------------------------------------------------------------------------------- on a server of the tests' own


@pytest.fixture
def address(own_server: TcpServer) -> str:
    own_server.admin("DROP DATABASE IF EXISTS filled WITH (FORCE)")
    own_server.admin("CREATE DATABASE filled")
    return own_server.conninfo("filled")


def test_an_autovacuum_on_the_table_is_waited_for(own_server: TcpServer, address: str) -> None:
    own_server.admin("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    own_server.admin("SELECT pg_reload_conf()")
    with psycopg.connect(address, autocommit=True) as connection:
        make_table(connection, 20_000)
        connection.execute("ALTER TABLE t ADD COLUMN filler text")
        connection.execute(
            "ALTER TABLE t SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,"
            " autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0)"
        )
        connection.execute("UPDATE t SET filler = repeat('x', 200)")
        eventually(lambda: is_vacuumed(connection), 60)

        def stop() -> None:
            # Waits for the worker's lock, which makes it give way.
            connection.execute("ALTER TABLE t SET (autovacuum_enabled = false)")

        watcher = Watcher("autovacuum works on the table", stop)
        whimbrel.backfill(STATEMENT, address, emit=watcher)
        assert "autovacuum works on the table" in watcher.pauses
        assert counts(connection) == [(1, 20_000)]


def test_a_role_without_rights_sees_an_autovacuum_too(own_server: TcpServer, address: str) -> None:
    from whimbrel.backfills import sights

    own_server.admin("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    own_server.admin("SELECT pg_reload_conf()")
    with psycopg.connect(address, autocommit=True) as connection:
        make_table(connection, 20_000)
        connection.execute(
            "ALTER TABLE t SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,"
            " autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0)"
        )
        connection.execute("UPDATE t SET n = 0")
        eventually(lambda: is_vacuumed(connection), 60)
        table = connection.execute("SELECT 't'::regclass::oid::bigint").fetchone()
        assert table is not None
        own_server.make_role("nobody_special", "secret")
        connection.execute("SET ROLE nobody_special")
        assert sights.look(connection, int(table[0])).is_autovacuumed
        connection.execute("RESET ROLE")
        connection.execute("ALTER TABLE t SET (autovacuum_enabled = false)")
        assert not sights.look(connection, int(table[0])).is_autovacuumed


def is_vacuumed(connection: Connection) -> bool:
    row = connection.execute(
        "SELECT FROM pg_stat_progress_vacuum WHERE relid = 't'::regclass AND heap_blks_scanned > 0"
    ).fetchone()
    return row is not None


def test_a_standby_that_lags_is_waited_for(own_server: TcpServer, address: str) -> None:
    with tempfile.TemporaryDirectory(prefix="whimbrel-standby-", dir=own_server.data.parent) as name:
        folder = Path(name)
        if own_server.account is not None:
            os.chown(folder, own_server.account.uid, own_server.account.gid)
        standby = own_server.copy(folder)
        with (standby.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("recovery_min_apply_delay = '2s'\nwal_receiver_status_interval = '1s'\n")
        standby.start()
        try:
            with psycopg.connect(address, autocommit=True) as connection:
                eventually(lambda: has_standby(connection))
                make_table(connection, 1000)
                eventually(lambda: lag(connection) > timedelta(seconds=1))
                watcher = Watcher()
                whimbrel.backfill(STATEMENT, address, batch=300, max_lag="1s", emit=watcher)
                assert any(pause.startswith("a standby is behind by ") for pause in watcher.pauses)
                assert counts(connection) == [(1, 1000)]
        finally:
            standby.stop()


def has_standby(connection: Connection) -> bool:
    return connection.execute("SELECT FROM pg_stat_replication WHERE state = 'streaming'").fetchone() is not None


def lag(connection: Connection) -> timedelta:
    row = connection.execute("SELECT max(replay_lag) FROM pg_stat_replication").fetchone()
    found = row[0] if row is not None else None
    return found if isinstance(found, timedelta) else timedelta(0)

"""What is seen of a long statement from a second connection, and that looking disturbs nobody."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import pytest
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

from whimbrel.errors import ConnectionFailed
from whimbrel.events import Event, StatementRunning, Warned
from whimbrel.execution.observation import observe
from whimbrel.execution.watch import Watch
from whimbrel.migration import Direction
from whimbrel.pipeline import Pipeline
from whimbrel.plan import Step

from .conftest import Project

Connection = psycopg.Connection[TupleRow]
PATIENCE = 30.0


@dataclass
class Clock:
    """A clock that stands still until it is set forward."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scene:
    """A session that works, one that looks, and what is told of it. `opened` counts the connections for looking."""

    dsn: str
    worker: Connection
    step: Step
    clock: Clock = field(default_factory=Clock)
    events: list[Event] = field(default_factory=list[Event])
    opened: list[int] = field(default_factory=list[int])

    def connect(self) -> Connection:
        connection = psycopg.connect(self.dsn, autocommit=True)
        self.opened.append(connection.info.backend_pid)
        return connection

    def watch(
        self, connect: Callable[[], Connection] | None, *, after: float = 1.0, clock: Callable[[], float] | None = None
    ) -> Watch:
        process = self.worker.info.backend_pid
        return Watch(connect, process, self.step, self.events.append, after=after, clock=clock or self.clock)

    @property
    def running(self) -> list[StatementRunning]:
        return [event for event in self.events if isinstance(event, StatementRunning)]

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]

    def look_until(self, watch: Watch, condition: Callable[[], bool]) -> None:
        """Look again and again, at the same moment of the clock, until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.events
            watch.look()
            time.sleep(0.02)

    def see(self, watch: Watch, forward: float) -> StatementRunning:
        """Set the clock forward and return what is then told."""
        self.clock.now += forward
        before = len(self.running)
        self.look_until(watch, lambda: len(self.running) > before)
        return self.running[-1]

    @contextmanager
    def running_in_the_background(self, query: str) -> Generator[None]:
        """Run a query in the working session; it is cancelled at the end."""

        def run() -> None:
            with suppress(psycopg.errors.QueryCanceled):
                self.worker.execute(query.encode())

        thread = threading.Thread(target=run)
        thread.start()
        with psycopg.connect(self.dsn, autocommit=True) as other:
            wait_for(
                lambda: (
                    other.execute(
                        "SELECT FROM pg_stat_activity WHERE pid = %s AND state = 'active'",
                        [self.worker.info.backend_pid],
                    ).fetchone()
                    is not None
                )
            )
        try:
            yield
        finally:
            self.worker.cancel_safe()
            thread.join()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def scene(project: Project) -> Generator[Scene]:
    project.write({"1_a.up.sql": "SELECT 1;"})
    (migration,) = project.source().migrations
    with psycopg.connect(project.dsn, autocommit=True) as worker:
        yield Scene(project.dsn, worker, Step(Direction.UP, 1, "a", migration.up, migration))


def test_nothing_is_opened_nor_told_before_a_statement_takes_long(scene: Scene) -> None:
    with scene.running_in_the_background("SELECT pg_sleep(60)"), scene.watch(scene.connect) as watch:
        watch.look()
        scene.clock.now += 0.9
        watch.look()
    assert (scene.opened, scene.events) == ([], [])


def test_a_long_statement_is_told_with_its_text_but_not_with_the_texts_in_it(scene: Scene) -> None:
    with scene.running_in_the_background("SELECT 'secret', pg_sleep(60)"), scene.watch(scene.connect, after=0) as watch:
        seen = scene.see(watch, 1)
    assert seen.sql == "SELECT '…', pg_sleep(60)"
    assert (seen.step, seen.phase, seen.fraction, seen.remaining, seen.blockers) == (scene.step, None, None, None, ())
    assert seen.passed > timedelta(0)


def test_a_statement_that_waits_is_told_with_whom_it_waits_for(scene: Scene, connection: Connection) -> None:
    connection.execute("CREATE TABLE t (n int)")
    with psycopg.connect(scene.dsn, application_name="nightly") as holder:
        holder.execute("INSERT INTO t VALUES (1)")
        with scene.running_in_the_background("TRUNCATE t"), scene.watch(scene.connect, after=0) as watch:
            (blocker,) = scene.see(watch, 1).blockers
            assert watch.blockers == (blocker,)
        assert (blocker.pid, blocker.application) == (holder.info.backend_pid, "nightly")
        assert (blocker.state, blocker.query) == ("idle in transaction", "INSERT INTO t VALUES (1)")


def test_the_time_of_waiting_is_counted_between_two_looks_that_saw_it(scene: Scene, connection: Connection) -> None:
    connection.execute("CREATE TABLE t (n int)")
    with psycopg.connect(scene.dsn) as holder:
        holder.execute("INSERT INTO t VALUES (1)")
        query = "LOCK TABLE t; SELECT pg_sleep(60)"
        with scene.running_in_the_background(query), scene.watch(scene.connect, after=0) as watch:
            scene.see(watch, 1)
            assert watch.waited == 0
            scene.see(watch, 7)
            assert watch.waited == 7
            scene.see(watch, 3)
            assert watch.waited == 10
            holder.commit()
            wait_for(lambda: not scene.see(watch, 5).blockers)
            waited = watch.waited
            scene.see(watch, 100)
            assert watch.waited == waited
            watch.begin()
            assert (watch.waited, watch.blockers) == (0, ())


def test_a_build_is_told_with_its_phase_and_how_far_that_is(scene: Scene, connection: Connection) -> None:
    connection.execute(
        "CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
        " $$BEGIN PERFORM pg_sleep(0.0005); RETURN $1; END$$;"
        "CREATE TABLE t AS SELECT generate_series(1, 100000) AS n"
    )
    query = "CREATE INDEX CONCURRENTLY ON t (slow(n))"
    with scene.running_in_the_background(query), scene.watch(scene.connect, after=0) as watch:
        wait_for(lambda: (scene.see(watch, 2).fraction or 0) > 0)
        first = scene.running[-1]
        wait_for(lambda: scene.see(watch, 2).fraction != first.fraction)
        second = scene.running[-1]
        assert watch.waited == 0
    assert first.phase == second.phase == "building index: scanning table"
    assert first.fraction is not None
    assert second.fraction is not None
    assert first.fraction < second.fraction < 1
    assert second.remaining is not None
    assert second.remaining > timedelta(0)


def test_a_statement_that_the_server_has_only_begun_is_not_told(scene: Scene) -> None:
    """Though the watch has been looking on for long: there were others before."""
    with scene.running_in_the_background("SELECT pg_sleep(60)"), scene.watch(scene.connect, after=3600) as watch:
        scene.clock.now += 3601
        scene.look_until(watch, lambda: bool(scene.opened))
        for _ in range(20):
            watch.look()
            time.sleep(0.02)
    assert scene.events == []


def test_between_two_looks_nothing_is_held_that_a_build_would_wait_for(scene: Scene, connection: Connection) -> None:
    with scene.running_in_the_background("SELECT pg_sleep(60)"), scene.watch(scene.connect, after=0) as watch:
        scene.see(watch, 1)
        (process,) = scene.opened
        row = connection.execute(
            "SELECT application_name, state, xact_start, backend_xmin, backend_xid FROM pg_stat_activity"
            " WHERE pid = %s",
            [process],
        ).fetchone()
        assert row == ("whimbrel: watch", "idle", None, None, None)
        locks = connection.execute("SELECT count(*) FROM pg_locks WHERE pid = %s", [process]).fetchone()
        assert locks == (0,)


def test_the_second_connection_is_one_and_is_closed_at_the_end(scene: Scene, connection: Connection) -> None:
    with scene.running_in_the_background("SELECT pg_sleep(60)"), scene.watch(scene.connect, after=0) as watch:
        for _ in range(3):
            scene.see(watch, 2)
    (process,) = scene.opened
    query = "SELECT FROM pg_stat_activity WHERE pid = %s"
    wait_for(lambda: connection.execute(query, [process]).fetchone() is None)


def test_a_second_connection_that_is_terminated_is_said_once_and_time_goes_on(
    scene: Scene, connection: Connection
) -> None:
    with scene.running_in_the_background("SELECT pg_sleep(60)"), scene.watch(scene.connect, after=0) as watch:
        watch.begin(b"SELECT 'mine'")
        scene.see(watch, 1)
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", scene.opened)
        scene.clock.now += 2
        scene.look_until(watch, lambda: bool(scene.warnings))
        seen = scene.see(watch, 40)
        scene.see(watch, 2)
    assert scene.warnings == [
        "what long statements do cannot be shown any more: terminating connection due to administrator command"
    ]
    assert (seen.sql, seen.passed, seen.blockers) == ("SELECT '…'", timedelta(seconds=43), ())
    assert len(scene.opened) == 1


def test_a_second_connection_that_cannot_be_opened_is_said_once(scene: Scene) -> None:
    def refuse() -> Connection:
        raise ConnectionFailed("cannot connect: sorry, too many clients already")

    with scene.watch(refuse) as watch:
        scene.clock.now += 1
        scene.look_until(watch, lambda: bool(scene.warnings))
        scene.see(watch, 2)
    assert scene.warnings == [
        "what long statements do cannot be shown any more: cannot connect: sorry, too many clients already"
    ]


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_brief_statement_is_looked_at_often_and_told_no_oftener(
    scene: Scene, connection: Connection, is_connected: bool
) -> None:
    connection.execute("CREATE TABLE t (n int)")
    with (
        psycopg.connect(scene.dsn) as holder,
        scene.watch(scene.connect if is_connected else None, after=3600) as watch,
    ):
        holder.execute("INSERT INTO t VALUES (1)")
        with scene.running_in_the_background("TRUNCATE t"):
            watch.begin(is_brief=True)
            for _ in range(50):
                scene.clock.now += 0.1
                watch.look()
                time.sleep(0.01)
                if watch.blockers:
                    break
            assert [each.pid for each in watch.blockers] == [holder.info.backend_pid] * is_connected
            assert scene.events == []


@pytest.mark.parametrize("is_pooled", [False, True])
def test_without_a_second_connection_the_time_is_told_alone(scene: Scene, is_pooled: bool) -> None:
    connect = scene.connect if is_pooled else None
    process = 0 if is_pooled else scene.worker.info.backend_pid
    with Watch(connect, process, scene.step, scene.events.append, clock=scene.clock) as watch:
        watch.begin(b"VACUUM t")
        scene.clock.now += 0.5
        watch.look()
        assert scene.events == []
        for _ in range(5):
            scene.clock.now += 1
            watch.look()
    assert [(event.sql, event.passed.total_seconds()) for event in scene.running] == [
        ("VACUUM t", 1.5),
        ("VACUUM t", 3.5),
        ("VACUUM t", 5.5),
    ]
    assert scene.opened == []


def test_a_connection_that_is_not_answered_holds_nothing_up(scene: Scene, connection: Connection) -> None:
    """As that to a pooler whose sessions are all taken."""
    gate = threading.Event()

    def connect() -> Connection:
        gate.wait()
        return scene.connect()

    with scene.watch(connect) as watch:
        watch.begin(b"SELECT 1")
        scene.clock.now += 1
        watch.look()
        assert scene.see(watch, 2).sql == "SELECT 1"
        scene.see(watch, 2)
        assert scene.opened == []
    gate.set()
    wait_for(lambda: bool(scene.opened))
    query = "SELECT FROM pg_stat_activity WHERE pid = %s"
    wait_for(lambda: connection.execute(query, scene.opened).fetchone() is None)


def test_a_look_that_is_not_answered_holds_nothing_up(scene: Scene) -> None:
    def connect() -> Connection:
        found = scene.connect()
        os.kill(found.info.backend_pid, signal.SIGSTOP)
        return found

    try:
        with scene.watch(connect) as watch:
            watch.begin(b"SELECT 1")
            scene.clock.now += 1
            scene.look_until(watch, lambda: bool(scene.opened))
            # For the look to be under way, and not the connection.
            time.sleep(0.3)
            assert scene.see(watch, 2).sql == "SELECT 1"
    finally:
        for process in scene.opened:
            os.kill(process, signal.SIGCONT)
    wait_for(lambda: not any(thread.name == "whimbrel: watch" for thread in threading.enumerate()))


def test_the_process_of_another_database_is_not_taken_for_ones_own(scene: Scene) -> None:
    """Behind an address with several hosts the second connection may be one to another server."""
    query = "SELECT pg_sleep(60)"
    with psycopg.connect(scene.dsn, dbname="postgres") as elsewhere, scene.running_in_the_background(query):
        assert observe(elsewhere, scene.worker.info.backend_pid) is None


def test_a_role_without_rights_sees_its_own_statement(scene: Scene, connection: Connection) -> None:
    role = f"builder_{connection.info.dbname}"
    connection.execute(f"CREATE ROLE {role} LOGIN; CREATE TABLE t (n int); GRANT ALL ON t TO {role}".encode())
    try:
        with (
            psycopg.connect(scene.dsn, user=role, autocommit=True) as scene.worker,
            psycopg.connect(scene.dsn, user=role, autocommit=True) as own,
            psycopg.connect(scene.dsn) as holder,
        ):
            holder.execute("INSERT INTO t VALUES (1)")
            with scene.running_in_the_background("TRUNCATE t"):
                seen = observe(own, scene.worker.info.backend_pid)
            assert seen is not None
            assert (seen.sql, seen.is_waiting) == ("TRUNCATE t", True)
            # Whose query it may not see.
            assert [(each.pid, each.query) for each in seen.blockers] == [(holder.info.backend_pid, "")]
    finally:
        connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def ignore_result(tag: int, result: PGresult) -> None:
    pass


def results(connection: Connection, on_idle: Callable[[], None]) -> Pipeline[int]:
    return Pipeline[int](connection, ignore_result, on_idle)


def test_a_pipeline_calls_while_nothing_arrives_and_not_while_results_do(connection: Connection) -> None:
    calls: list[int] = []
    told: list[int] = []

    def tell(tag: int, result: PGresult) -> None:
        told.append(tag)

    with Pipeline[int](connection, tell, lambda: calls.append(len(told))) as pipeline:
        for number in range(100):
            pipeline.send(number, b"SELECT 1")
        pipeline.request_flush()
        pipeline.send(100, b"SELECT pg_sleep(0.5)")
        pipeline.send(101, b"SELECT 1")
        assert pipeline.finish() is None
    assert calls
    assert set(calls) <= {0, 100}
    assert 100 in calls
    assert len(told) == 102


def test_a_pipeline_calls_while_a_copy_waits(connection: Connection, dsn: str) -> None:
    connection.execute("CREATE TABLE t (n int)")
    calls: list[int] = []
    with psycopg.connect(dsn) as holder:
        holder.execute("LOCK TABLE t")

        def look() -> None:
            calls.append(1)
            if len(calls) == 3:
                holder.commit()

        with results(connection, look) as pipeline:
            pipeline.copy_in(1, b"COPY t FROM stdin", [b"1\n", b"2\n"])
            assert pipeline.finish() is None
    assert len(calls) >= 3
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_what_a_look_raises_cancels_the_statement_and_spares_the_connection(connection: Connection) -> None:
    calls: list[int] = []

    def look() -> None:
        calls.append(1)
        raise ConnectionFailed("enough")

    with pytest.raises(ConnectionFailed, match="enough"), results(connection, look) as pipeline:
        pipeline.send(1, b"SELECT pg_sleep(600)")
        pipeline.finish()
    assert calls == [1]
    assert connection.execute("SELECT 1").fetchone() == (1,)

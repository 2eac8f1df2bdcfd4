"""A lock for each transaction: runs that meet, wait, are killed, fail or lose their connection."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project, applied, eventually, finish, is_running, tables, value
from tests.execution.proxy import Proxy
from whimbrel.config import config_from
from whimbrel.database import lock_key
from whimbrel.errors import ConfigError, LockNotObtained
from whimbrel.events import Event, RunStarted, StepAdvanced, StepFinished, Warned, ignore
from whimbrel.execution import operations, rounds
from whimbrel.execution.opening import Session, open_session
from whimbrel.execution.rounds import Work
from whimbrel.execution.task import Action
from whimbrel.plan import Plan, State
from whimbrel.source import read_migrations
from whimbrel.statements import Script

from .bouncer import Bouncer
from .conftest import Start

KEY = lock_key(config_from({}))
LOCK = ("--lock", "transaction")


def behind(project: Project, bouncer: Bouncer) -> Project:
    """Return the project as one whose DATABASE_URL leads through the pooler."""
    return replace(project, database=bouncer.dsn, variables={**project.variables, "WHIMBREL_LOCK": "transaction"})


def log(connection: psycopg.Connection[TupleRow]) -> list[tuple[int, str, str]]:
    """Return the log: version, action, outcome."""
    rows = connection.execute("SELECT version, action, outcome FROM schema_migrations_log ORDER BY id").fetchall()
    return [(int(version), str(action), str(outcome)) for version, action, outcome in rows]


def advisory_locks(connection: psycopg.Connection[TupleRow]) -> object:
    """Return how many advisory locks there are in the database."""
    return value(
        connection,
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )


@pytest.fixture(params=["pooled", "direct"])
def locked(request: pytest.FixtureRequest, project: Project) -> Project:
    """Give the project with a lock for each transaction: through a pooler in transaction mode, and without one."""
    if request.param == "pooled":
        start: Start = request.getfixturevalue("start_bouncer")
        return behind(project, start("transaction", default_pool_size="2"))
    return replace(project, variables={"WHIMBREL_LOCK": "transaction"})


def test_thirty_runs_at_once_apply_each_migration_once(
    project: Project, start_bouncer: Start, connection: psycopg.Connection[TupleRow]
) -> None:
    """On an empty database, whose history tables one of them makes."""
    connection.execute("CREATE TABLE counted (version int)")
    for version in range(1, 21):
        project.migration(version, f"INSERT INTO counted VALUES ({version}); SELECT pg_sleep(0.01);")
    pooled = behind(project, start_bouncer("transaction", default_pool_size="8"))

    processes = [pooled.start("up", "--lock-wait", "5min") for _ in range(30)]
    ended = [finish(process, timeout=240) for process in processes]

    assert [done.code for done in ended] == [0] * 30, ended
    rows = connection.execute("SELECT version FROM counted ORDER BY version").fetchall()
    assert [row[0] for row in rows] == list(range(1, 21))
    assert log(connection) == [(version, "up", "succeeded") for version in range(1, 21)]


def test_up_down_redo_and_force_work(locked: Project, connection: psycopg.Connection[TupleRow]) -> None:
    """And are in the log with one number for each run."""
    locked.three_tables()

    assert "Applied 3 migrations." in locked.succeed("up")
    locked.succeed("redo", "2", "--yes")
    locked.succeed("down", "1", "--yes")
    locked.migration(1, "CREATE TABLE IF NOT EXISTS t1 ();")
    locked.succeed("force", "1")
    locked.succeed("repair")
    locked.succeed("baseline", "2")

    assert log(connection) == [
        *[(version, "up", "succeeded") for version in (1, 2, 3)],
        *[(2, "down", "succeeded"), (2, "up", "succeeded")],
        *[(3, "down", "succeeded"), (2, "down", "succeeded"), (1, "force", "succeeded")],
        (2, "baseline", "succeeded"),
    ]
    runs = connection.execute("SELECT count(*) FROM schema_migrations_log GROUP BY run ORDER BY min(id)").fetchall()
    assert [row[0] for row in runs] == [3, 2, 2, 1, 1]
    assert value(connection, "SELECT count(*) FROM schema_migrations_log WHERE run IS NULL") == 0


def test_repair_records_the_file_as_it_is(locked: Project, connection: psycopg.Connection[TupleRow]) -> None:
    locked.three_tables()
    locked.succeed("up")
    locked.migration(2, "CREATE TABLE t2 (id bigint);")

    locked.succeed("repair")

    assert "modified" not in locked.succeed("status")
    assert log(connection)[-1] == (2, "repair", "succeeded")


def test_a_baseline_makes_the_history_on_an_empty_database(
    locked: Project, connection: psycopg.Connection[TupleRow]
) -> None:
    locked.three_tables()

    locked.succeed("baseline", "2")

    assert applied(connection) == [1, 2]
    locked.succeed("up")
    assert tables(connection) == ["t3"]


def test_seeds_run(locked: Project, connection: psycopg.Connection[TupleRow]) -> None:
    """Each takes the lock; they do not look at the history, which may not be there."""
    locked.write("seeds/1.sql", "CREATE TABLE seeded AS SELECT 1 AS n;")
    locked.write("seeds/2.sql", "INSERT INTO seeded VALUES (2);")

    locked.succeed("seed")

    assert value(connection, "SELECT sum(n) FROM seeded") == 3


def test_a_rehearsal_runs_and_leaves_nothing(locked: Project, connection: psycopg.Connection[TupleRow]) -> None:
    """Up to the first migration that cannot run in a transaction."""
    locked.three_tables()
    locked.migration(4, "CREATE INDEX CONCURRENTLY t1_id ON t1 (id);")

    output = locked.run("up", "--rehearse")

    assert "Rehearsed 3 migrations" in output.out
    assert tables(connection) == []
    assert value(connection, "SELECT to_regclass('schema_migrations')") is None
    assert advisory_locks(connection) == 0


def test_a_migration_outside_a_transaction_is_refused_before_anything_runs(
    locked: Project, connection: psycopg.Connection[TupleRow]
) -> None:
    """With its place and with what to do; a plan of it can still be shown."""
    locked.three_tables()
    locked.migration(4, "SELECT 1;\nCREATE INDEX CONCURRENTLY t1_id ON t1 (id);")

    error = locked.fail(2, "up")

    assert "000004_m4.up.sql:2:1: a migration that cannot run in a transaction cannot run with lock" in error
    assert "direct_url" in error
    assert tables(connection) == []
    assert value(connection, "SELECT to_regclass('schema_migrations')") is None
    assert "000004_m4.up.sql" in locked.succeed("up", "--plan")
    locked.succeed("up", "--to", "3")


def test_an_interrupted_migration_is_settled_and_resolved(
    project: Project, start_bouncer: Start, connection: psycopg.Connection[TupleRow], dsn: str
) -> None:
    """What a person says of it is one transaction, which works through the pooler; to go on needs a session."""
    project.migration(1, "CREATE TABLE t1 (id int);\nVACUUM t1;")
    project.succeed("up")
    connection.execute("DELETE FROM schema_migrations")
    connection.execute(
        "INSERT INTO schema_migrations_journal (version, direction, statement, checksum) VALUES (1, 'up', 2, 'x')"
    )
    pooled = behind(project, start_bouncer("transaction"))
    assert "interrupted at statement 2" in pooled.succeed("status")

    pooled.succeed("resolve", "1", "--retry")

    assert value(connection, "SELECT count(*) FROM schema_migrations_journal") == 0
    assert log(connection)[-1] == (1, "resolve", "succeeded")
    assert value(connection, "SELECT run IS NOT NULL FROM schema_migrations_log ORDER BY id DESC LIMIT 1") is True


def test_a_failed_migration_is_told_with_its_exact_place(
    locked: Project, connection: psycopg.Connection[TupleRow]
) -> None:
    """Those before it are committed, it is rolled back, and the attempt is in the log."""
    locked.three_tables()
    locked.migration(2, "CREATE TABLE t2 ();\n\nINSERT INTO t2\n  SELEC 1;")

    error = locked.fail(1, "up")

    assert 'migrations/000002_m2.up.sql:4:3: syntax error at or near "SELEC"' in error
    assert tables(connection) == ["t1"]
    assert log(connection) == [(1, "up", "succeeded"), (2, "up", "failed")]
    assert value(connection, "SELECT count(DISTINCT run) FROM schema_migrations_log") == 1


def test_a_division_by_zero_of_the_migration_is_its_own_error(locked: Project) -> None:
    """The same error is what the lock's own statements stop a transaction with."""
    locked.migration(1, "SELECT 1 / 0;")

    error = locked.fail(1, "up")

    assert "division by zero" in error
    assert "migrations/000001_m1.up.sql" in error


def test_a_constraint_that_is_checked_at_the_end_fails_its_migration(
    locked: Project, connection: psycopg.Connection[TupleRow]
) -> None:
    """Its trigger has the settings of the migration, and not those of the server connection."""
    locked.migration(
        1,
        "CREATE TABLE t1 (n int); CREATE TABLE seen (path text);"
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO public.seen VALUES (current_setting('search_path')); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t1 DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION look();"
        "INSERT INTO t1 VALUES (1);",
    )
    locked.migration(2, "CREATE TABLE t2 (n int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t2 VALUES (1), (1);")

    error = locked.fail(1, "up")

    assert "000002_m2.up.sql: duplicate key value violates unique constraint" in error
    assert tables(connection) == ["seen", "t1"]
    assert value(connection, "SELECT path FROM seen") == "public"


def test_data_for_a_copy_goes_through(locked: Project, connection: psycopg.Connection[TupleRow]) -> None:
    """COPY ends the pipeline in the middle of the transaction, which keeps its server process."""
    rows = "".join(f"{number}\n" for number in range(5000))
    locked.migration(1, f"CREATE TABLE t1 (n int);\nCOPY t1 FROM stdin;\n{rows}\\.\nINSERT INTO t1 VALUES (-1);")
    locked.migration(2, f"COPY t1 FROM stdin;\n{rows}\\.\n")

    locked.succeed("up")

    assert value(connection, "SELECT count(*) FROM t1") == 10001


def test_without_time_to_wait_the_holder_is_named(locked: Project, dsn: str) -> None:
    """A run with a session lock, or another transaction: it is one lock."""
    locked.three_tables()
    with psycopg.connect(dsn, autocommit=True, application_name="the other one") as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [KEY])

        for arguments in (["up"], ["baseline", "1"], ["up", "--rehearse"]):
            error = locked.fail(5, *arguments, "--lock-wait", "0")
            assert f"another run holds the lock (process {holder.info.backend_pid})" in error
            assert "It is the other one from local socket" in error


def test_a_run_waits_for_the_lock_and_tells_who_holds_it(
    locked: Project, connection: psycopg.Connection[TupleRow], dsn: str
) -> None:
    """And goes on when it is free, with what was done before added up."""
    locked.three_tables()
    locked.succeed("up", "--to", "1")
    with psycopg.connect(dsn) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [KEY])
        process = locked.start("up", "--json")
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert (first["whimbrel"], first["pid"]) == ("lock_held", holder.info.backend_pid)
        assert tables(connection) == ["t1"]
    done = finish(process)

    assert done.code == 0
    assert applied(connection) == [1, 2, 3]


def test_where_the_others_did_everything_meanwhile_the_run_ends_well(
    locked: Project, connection: psycopg.Connection[TupleRow], dsn: str
) -> None:
    """It does not even need the lock for that."""
    locked.three_tables()
    locked.succeed("up", "--to", "2")
    with psycopg.connect(dsn, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [KEY])
        process = locked.start("up", "--json")
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["whimbrel"] == "lock_held"
        holder.execute("INSERT INTO schema_migrations (version) VALUES (3)")
        done = finish(process)

    assert done.code == 0, done
    assert tables(connection) == ["t1", "t2"]


def started(events: list[Event]) -> list[list[int]]:
    return [[step.version for step in event.plan.steps] for event in events if isinstance(event, RunStarted)]


def run_up(session: Session, project: Project, planner: operations.Planner, emit: Callable[[Event], None]) -> list[int]:
    """Run an up whose planner is given; return what it did."""
    source = read_migrations(project.migrations)
    _, tasks = operations.make_tasks(session, source, Action.UP, operations.up_planner(session.config, None))
    result = rounds.run(session, source, Work("up", Action.UP, planner, None), tasks, emit)
    assert result.error is None
    return [step.version for step in result.finished]


def test_a_run_that_was_overtaken_plans_again(locked: Project, connection: psycopg.Connection[TupleRow]) -> None:
    """Another run applies two migrations between the look at the history and the first transaction."""
    locked.three_tables()
    locked.succeed("up", "--to", "1")
    assert locked.database is not None
    config = config_from({"database": locked.database, "lock": "transaction"})
    rounds_seen: list[list[int]] = []
    events: list[Event] = []

    def planner(states: list[State], stored: dict[int, Script]) -> Plan:
        plan = operations.up_planner(config, None)(states, stored)
        rounds_seen.append([step.version for step in plan.steps])
        if len(rounds_seen) == 1:
            locked.succeed("up", "--to", "2")
        return plan

    with open_session(config) as session:
        done = run_up(session, locked, planner, events.append)

    assert rounds_seen == [[2, 3], [3]]
    assert done == [3]
    assert started(events) == [[3]]
    assert log(connection) == [(version, "up", "succeeded") for version in (1, 2, 3)]


def test_a_row_of_the_log_that_is_committed_late_is_seen(
    locked: Project, connection: psycopg.Connection[TupleRow], dsn: str
) -> None:
    """Its number is lower than that of a failure which was logged without the lock meanwhile."""
    locked.three_tables()
    locked.succeed("up", "--to", "1")
    assert locked.database is not None
    config = config_from({"database": locked.database, "lock": "transaction"})
    row = (
        "INSERT INTO schema_migrations_log (version, action, outcome, started_at, finished_at, role, tool_version)"
        " VALUES (2, 'up', '{}', now(), now(), 'x', 'x')"
    )
    seen: list[int] = []
    with psycopg.connect(dsn) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [KEY])
        other.execute("INSERT INTO schema_migrations (version) VALUES (2)")
        other.execute(row.format("succeeded").encode())
        connection.execute(row.format("failed").encode())

        def planner(states: list[State], stored: dict[int, Script]) -> Plan:
            plan = operations.up_planner(config, None)(states, stored)
            seen.append(len(plan.steps))
            if len(seen) == 1:
                other.commit()
            return plan

        with open_session(config) as session:
            done = run_up(session, locked, planner, ignore)

    assert seen == [2, 1]
    assert done == [3]
    assert tables(connection) == ["t1", "t3"]


def test_a_killed_run_leaves_nothing_half_done(locked: Project, connection: psycopg.Connection[TupleRow]) -> None:
    """The next one goes on behind what is committed, as soon as the dead one's transaction has ended."""
    if connection.info.server_version < 140000:
        pytest.skip("client_connection_check_interval came with PostgreSQL 14")
    locked.three_tables()
    locked.migration(2, "CREATE TABLE t2 (); SELECT pg_sleep(600);")
    process = locked.start("up")
    eventually(lambda: is_running(connection, "pg_sleep(600)"))

    process.kill()
    process.communicate()
    locked.migration(2, "CREATE TABLE t2 ();")
    locked.succeed("up")

    assert applied(connection) == [1, 2, 3]
    assert tables(connection) == ["t1", "t2", "t3"]


def test_commits_whose_answers_were_lost_are_found(
    project: Project, tmp_path: Path, connection: psycopg.Connection[TupleRow], dsn: str
) -> None:
    """By the number of the run, when the lost server process has ended."""
    project.three_tables()
    project.succeed("up", "--to", "1")
    events: list[Event] = []
    with tempfile.TemporaryDirectory() as folder, Proxy(Path(folder), dsn, b"CREATE TABLE t3") as proxy:

        def cut() -> None:
            proxy.held.wait(30)
            eventually(lambda: applied(connection) == [1, 2, 3])
            proxy.cut()

        thread = threading.Thread(target=cut)
        thread.start()
        with open_session(config_from({"database": proxy.dsn, "lock": "transaction"})) as session:
            result = operations.up(session, read_migrations(project.migrations), emit=events.append)
        thread.join()

    assert result.error is None
    assert [step.version for step in result.finished] == [2, 3]
    assert "3_m3 was committed; only the answer was lost" in [
        event.message for event in events if isinstance(event, Warned)
    ]


@pytest.mark.parametrize("first", ["INSERT INTO t1 VALUES (1);", "CREATE INDEX CONCURRENTLY t1_id ON t1 (id);"])
def test_a_session_that_is_swapped_under_the_lock_is_noticed(
    project: Project, start_bouncer: Start, connection: psycopg.Connection[TupleRow], first: str
) -> None:
    """The pooler is reloaded with another mode while a run holds the lock of a session."""
    project.migration(1, "CREATE TABLE t1 (id int); CREATE TABLE t2 (); VACUUM t1;", "")
    project.migration(2, first, "")
    bouncer = start_bouncer("session", default_pool_size="2")
    source = read_migrations(project.migrations)
    holders: list[psycopg.Connection[TupleRow]] = []

    def take_over(event: Event) -> None:
        # Between two statements, when the pooler has taken the server connection back: the next client gets it.
        if isinstance(event, StepAdvanced) and event.done == 1:
            bouncer.change(pool_mode="transaction")
        if isinstance(event, StepFinished) and event.step.version == 1:
            holder = bouncer.connect()
            holder.execute("BEGIN")
            holders.append(holder)

    try:
        with open_session(config_from({"database": bouncer.dsn})) as session:
            result = operations.up(session, source, emit=take_over)
            swapped_to = value(session.connection, "SELECT pg_backend_pid()")
            assert swapped_to != session.process
            process = session.process
    finally:
        for holder in holders:
            holder.close()

    assert isinstance(result.error, ConfigError)
    assert "leads to another server session than the one that holds the lock" in result.error.message
    assert result.error.detail is not None
    assert f"server process {process}" in result.error.detail
    assert [step.version for step in result.finished] == [1]
    assert applied(connection) == [1]
    assert value(connection, "SELECT count(*) FROM t1") == 0
    assert value(connection, "SELECT to_regclass('t1_id')") is None
    assert value(connection, "SELECT count(*) FROM schema_migrations_journal") == 0
    assert log(connection)[-1] == (2, "up", "failed")


def test_a_lock_between_two_transactions_stops_a_run_that_has_got_somewhere(
    project: Project, connection: psycopg.Connection[TupleRow], dsn: str
) -> None:
    """What it did stays done, and counts; the error says what it waits for."""
    project.three_tables()
    project.migration(2, "SELECT pg_advisory_lock(4711); CREATE TABLE t2 ();")
    config = config_from({"database": dsn, "lock": "transaction", "lock_wait": "0"})
    with psycopg.connect(dsn, autocommit=True) as first, psycopg.connect(dsn, autocommit=True) as second:
        first.execute("SELECT pg_advisory_lock(4711)")

        def take_the_lock() -> None:
            eventually(lambda: is_running(connection, "4711"))
            # It waits in line for the lock, and so is before the run's own next transaction.
            waiting = threading.Thread(target=lambda: second.execute("SELECT pg_advisory_lock(%s)", [KEY]))
            waiting.start()
            eventually(lambda: is_running(connection, "pg_advisory_lock($1)") or is_running(connection, str(KEY)))
            first.execute("SELECT pg_advisory_unlock(4711)")
            waiting.join()

        thread = threading.Thread(target=take_the_lock)
        thread.start()
        with open_session(config) as session:
            result = operations.up(session, read_migrations(project.migrations))
        thread.join()

    assert isinstance(result.error, LockNotObtained)
    assert [step.version for step in result.finished] == [1, 2]
    assert [step.version for step in result.remaining] == [3]
    assert result.failed is None
    assert applied(connection) == [1, 2]


def test_nothing_is_locked_where_nothing_is_pending(locked: Project, dsn: str) -> None:
    locked.three_tables()
    locked.succeed("up")
    with psycopg.connect(dsn, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [KEY])

        assert "Nothing to do" in locked.succeed("up", "--lock-wait", "0")

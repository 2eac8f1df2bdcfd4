"""SIGINT and SIGTERM in the middle of a concurrent statement, and of what settles it: the next run ends it well."""

from __future__ import annotations

import signal
from itertools import cycle

import psycopg
import pytest
from psycopg.rows import TupleRow

from ..acceptance.programs import Project, applied, eventually, finish, interrupt, is_running, sessions, value
from .crowd import deadlocks
from .killed import BUILD, CASES, Case, holder, kill, start_in

Connection = psycopg.Connection[TupleRow]
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def converge(project: Project, connection: Connection, case: Case) -> None:
    """Let the next run end what was interrupted, and look at what it left."""
    eventually(lambda: sessions(connection) == 0)
    assert applied(connection) == [1]
    # 3 where the run could still remove what the statement had left.
    assert project.run("status", "--check").code in (3, 4)
    if value(connection, "SELECT to_regclass('brake') IS NOT NULL"):
        connection.execute("DELETE FROM brake")
    project.succeed("up")
    assert applied(connection) == [1, 2]
    assert value(connection, case.after) is True
    assert deadlocks(connection) == 0


@pytest.mark.parametrize(
    ("case", "signum"),
    [(BUILD, signal.SIGINT), *zip(CASES, cycle((signal.SIGTERM, signal.SIGINT)), strict=False)],
    ids=lambda value: value.name,
)
def test_in_a_concurrent_statement(
    project: Project, connection: Connection, other: Connection, case: Case, signum: signal.Signals
) -> None:
    process = start_in(project, case, connection, other)

    done = interrupt(process, signum)

    assert (done.code, done.err.splitlines()[0]) == (128 + signum, f"error: interrupted by {signum.name}"), done
    # Whoever it waited for is still there.
    eventually(lambda: holder(connection) is None)
    other.execute("COMMIT")
    converge(project, connection, case)


def test_further_signals_during_the_clean_up(project: Project, connection: Connection, other: Connection) -> None:
    process = start_in(project, BUILD, connection, other)

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        process.send_signal(signum)
    done = finish(process)

    assert done.code in (130, 143), done
    assert "Traceback" not in done.err
    other.execute("COMMIT")
    converge(project, connection, BUILD)


@pytest.mark.parametrize("signum", [*SIGNALS, signal.SIGKILL])
def test_while_it_drops_what_an_earlier_one_left(
    project: Project, connection: Connection, other: Connection, signum: signal.Signals
) -> None:
    """The index is neither valid nor gone then."""
    kill(start_in(project, BUILD, connection, other))
    eventually(lambda: holder(connection) is None)
    process = project.start("up")
    eventually(lambda: is_running(connection, "DROP INDEX CONCURRENTLY"))

    done = interrupt(process, signum)

    assert done.code == (-signum if signum is signal.SIGKILL else 128 + signum), done
    eventually(lambda: holder(connection) is None)
    other.execute("COMMIT")
    converge(project, connection, BUILD)


def test_while_it_waits_for_somebody_elses_build(project: Project, connection: Connection, other: Connection) -> None:
    """Nothing has to be cancelled."""
    kill(start_in(project, BUILD, connection, other))
    eventually(lambda: holder(connection) is None)
    other.execute("COMMIT")
    with other.transaction():
        # As a build, or VACUUM.
        other.execute("LOCK TABLE a IN SHARE UPDATE EXCLUSIVE MODE")
        process = project.start("up")
        eventually(lambda: holder(connection) is not None)
        eventually(lambda: value(connection, LOOKING) == 1)

        done = interrupt(process, signal.SIGTERM)

    assert (done.code, done.err.splitlines()[0]) == (143, "error: interrupted by SIGTERM"), done
    converge(project, connection, BUILD)


LOOKING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND position('ShareUpdateExclusiveLock' IN query) > 0"
)

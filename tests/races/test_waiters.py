"""Whoever waits for another run is told whom for, and decides how long."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from ..acceptance.programs import Project, applied, eventually, finish, is_running, sessions
from .cable import Cable
from .killed import BUILD, holder, kill, start_in

Connection = psycopg.Connection[TupleRow]


@pytest.fixture
def folder() -> Generator[Path]:
    """Give a folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.parametrize("wait", ["0", "2s"])
def test_a_run_that_gives_up_names_the_run_that_holds_the_lock(
    project: Project, connection: Connection, wait: str
) -> None:
    """With its migration, its process, where it comes from, and since when."""
    project.migration(1, "CREATE TABLE t1 ();\nSELECT pg_sleep(600);\n", name="long_one")
    process = project.start("up")
    eventually(lambda: is_running(connection, "pg_sleep(600)"))
    pid = holder(connection)

    done = project.run("up", "--lock-wait", wait)
    document = json.loads(project.run("up", "--lock-wait", wait, "--json").out.splitlines()[-1])

    kill(process)
    assert done.code == document["exit_code"] == 5
    for text in (done.err, f"{document['message']} {document['detail']}"):
        assert f"(process {pid})" in text
        assert "whimbrel: 1_long_one" in text
        assert "local socket" in text
        assert re.search(r"since .*\d\d:\d\d:\d\d", text)
    assert "--lock-wait" in done.err
    # Whoever has waited at all was told at once, and not only at the end.
    assert (f"waiting for whimbrel: 1_long_one (process {pid}, local socket)" in done.out) == (wait != "0")


def test_a_run_that_has_time_goes_on_when_the_other_is_done(
    project: Project, connection: Connection, other: Connection
) -> None:
    """It does what the other one left."""
    connection.execute("CREATE TABLE busy ()")
    project.migration(1, "CREATE TABLE t1 ();\nLOCK TABLE busy;\n")
    with other.transaction():
        other.execute("LOCK TABLE busy")
        first = project.start("up", "--lock-timeout", "10min")
        eventually(lambda: is_running(connection, "LOCK TABLE busy"))
        project.migration(2, "CREATE TABLE t2 ();\n")
        second = project.start("up", "--lock-wait", "30s")
        eventually(lambda: sessions(connection) == 2)
    ends = finish(first), finish(second)

    assert [(done.code, done.err) for done in ends] == [(0, ""), (0, "")], ends
    assert "✓ 000001_m1.up.sql" in ends[0].out
    assert "✓ 000002_m2.up.sql" in ends[1].out
    assert applied(connection) == [1, 2]


def test_a_holder_whose_end_the_server_has_not_noticed_is_named_and_not_waited_for_in_vain(
    project: Project, connection: Connection, other: Connection, folder: Path
) -> None:
    """As behind a cable that was pulled: the run is gone, and its connection looks open to the server."""
    assert project.database is not None
    with Cable(folder, project.database) as cable:
        through = Project(project.root, cable.dsn)
        process = start_in(through, BUILD, connection, other)
        pid = holder(connection)
        kill(process)

        done = project.run("up", "--lock-wait", "3s")

        assert done.code == 5, done
        assert f"another run holds the lock (process {pid})" in done.err
        assert holder(connection) == pid
        assert "interrupted at statement 1" in project.succeed("status")
    # The keepalives, or an administrator, have found it out.
    other.execute("COMMIT")
    project.succeed("up", "--lock-wait", "5min")
    assert applied(connection) == [1, 2]

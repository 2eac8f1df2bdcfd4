"""The ladder is climbed by whatever runs SQL: down, redo, force, seed, locks per transaction, autocommit files."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project, applied, value

from .remains import assert_untouched, columns, log
from .sessions import holding
from .watched import watching

Connection = psycopg.Connection[TupleRow]
UP = "ALTER TABLE busy ADD COLUMN more int;\n"
DOWN = "ALTER TABLE busy DROP COLUMN more;\n"
LOCKS = pytest.mark.parametrize("lock", ["session", "transaction"])


def hide(statement: str) -> str:
    """Return a statement that takes its locks where its text does not tell."""
    return f"DO $$ BEGIN EXECUTE '{statement.strip()}'; END $$;\n"


@LOCKS
@pytest.mark.parametrize("is_hidden", [False, True], ids=["seen", "hidden"])
@pytest.mark.parametrize(
    ("command", "steps", "left"),
    [
        (("up",), [2], ["id", "more"]),
        (("down", "--yes"), [1], ["id"]),
        (("redo", "--yes"), [1, 1], ["id", "more"]),
        (("force", "1"), [1], ["id", "more"]),
    ],
    ids=["up", "down", "redo", "force"],
)
def test_a_blocked_command_waits_and_then_does_what_it_does(
    project: Project,
    connection: Connection,
    dsn: str,
    busy: str,
    command: tuple[str, ...],
    steps: list[int],
    left: list[str],
    lock: str,
    is_hidden: bool,
) -> None:
    wrap = hide if is_hidden else str
    project.migration(1, wrap(UP.replace("COLUMN", "COLUMN IF NOT EXISTS")), wrap(DOWN))
    project.succeed("up")
    if command == ("up",):
        connection.execute(DOWN.encode())
        project.migration(2, wrap(UP))
    before = log(connection)
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, *command, "--lock", lock) as run:
        told = run.next("lock_awaited")
        assert (told["step"], told["timeout_ms"]) == (steps[0], 50 if is_hidden else None)
        # Who is in the way of a lock that the text does not tell is seen only in an attempt that waits long enough.
        assert [each["pid"] for each in told["blockers"]] in ([[holder.pid], []] if is_hidden else [[holder.pid]])
        assert log(connection) == before
        holder.end()
        ended = run.finish()
    assert (ended.code, ended.err, ended.steps) == (0, "", steps)
    assert columns(connection, busy) == left
    assert {outcome for _, _, outcome, _ in log(connection)} == {"succeeded"}
    assert len(log(connection)) == len(before) + len(steps)


@LOCKS
@pytest.mark.parametrize(("command", "version"), [(("down", "--yes"), 1), (("redo", "--yes"), 1), (("force", "1"), 1)])
def test_a_blocked_command_gives_up_and_leaves_everything(
    project: Project,
    connection: Connection,
    dsn: str,
    busy: str,
    command: tuple[str, ...],
    version: int,
    lock: str,
) -> None:
    project.migration(1, UP.replace("COLUMN", "COLUMN IF NOT EXISTS"), DOWN)
    project.succeed("up")
    with holding(dsn, "SELECT FROM busy") as holder:
        err = project.fail(5, *command, "--lock", lock, "--lock-budget", "1s")
        assert f"process {holder.pid}" in err
    assert (applied(connection), columns(connection, busy)) == ([version], ["id", "more"])
    action = "force" if command[0] == "force" else "down"
    assert log(connection) == [(1, "up", "succeeded", None), (1, action, "failed", "55P03")]


@LOCKS
@pytest.mark.parametrize("is_hidden", [False, True], ids=["seen", "hidden"])
def test_seeds(project: Project, connection: Connection, dsn: str, busy: str, lock: str, is_hidden: bool) -> None:
    """The second of three waits for a lock on the table; the first stays done, the third follows."""
    connection.execute("CREATE TABLE names (id int)")
    project.write("whimbrel.toml", 'seeds = "seeds"\n')
    project.write("seeds/1.sql", "INSERT INTO names VALUES (1);\n")
    statement = "TRUNCATE busy;\n"
    project.write("seeds/2.sql", hide(statement) if is_hidden else statement)
    project.write("seeds/3.sql", "INSERT INTO names VALUES (3);\n")
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "seed", "--lock", lock) as run:
        run.next("lock_awaited")
        assert value(connection, "SELECT array_agg(id) FROM names") == [1]
        holder.end()
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert value(connection, "SELECT array_agg(id ORDER BY id) FROM names") == [1, 3]
    assert value(connection, "SELECT count(*) FROM busy") == 0


@LOCKS
def test_while_it_pauses_nobody_has_to_wait_for_its_own_lock_for_ever(
    project: Project, connection: Connection, dsn: str, busy: str, lock: str
) -> None:
    """A second run waits as for any other, and finds that there is nothing left to do."""
    project.migration(1, UP)
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up", "--lock", lock) as first:
        first.next("lock_awaited")
        with watching(project, "up", "--lock", lock) as second:
            second.next("lock_held" if lock == "session" else "lock_awaited")
            holder.end()
            assert (first.finish().code, second.finish().code) == (0, 0)
    assert log(connection) == [(1, "up", "succeeded", None)]


@pytest.mark.parametrize("is_hidden", [False, True], ids=["seen", "hidden"])
def test_a_plain_statement_in_an_autocommit_file(
    project: Project, connection: Connection, dsn: str, busy: str, is_hidden: bool
) -> None:
    """What is before it is done and journalled, and not done again when it is tried again."""
    connection.execute("CREATE TABLE other (id int)")
    project.migration(
        1,
        "CREATE INDEX CONCURRENTLY other_id ON other (id);\n"
        f"{hide(UP) if is_hidden else UP}"
        "CREATE INDEX CONCURRENTLY busy_more ON busy (more);\n",
    )
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up") as run:
        told = run.next("lock_awaited")
        if not is_hidden:
            assert [each["pid"] for each in told["blockers"]] == [holder.pid]
        assert value(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'other_id'::regclass") is True
        assert applied(connection) == []
        holder.end()
        ended = run.finish()
    assert (ended.code, ended.err, ended.of("statement_skipped")) == (0, "", [])
    assert columns(connection, busy) == ["id", "more"]
    assert value(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'busy_more'::regclass") is True
    assert log(connection) == [(1, "up", "succeeded", None)]


def test_a_block_outside_a_transaction_that_leaves_nothing_when_it_fails_is_tried_again(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    project.migration(1, f"-- whimbrel: transaction = off\n{hide(UP)}")
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up") as run:
        run.next("lock_awaited")
        holder.end()
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert columns(connection, busy) == ["id", "more"]


def test_an_autocommit_file_is_given_up_and_goes_on_where_it_stopped(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    connection.execute("CREATE TABLE other (id int)")
    project.migration(1, f"CREATE INDEX CONCURRENTLY other_id ON other (id);\n{UP}")
    with holding(dsn, "SELECT FROM busy") as holder:
        err = project.fail(5, "up", "--lock-budget", "1s")
        assert f"process {holder.pid}" in err
        assert "statements before this one are done" in err
        assert_untouched(connection)
    with watching(project, "up") as run:
        ended = run.finish()
    assert (ended.code, [each["number"] for each in ended.of("statement_skipped")]) == (0, [1])
    assert columns(connection, busy) == ["id", "more"]
    assert log(connection) == [(1, "up", "failed", "55P03"), (1, "up", "succeeded", None)]


def test_a_rehearsal_waits_no_longer_than_one_attempt(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    """It keeps every lock up to its end: nothing is to be tried for ten minutes there."""
    project.migration(1, UP)
    with holding(dsn, "SELECT FROM busy"), watching(project, "up", "--rehearse") as run:
        ended = run.finish(30)
    assert ended.code == 5
    assert_untouched(connection)

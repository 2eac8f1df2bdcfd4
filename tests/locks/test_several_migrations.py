"""A blocked migration among others: those before it are committed, it alone is tried again, those behind it follow."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project, applied, eventually, tables, value

from .remains import assert_untouched, columns, is_free, log
from .sessions import holding
from .watched import watching

Connection = psycopg.Connection[TupleRow]
ALTER = "ALTER TABLE busy ADD COLUMN more int;\n"
HIDDEN = f"DO $$ BEGIN EXECUTE '{ALTER.strip()}'; END $$;\n"


@pytest.mark.parametrize("blocked", [ALTER, HIDDEN], ids=["seen", "hidden"])
def test_one_in_the_middle_is_tried_again_alone(
    project: Project, connection: Connection, dsn: str, busy: str, blocked: str
) -> None:
    for number in (1, 2, 4, 5):
        project.migration(number, f"CREATE TABLE t{number} (id int);\n")
    project.migration(3, f"CREATE TABLE t3 (id int);\n{blocked}")
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up") as run:
        assert run.next("lock_awaited")["step"] == 3
        # What is before it is committed, and of itself nothing is there.
        assert applied(connection) == [1, 2]
        assert tables(connection) == ["busy", "t1", "t2"]
        holder.end()
        ended = run.finish()
    assert (ended.code, ended.err, ended.steps) == (0, "", [1, 2, 3, 4, 5])
    assert [each["step"] for each in ended.of("step_started")] == [1, 2, 3, 4, 5]
    assert {each["step"] for each in ended.of("lock_awaited")} == {3}
    assert tables(connection) == ["busy", "t1", "t2", "t3", "t4", "t5"]
    assert log(connection) == [(number, "up", "succeeded", None) for number in range(1, 6)]


@pytest.mark.parametrize("blocked", [ALTER, HIDDEN], ids=["seen", "hidden"])
def test_what_is_behind_the_one_that_is_given_up_is_not_begun(
    project: Project, connection: Connection, dsn: str, busy: str, blocked: str
) -> None:
    project.three_tables()
    project.migration(2, f"CREATE TABLE t2 (id int);\n{blocked}")
    with holding(dsn, "SELECT FROM busy"), watching(project, "up", "--lock-budget", "1s") as run:
        ended = run.finish()
        assert ended.code == 5
        assert_untouched(connection, versions=(1,))
    assert (ended.steps, ended.of("run_finished")[0]["remaining"]) == ([1], 2)
    assert tables(connection) == ["busy", "t1"]
    assert log(connection) == [(1, "up", "succeeded", None), (2, "up", "failed", "55P03")]
    project.succeed("up")
    assert applied(connection) == [1, 2, 3]


def test_two_blocked_by_different_sessions(project: Project, connection: Connection, dsn: str, busy: str) -> None:
    connection.execute("CREATE TABLE other (id int)")
    project.migration(1, ALTER)
    project.migration(2, "ALTER TABLE other ADD COLUMN more int;\n")
    with (
        holding(dsn, "SELECT FROM busy", application="first") as first,
        holding(dsn, "SELECT FROM other", application="second") as second,
        watching(project, "up") as run,
    ):
        told = run.next("lock_awaited")
        assert (told["step"], [each["application"] for each in told["blockers"]]) == (1, ["first"])
        first.end()
        told = run.next("lock_awaited", lambda event: event["step"] == 2)
        assert [each["application"] for each in told["blockers"]] == ["second"]
        assert (applied(connection), columns(connection, busy)) == ([1], ["id", "more"])
        second.end()
        ended = run.finish()
    assert (ended.code, ended.steps) == (0, [1, 2])


def test_each_migration_has_the_whole_budget(project: Project, connection: Connection, dsn: str, busy: str) -> None:
    """The first uses up nearly all of its own; the second starts with one of its own."""
    connection.execute("CREATE TABLE other (id int)")
    project.migration(1, ALTER)
    project.migration(2, "ALTER TABLE other ADD COLUMN more int;\n")
    with (
        holding(dsn, "SELECT FROM busy") as first,
        holding(dsn, "SELECT FROM other") as second,
        watching(project, "up", "--lock-budget", "1min") as run,
    ):
        run.next("lock_awaited")
        value(connection, "SELECT pg_sleep(1.5)")
        first.end()
        told = run.next("lock_awaited", lambda event: event["step"] == 2)
        assert told["budget_ms"] > 59_000
        second.end()
        assert run.finish().code == 0


def test_tables_that_the_run_makes_itself_need_no_care(project: Project, connection: Connection, dsn: str) -> None:
    """Nobody else can have them: the whole run is one batch, whatever it does to them."""
    project.migration(1, "CREATE TABLE a (id int);\nALTER TABLE a ADD COLUMN more int;\n")
    project.migration(2, "ALTER TABLE a ADD COLUMN text text;\nCREATE INDEX ON a (id);\n")
    project.migration(3, "DROP TABLE a;\n")
    with holding(dsn, "CREATE TABLE elsewhere (id int)"), watching(project, "up") as run:
        ended = run.finish()
    assert (ended.code, ended.err, ended.of("lock_awaited")) == (0, "", [])


def test_copied_rows_are_there_once_after_several_attempts(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    rows = "".join(f"{number}\n" for number in range(5000))
    project.migration(1, f"CREATE TABLE t1 (id int);\nCOPY t1 FROM stdin;\n{rows}\\.\n{HIDDEN}")
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up") as run:
        run.next("lock_awaited", lambda event: event["attempt"] == 2)
        assert tables(connection) == ["busy"]
        holder.end()
        assert run.finish().code == 0
    assert value(connection, "SELECT count(*) || ' ' || sum(id) FROM t1") == f"5000 {sum(range(5000))}"


def test_rows_are_copied_into_the_blocked_table_itself(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    project.migration(1, "COPY busy FROM stdin;\n11\n12\n\\.\n" + ALTER)
    with holding(dsn, "LOCK TABLE busy IN SHARE MODE") as holder, watching(project, "up") as run:
        run.next("lock_awaited")
        holder.end()
        assert run.finish().code == 0
    assert value(connection, "SELECT count(*) FROM busy WHERE more IS NULL") == 12


@pytest.mark.parametrize(
    "migration",
    [
        "SET search_path = app;\nALTER TABLE orders ADD COLUMN more int;\n",
        "SET LOCAL search_path TO app, public;\nALTER TABLE orders ADD COLUMN more int;\n",
        "SET SCHEMA 'app';\nALTER TABLE orders ADD COLUMN more int;\n",
        "SELECT set_config('search_path', 'app', false);\nALTER TABLE orders ADD COLUMN more int;\n",
        "ALTER TABLE app.orders ADD COLUMN more int;\n",
        'ALTER TABLE ONLY "app"."orders" ADD COLUMN more int;\n',
        "DO $$ BEGIN ALTER TABLE app.orders ADD COLUMN more int; END $$;\n",
    ],
)
def test_the_blocker_is_named_whichever_way_the_file_names_the_table(
    project: Project, connection: Connection, dsn: str, migration: str
) -> None:
    """Another table of the same name, which somebody else has, is not taken for it."""
    connection.execute("CREATE SCHEMA app; CREATE TABLE app.orders (id int); CREATE TABLE orders (id int)")
    project.migration(1, migration)
    with (
        holding(dsn, "SELECT FROM app.orders", application="in the way") as holder,
        holding(dsn, "SELECT FROM public.orders", application="elsewhere"),
        watching(project, "up") as run,
    ):
        told = run.next("lock_awaited", lambda event: bool(event["blockers"]))
        assert [each["application"] for each in told["blockers"]] == ["in the way"]
        assert columns(connection, "app.orders") == ["id"]
        holder.end()
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert columns(connection, "app.orders") == ["id", "more"]
    assert columns(connection, "public.orders") == ["id"]


def test_attempts_whose_lock_is_hidden_name_the_blocker_in_the_end(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    project.migration(
        1, f"CREATE FUNCTION go() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {ALTER} END $$;\nSELECT go();\n"
    )
    with holding(dsn, "SELECT FROM busy") as holder, watching(project, "up", "--lock-budget", "1s") as run:
        ended = run.finish()
        assert ended.code == 5
        assert_untouched(connection)
    assert f"process {holder.pid}" in ended.error["detail"]
    assert ended.error["position"]["line"] == 3


def test_a_hidden_lock_beside_one_that_is_seen_has_its_blocker_named(
    project: Project, connection: Connection, dsn: str, busy: str
) -> None:
    """Nobody has the table that the text tells; the error is not to say that it was that one."""
    connection.execute("CREATE TABLE other (id int)")
    project.migration(1, f"{ALTER}DO $$ BEGIN ALTER TABLE other ADD COLUMN more int; END $$;\n")
    with holding(dsn, "SELECT FROM other") as holder, watching(project, "up", "--lock-budget", "3s") as run:
        ended = run.finish()
        assert ended.code == 5
        assert_untouched(connection)
    assert f"process {holder.pid}" in ended.error["detail"]
    assert "lock on busy" not in ended.error["message"]
    assert ended.error["position"]["line"] == 2


@pytest.mark.parametrize(
    ("made", "held", "migration"),
    [
        ("CREATE TABLE child (id int REFERENCES busy)", "busy", "DROP TABLE child;\n"),
        ("SELECT 1", "busy", "CREATE TABLE child (id int REFERENCES busy);\n"),
        (
            "CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)",
            "p1",
            "ALTER TABLE p ADD COLUMN more int;\n",
        ),
        ("CREATE INDEX busy_idx ON busy (id)", "busy", "DROP INDEX busy_idx;\n"),
        ("CREATE VIEW v AS SELECT id FROM busy", "v", "DROP VIEW v;\n"),
        ("CREATE SCHEMA app; CREATE TABLE app.t (id int)", "app.t", "DROP SCHEMA app CASCADE;\n"),
    ],
    ids=["referenced", "references", "partition", "index", "view", "schema"],
)
def test_a_lock_on_a_table_that_the_statement_does_not_name(
    project: Project, connection: Connection, dsn: str, busy: str, made: str, held: str, migration: str
) -> None:
    """Whether it is foreseen or found out by attempts: the run waits, tells for whom, and ends well."""
    connection.execute(made.encode())
    project.migration(1, migration)
    with (
        holding(dsn, f"LOCK TABLE {held} IN ROW EXCLUSIVE MODE") as holder,
        watching(project, "up") as run,
    ):
        told = run.next("lock_awaited", lambda event: bool(event["blockers"]))
        assert [each["pid"] for each in told["blockers"]] == [holder.pid]
        assert applied(connection) == []
        holder.end()
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    eventually(lambda: is_free(connection))

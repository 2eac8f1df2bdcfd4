"""`whimbrel backfill`: what it takes, says and exits with."""

from __future__ import annotations

import json
import signal

import psycopg
import pytest

from ..acceptance.programs import Project, eventually, interrupt
from .conftest import SLOW, STATEMENT, Connection, counts, done, make_table


def test_a_file_is_run_in_batches(project: Project, connection: Connection) -> None:
    make_table(connection, 100)
    project.write("fill.sql", f"-- Fill it.\n{STATEMENT}; -- done\n")
    out = project.succeed("backfill", "fill.sql", "--batch", "40")
    assert out.splitlines()[-1].startswith("Done: 100 rows of public.t changed in 3 batches (")
    assert counts(connection) == [(1, 100)]
    assert project.succeed("backfill", "fill.sql", "--quiet") == ""


def test_json_tells_each_event_and_then_the_result(project: Project, connection: Connection) -> None:
    make_table(connection, 100)
    project.write("fill.sql", STATEMENT)
    documents = [json.loads(line) for line in project.succeed("backfill", "fill.sql", "--json").splitlines()]
    assert {each["whimbrel"] for each in documents[:-1]} == {"backfill_advanced"}
    assert documents[0]["step"] is None
    last = documents[-1]
    assert (last["whimbrel"], last["table"], last["changed"], last["walks"], last["batches"]) == (
        "backfilled",
        "public.t",
        100,
        1,
        1,
    )


def test_the_annotation_counts_and_options_count_more(project: Project, connection: Connection) -> None:
    make_table(connection, 100)
    connection.execute("ALTER TABLE t ADD COLUMN other bigint NOT NULL UNIQUE GENERATED ALWAYS AS (-id) STORED")
    project.write("fill.sql", f"-- whimbrel: backfill = public.t by id batch = 10\n{STATEMENT};\n")
    assert "in 5 batches" in project.succeed("backfill", "fill.sql", "--batch", "20", "--by", "other")
    assert connection.execute("SELECT key FROM schema_migrations_backfill").fetchone() == (["other"],)
    connection.execute("UPDATE t SET done = false")
    assert "in 10 batches" in project.succeed("backfill", "fill.sql")


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("UPDATE t SET n = 1", (), "fill.sql:1:1: statement without a WHERE clause"),
        ("SELECT 1", (), "fill.sql:1:1: only an UPDATE or DELETE"),
        ("", (), "fill.sql: no statement"),
        ("DELETE FROM t WHERE done;\nDELETE FROM t WHERE done;", (), "fill.sql:2:1: a backfill is one statement"),
        ("BEGIN; DELETE FROM t WHERE done; COMMIT;", (), "Give each a file of its own, without BEGIN and COMMIT"),
        (
            "-- whimbrel: lock_budget = 1s\nDELETE FROM t WHERE done",
            (),
            'fill.sql:1:1: only the annotation "backfill" has a meaning here',
        ),
        (STATEMENT, ("--table", "other"), "and other is named"),
        (STATEMENT, ("--table", "a b"), '"a b" is no name of a table'),
        (STATEMENT, ("--by", "a b"), '"a b" is no list of columns'),
        (STATEMENT, ("--by", "done"), 'sets column "done"'),
        (STATEMENT, ("--batch", "many"), 'a batch cannot be "many"'),
        (STATEMENT, ("--batch", "50001"), "a batch has 1 to 50,000 rows"),
        (STATEMENT, ("--max-lag", "often"), 'a lag cannot be "often"'),
        (STATEMENT, ("--max-lag", "5 parsecs"), 'a lag cannot be "5 parsecs"'),
        (STATEMENT, ("--lock", "transaction"), 'cannot run with lock = "transaction"'),
    ],
)
def test_what_cannot_be_is_refused_with_exit_code_2(
    project: Project, connection: Connection, text: str, words: tuple[str, ...], message: str
) -> None:
    make_table(connection, 3)
    project.write("fill.sql", text)
    assert message in project.fail(2, "backfill", "fill.sql", *words)
    assert counts(connection) == [(0, 3)]


def test_without_a_file(project: Project) -> None:
    assert "argument FILE is missing" in project.fail(2, "backfill")
    assert "leave out FILE" in project.fail(2, "backfill", "fill.sql", "--status")
    assert "fill.sql: no such file or directory" in project.fail(2, "backfill", "fill.sql")


def test_an_error_of_the_server_exits_with_1(project: Project, connection: Connection) -> None:
    make_table(connection, 3)
    project.write("fill.sql", "UPDATE t SET n = 1, done = true\nWHERE nonsense IS NULL;\n")
    assert 'fill.sql:2:7: column "nonsense" does not exist' in project.fail(1, "backfill", "fill.sql")


def test_a_row_that_somebody_keeps_exits_with_5(project: Project, connection: Connection, dsn: str) -> None:
    make_table(connection, 3)
    project.write("fill.sql", STATEMENT)
    with psycopg.connect(dsn) as other:
        other.execute("SELECT FROM t WHERE id = 1 FOR UPDATE")
        told = project.fail(5, "backfill", "fill.sql", "--lock-budget", "1s")
    assert "backfill of public.t got no further for" in told
    assert "Run the same command again: it goes on at the cursor." in told


def test_where_there_is_no_server_it_exits_with_8(project: Project) -> None:
    project.write("fill.sql", STATEMENT)
    project.fail(8, "backfill", "fill.sql", "--database", "host=/nonexistent dbname=x")


def test_the_status_shows_what_was_begun(project: Project, connection: Connection) -> None:
    make_table(connection, 600)
    assert project.succeed("backfill", "--status") == "No backfill was ever begun here.\n"
    assert json.loads(project.succeed("backfill", "--status", "--json"))["backfills"] == []
    project.write("slow.sql", SLOW)
    process = project.start("backfill", "slow.sql", "--batch", "50")
    eventually(lambda: done(connection) >= 100)
    interrupt(process, signal.SIGTERM)
    walked = done(connection)
    (line,) = project.succeed("backfill", "--status").splitlines()
    extent = f"{walked} of about 600 rows walked ({walked // 6} %), {walked} rows changed, last batch at 2"
    assert line.startswith(f"○ public.t  slow.sql  {extent}")
    project.succeed("backfill", "slow.sql")
    (line,) = project.succeed("backfill", "--status").splitlines()
    assert line.startswith("✓ public.t  slow.sql  600 rows changed, done at 2")
    (shown,) = json.loads(project.succeed("backfill", "--status", "--json"))["backfills"]
    assert (shown["file"], shown["table"], shown["by"], shown["changed"], shown["migration"]) == (
        "slow.sql",
        "public.t",
        ["id"],
        600,
        None,
    )


def test_the_status_changes_nothing(project: Project, connection: Connection) -> None:
    project.succeed("backfill", "--status")
    assert connection.execute("SELECT to_regclass('schema_migrations_backfill')").fetchone() == (None,)

"""down: what it undoes, what it says first, and what stops it before anything is undone."""

from __future__ import annotations

import psycopg
from psycopg.rows import TupleRow

from .programs import Project, applied, tables

Connection = psycopg.Connection[TupleRow]


def test_down_undoes_the_last_migration(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.succeed("up")
    assert project.succeed("down", "--yes").endswith("Undid 1 migration.\n")
    assert applied(connection) == [1, 2]


def test_down_1_stops_at_1(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.succeed("up")
    project.succeed("down", "1", "--yes")
    assert (applied(connection), tables(connection)) == ([1], ["t1"])
    assert project.succeed("down", "1", "--yes") == "Nothing to undo.\n"


def test_down_0_undoes_everything(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.succeed("up")
    project.succeed("down", "0", "--yes")
    assert (applied(connection), tables(connection)) == ([], [])
    assert project.succeed("down", "--yes") == "Nothing to undo.\n"


def test_down_before_anything_was_applied_changes_nothing(project: Project, connection: Connection) -> None:
    project.three_tables()
    for version in ((), ("0",), ("2",)):
        assert project.succeed("down", *version, "--yes") == "Nothing to undo.\n"
    assert applied(connection) == []


def test_down_undoes_in_the_reverse_order_of_application(project: Project, connection: Connection) -> None:
    project.three_tables()
    late = project.migrations / "000002_m2.up.sql"
    text, down = late.read_text(), late.with_name("000002_m2.down.sql").read_text()
    late.unlink()
    late.with_name("000002_m2.down.sql").unlink()
    project.succeed("up")
    project.migration(2, text, down)
    project.succeed("up")
    project.succeed("down", "--yes")
    assert applied(connection) == [1, 3]


def test_the_plan_of_a_down_names_each_table_with_its_rows(project: Project, connection: Connection) -> None:
    project.migration(
        1,
        "CREATE SCHEMA s; CREATE TABLE s.a (id int); CREATE TABLE s.b (id int, note text);",
        "DROP SCHEMA s CASCADE;",
    )
    project.migration(2, "CREATE TABLE t2 (id int); CREATE TABLE kept (id int);", "DROP TABLE IF EXISTS t2, nothing;")
    project.migration(3, "ALTER TABLE kept ADD COLUMN extra int;", "ALTER TABLE kept DROP COLUMN extra;")
    project.succeed("up")
    connection.execute("INSERT INTO s.a SELECT generate_series(1, 1234)")
    connection.execute("INSERT INTO t2 VALUES (1)")
    assert project.succeed("down", "0", "--plan") == (
        "000003_m3.down.sql  (in one transaction)\n"
        "      1  ALTER TABLE kept DROP COLUMN extra\n"
        "  drops  kept, column extra (0 rows)\n"
        "000002_m2.down.sql  (in one transaction)\n"
        "      1  DROP TABLE IF EXISTS t2, nothing\n"
        "  drops  t2 (1 row)\n"
        "000001_m1.down.sql  (in one transaction)\n"
        "      1  DROP SCHEMA s CASCADE\n"
        "  drops  s.a (1,234 rows)\n"
        "  drops  s.b (0 rows)\n"
    )
    assert applied(connection) == [1, 2, 3]


def test_without_a_terminal_down_says_what_would_go_and_asks_for_yes(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.succeed("up")
    connection.execute("INSERT INTO t3 VALUES (1), (2)")
    for command in (("down",), ("redo",)):
        done = project.run(*command)
        assert done.code == 2
        assert done.err == ("error: this has to be confirmed, and there is no terminal to ask on\nHint: Add --yes.\n")
        assert ": 1 migration to undo: 000003_m3.down.sql\n  drops  t3 (2 rows)\n" in done.out
    assert applied(connection) == [1, 2, 3]


def test_redo_where_nothing_is_applied_does_not_ask(project: Project) -> None:
    project.three_tables()
    assert project.fail(2, "redo") == "error: nothing is applied\n"


def test_a_missing_down_stops_the_run_before_anything_is_undone(project: Project, connection: Connection) -> None:
    project.three_tables()
    (project.migrations / "000002_m2.down.sql").unlink()
    project.succeed("up")
    error = "error: version 2 (m2) has no down file\nHint: Write migrations/000002_m2.down.sql.\n"
    for command in (("down", "0", "--yes"), ("down", "0", "--plan"), ("redo", "2", "--yes")):
        assert project.fail(2, *command) == error
    assert (applied(connection), tables(connection)) == ([1, 2, 3], ["t1", "t2", "t3"])


def test_a_down_that_does_not_parse_stops_the_run_before_anything_is_undone(
    project: Project, connection: Connection
) -> None:
    project.three_tables()
    project.succeed("up")
    project.migration(2, "CREATE TABLE t2 (id int);\n", "DORP TABLE t2;\n")
    assert project.fail(2, "down", "0", "--yes") == (
        'error: migrations/000002_m2.down.sql:1:1: syntax error at or near "DORP"\n'
        "    DORP TABLE t2;\n"
        "    ^\n"
        "Detail: Nothing was undone.\n"
    )
    assert applied(connection) == [1, 2, 3]


def test_an_irreversible_migration_says_why_and_nothing_is_undone(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.migration(2, "CREATE TABLE t2 (id int);\n", "-- whimbrel: irreversible = the ids were reused\n")
    project.succeed("up")
    assert project.fail(2, "down", "1", "--yes") == (
        "error: migrations/000002_m2.down.sql: version 2 cannot be undone: the ids were reused\n"
        "Hint: Nothing was undone. Restore a backup, or write a new migration that goes forward.\n"
    )
    assert applied(connection) == [1, 2, 3]


def test_a_down_that_fails_leaves_its_migration_applied(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.migration(2, "CREATE TABLE t2 (id int);\n", "DROP TABLE t2;\nDROP TABLE nothing;\n")
    project.succeed("up")
    done = project.run("down", "0", "--yes")
    assert done.code == 1
    assert done.err == (
        'error: migrations/000002_m2.down.sql:2:1: table "nothing" does not exist\n    DROP TABLE nothing;\n    ^\n'
    )
    assert done.out.endswith("✗ 000002_m2.down.sql\n1 done before the error, 1 not begun.\n")
    assert (applied(connection), tables(connection)) == ([1, 2], ["t1", "t2"])


def test_the_stored_down_is_used_where_the_files_are_gone(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.succeed("up")
    for path in project.migrations.glob("*_m3.*"):
        path.unlink()
    done = project.run("status")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("✓ 000003_m3.up.sql (applied, file missing)\n")
    plan = project.succeed("down", "--plan")
    assert plan.startswith("3_m3.down.sql (stored)  (in one transaction)\n") or "(stored)" in plan
    project.succeed("down", "--yes")
    assert (applied(connection), tables(connection)) == ([1, 2], ["t1", "t2"])


def test_a_version_that_is_none_undoes_nothing(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.succeed("up")
    assert project.fail(2, "down", "7", "--yes") == (
        "error: there is no version 7\nHint: The newest versions are: 1, 2, 3.\n"
    )
    assert project.fail(2, "down", "all", "--yes") == (
        'error: "all" is not a version, which is the number that a file name begins with\n'
        "Hint: See: whimbrel down --help\n"
    )
    assert applied(connection) == [1, 2, 3]

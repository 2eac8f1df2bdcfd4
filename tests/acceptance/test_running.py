"""up, redo, force, seed, create, baseline, repair: what they do and say when all is well."""

from __future__ import annotations

import re

import psycopg
from psycopg.rows import TupleRow

from .programs import Project, applied, tables, value

Connection = psycopg.Connection[TupleRow]


def plain(text: str) -> str:
    """Replace what differs from run to run: durations, and how the database is named."""
    text = re.sub(r"\d+(?:\.\d)? (?:ms|s)\b", "N ms", text)
    return re.sub(r'^"throwaway_\w+" on .*, PostgreSQL .*$', "DATABASE", text, flags=re.MULTILINE)


def test_up_tells_each_migration_and_how_long_it_took(project: Project, connection: Connection) -> None:
    project.three_tables()
    assert plain(project.succeed("up")) == (
        "DATABASE\n"
        "✓ 000001_m1.up.sql (N ms)\n"
        "✓ 000002_m2.up.sql (N ms)\n"
        "✓ 000003_m3.up.sql (N ms)\n"
        "Applied 3 migrations.\n"
    )
    assert (applied(connection), tables(connection)) == ([1, 2, 3], ["t1", "t2", "t3"])
    assert project.succeed("up") == "Nothing to do: everything is applied.\n"


def test_up_to_a_version_stops_behind_it(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.succeed("up", "--to", "2")
    assert applied(connection) == [1, 2]
    assert project.succeed("up", "--to", "2") == "Nothing to do: everything up to version 2 is applied.\n"


def test_the_plan_of_an_up_shows_its_statements_and_changes_nothing(project: Project, connection: Connection) -> None:
    project.migration(1, "-- A table.\nCREATE TABLE t1 (\n    id int\n);\n\nINSERT INTO t1 VALUES (1);\n")
    project.migration(2, "CREATE INDEX CONCURRENTLY i ON t1 (id);\n")
    assert project.succeed("up", "--plan") == (
        "000001_m1.up.sql  (in one transaction)\n"
        "      2  CREATE TABLE t1 ( id int )\n"
        "      6  INSERT INTO t1 VALUES (1)\n"
        "000002_m2.up.sql  (statement by statement, no transaction)\n"
        "      1  CREATE INDEX CONCURRENTLY i ON t1 (id)\n"
    )
    assert (applied(connection), tables(connection)) == ([], [])


def test_a_rehearsal_runs_everything_and_keeps_nothing(project: Project, connection: Connection) -> None:
    project.three_tables()
    assert plain(project.succeed("up", "--rehearse")).endswith("Rehearsed 3 migrations; nothing was changed.\n")
    assert (applied(connection), tables(connection)) == ([], [])
    assert value(connection, "SELECT to_regclass('schema_migrations')") is None


def test_a_rehearsal_finds_the_statement_that_would_fail(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.migration(2, "SELECT 1;\nSELECT nonsense;\n")
    assert project.fail(1, "up", "--rehearse") == (
        'error: migrations/000002_m2.up.sql:2:8: column "nonsense" does not exist\n    SELECT nonsense;\n           ^\n'
    )
    assert tables(connection) == []


def test_the_first_statement_that_fails_ends_the_run(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.migration(2, "CREATE TABLE t2 (id int);\nINSERT INTO t2 VALUES ('x');\n", "DROP TABLE t2;\n")
    done = project.run("up")
    assert done.code == 1
    assert plain(done.out) == (
        "DATABASE\n✓ 000001_m1.up.sql (N ms)\n✗ 000002_m2.up.sql\n1 done before the error, 1 not begun.\n"
    )
    assert done.err == (
        'error: migrations/000002_m2.up.sql:2:24: invalid input syntax for type integer: "x"\n'
        "    INSERT INTO t2 VALUES ('x');\n"
        "                           ^\n"
    )
    assert (applied(connection), tables(connection)) == ([1], ["t1"])
    project.migration(2, "CREATE TABLE t2 (id int);\n", "DROP TABLE t2;\n")
    assert plain(project.succeed("up")).endswith("Applied 2 migrations.\n")


def test_a_migration_merged_late_is_applied_and_said_to_be_late(project: Project, connection: Connection) -> None:
    project.three_tables()
    late = (project.migrations / "000002_m2.up.sql").rename(project.root / "late.sql")
    down = (project.migrations / "000002_m2.down.sql").rename(project.root / "late.down.sql")
    project.succeed("up")
    late.rename(project.migrations / "000002_m2.up.sql")
    down.rename(project.migrations / "000002_m2.down.sql")
    refusal = {"WHIMBREL_OUT_OF_ORDER": "refuse"}
    assert project.fail(7, "up", variables=refusal) == (
        "error: pending migration 2 (m2) is below the newest applied version\n"
        'Hint: Give it a higher number, or set out_of_order = "apply".\n'
    )
    assert applied(connection) == [1, 3]
    assert project.succeed("status") == (
        "✓ 000001_m1.up.sql (applied)\n○ 000002_m2.up.sql (pending, out of order)\n✓ 000003_m3.up.sql (applied)\n"
    )
    assert "✓ 000002_m2.up.sql (out of order, N ms)\n" in plain(project.succeed("up"))


def test_redo_undoes_a_migration_and_applies_it_again(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.succeed("up")
    connection.execute("INSERT INTO t3 VALUES (1)")
    announcement, _, rest = plain(project.succeed("redo", "--yes")).partition("DATABASE\n")
    assert announcement.endswith(": 1 migration to undo: 000003_m3.down.sql\n  drops  t3 (1 row)\n")
    assert rest == "↩ 000003_m3.down.sql (N ms)\n✓ 000003_m3.up.sql (N ms)\nVersion 3 is applied again.\n"
    assert value(connection, "SELECT count(*) FROM t3") == 0


def test_force_runs_a_script_again_or_leaves_everything_as_it_was(project: Project, connection: Connection) -> None:
    project.migration(1, "CREATE TABLE IF NOT EXISTS t1 (id int);\n")
    project.migration(2, "CREATE TABLE t2 (id int);\n")
    project.succeed("up")
    connection.execute("DROP TABLE t1")
    assert plain(project.succeed("force", "1")).endswith("Version 1 was run again.\n")
    assert tables(connection) == ["t1", "t2"]
    assert project.fail(1, "force", "2") == (
        'error: migrations/000002_m2.up.sql:1:1: relation "t2" already exists\n    CREATE TABLE t2 (id int);\n    ^\n'
    )
    assert applied(connection) == [1, 2]


def test_seeds_run_in_the_order_of_their_names(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.succeed("up")
    project.write("data/02.sql", "INSERT INTO t1 SELECT max(id) + 1 FROM t1;\n")
    project.write("data/01.sql", "INSERT INTO t1 VALUES (1);\n")
    assert plain(project.succeed("seed", "--seeds", "data")) == (
        "DATABASE\n✓ 01.sql (N ms)\n✓ 02.sql (N ms)\nRan 2 seed files.\n"
    )
    assert value(connection, "SELECT array_agg(id ORDER BY id) FROM t1") == [1, 2]


def test_baseline_records_without_running(project: Project, connection: Connection) -> None:
    project.three_tables()
    assert project.succeed("baseline", "2") == "Recorded 2 migrations as applied; nothing was run.\n"
    assert (applied(connection), tables(connection)) == ([1, 2], [])
    assert project.succeed("baseline", "2") == "Nothing to record: everything up to version 2 is applied.\n"


def test_repair_accepts_a_changed_file(project: Project) -> None:
    project.three_tables()
    project.succeed("up")
    project.migration(2, "CREATE TABLE t2 (id bigint);\n", "DROP TABLE t2;\n")
    assert project.fail(6, "up") == (
        "error: applied migration 2 (m2) was changed since\n"
        "Hint: Undo the change and write a new migration; or, if the database is right, run: whimbrel repair\n"
    )
    assert project.fail(6, "status", "--check") == ""
    assert "✓ 000002_m2.up.sql (applied, modified since)\n" in project.succeed("status")
    assert project.succeed("repair") == "✓ migrations/000002_m2.up.sql\nAccepted 1 file.\n"
    assert project.succeed("repair") == "Nothing to repair.\n"
    assert project.succeed("up") == "Nothing to do: everything is applied.\n"


def test_create_makes_the_next_pair_of_files(project: Project) -> None:
    assert project.succeed("create", "Add last active!") == (
        "migrations/000001_add_last_active.up.sql\nmigrations/000001_add_last_active.down.sql\n"
    )
    assert project.succeed("create", "größe") == "migrations/000002_größe.up.sql\nmigrations/000002_größe.down.sql\n"
    made = project.succeed("create", "later", "--timestamp").splitlines()
    assert re.fullmatch(r"migrations/20\d{12}_later\.up\.sql", made[0])
    text = (project.migrations / "000001_add_last_active.up.sql").read_text()
    assert text == "-- Add last active.\n\n"
    assert project.succeed("up", "--plan").count("up.sql") == 3


def test_create_needs_no_database_and_overwrites_nothing(project: Project) -> None:
    nowhere = {"DATABASE_URL": "postgresql://localhost:1/nothing"}
    project.succeed("create", "one", variables=nowhere)
    project.write("migrations/000002_two.down.sql", "precious")
    assert project.fail(2, "create", "two", variables=nowhere) == (
        "error: migrations/000002_two.down.sql: down file without its up file\n"
        "Hint: Restore 000002_two.up.sql, or remove this file.\n"
    )
    assert (project.migrations / "000002_two.down.sql").read_text() == "precious"
    assert project.fail(2, "create", "?!") == ('error: "?!" has no letter or digit that a file name could have\n')


def test_create_refuses_a_number_beyond_bigint(project: Project) -> None:
    project.write("migrations/9223372036854775807_last.up.sql", "SELECT 1;\n")
    assert project.fail(2, "create", "next") == (
        "error: version 9223372036854775808 is larger than bigint allows\n"
        "Hint: The largest version is 9223372036854775807.\n"
    )
    assert len(list(project.migrations.iterdir())) == 1


def test_quiet_is_silent_unless_something_is_wrong(project: Project) -> None:
    project.three_tables()
    for command in (("up",), ("status",), ("redo", "--yes"), ("down", "--yes"), ("baseline", "3"), ("repair",)):
        assert project.succeed(*command, "--quiet") == ""
    assert project.run("up", "--to", "9", "--quiet").err != ""


def test_dollar_quotes_copy_data_and_functions_run_as_in_psql(project: Project, connection: Connection) -> None:
    project.migration(
        1,
        "BEGIN;\n"
        "CREATE TABLE t1 (id int, name text);\n"
        "COPY t1 FROM stdin;\n1\tOne; two\n2\t\\N\n\\.\n"
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; -- ;\n END $$;\n"
        "COMMIT;\n",
    )
    project.succeed("up")
    assert value(connection, "SELECT count(*) FROM t1 WHERE name = 'One; two' OR name IS NULL") == 2


def test_notices_of_the_server_are_shown(project: Project) -> None:
    project.migration(1, "DO $$ BEGIN RAISE NOTICE 'three rows moved'; RAISE WARNING 'look at this'; END $$;\n")
    out = project.succeed("up")
    assert "  NOTICE: three rows moved\n" in out
    assert "  WARNING: look at this\n" in out

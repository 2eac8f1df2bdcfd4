"""What users of other tools complained about: files, their order, and what stands in them."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import TupleRow

from .programs import Project, applied, tables, value

Connection = psycopg.Connection[TupleRow]


def test_a_check_at_the_end_of_a_file_undoes_the_whole_file(project: Project, connection: Connection) -> None:
    """It runs before the COMMIT, so there is nothing to roll back by hand."""
    project.migration(
        1,
        "CREATE TABLE accounts (id int, email text);\n"
        "INSERT INTO accounts VALUES (1, 'a@example.com'), (2, 'a@example.com');\n"
        "DO $$\nBEGIN\n"
        "    IF (SELECT count(*) <> count(DISTINCT email) FROM accounts) THEN\n"
        "        RAISE EXCEPTION 'an address belongs to two accounts';\n"
        "    END IF;\nEND $$;\n",
    )

    error = project.fail(1, "up")

    assert error.startswith("error: migrations/000001_m1.up.sql:3:1: an address belongs to two accounts\n")
    assert (applied(connection), tables(connection)) == ([], [])


def test_a_version_with_a_digit_too_many_hides_nothing_that_comes_later(
    project: Project, connection: Connection
) -> None:
    """It is the newest for ever, and every later file is applied all the same."""
    project.migration(20240301120000, "CREATE TABLE t1 (id int);\n")
    project.migration(202403021200000, "CREATE TABLE t2 (id int);\n")
    project.succeed("up")
    project.migration(20240303120000, "CREATE TABLE t3 (id int);\n")

    out = project.succeed("up")

    assert "✓ 20240303120000_m20240303120000.up.sql (out of order" in out
    assert applied(connection) == [20240301120000, 20240303120000, 202403021200000]


def test_many_files_can_be_replaced_by_one(project: Project, connection: Connection, dsn: str) -> None:
    """Where it all exists the one is recorded and not run; an empty database gets the one."""
    project.three_tables()
    project.succeed("up")
    for path in project.migrations.iterdir():
        path.unlink()
    project.migration(
        4, "CREATE TABLE t1 (id int);\nCREATE TABLE t2 (id int);\nCREATE TABLE t3 (id int);\n", name="all"
    )

    project.succeed("baseline", "4")
    out = project.succeed("up")

    assert out.endswith("Nothing to do: everything is applied.\n")
    assert applied(connection) == [1, 2, 3, 4]
    connection.execute("DROP TABLE t1, t2, t3, schema_migrations, schema_migrations_log, schema_migrations_journal")
    project.succeed("up")
    assert (applied(connection), tables(connection)) == ([4], ["t1", "t2", "t3"])


def test_a_value_from_outside_reaches_a_file_through_the_server(project: Project, connection: Connection) -> None:
    """The file stays plain SQL, which psql runs in the same way, and its checksum holds whatever the value is."""
    project.migration(
        1,
        "CREATE TABLE t1 AS SELECT current_setting('app.region') AS region;\n"
        "DO $$ BEGIN EXECUTE format('CREATE TABLE %I ()', 't_' || current_setting('app.region')); END $$;\n",
    )
    variables = {"PGOPTIONS": "-c app.region=north"}

    project.succeed("up", variables=variables)

    assert value(connection, "SELECT region FROM t1") == "north"
    assert tables(connection) == ["t1", "t_north"]
    assert project.succeed("status") == "✓ 000001_m1.up.sql (applied)\n"


def test_a_view_is_replaced_by_running_its_file_again(project: Project, connection: Connection) -> None:
    """Its history stays one row."""
    project.migration(1, "CREATE OR REPLACE VIEW one AS SELECT 1 AS n;\n", name="views")
    project.succeed("up")
    project.migration(1, "CREATE OR REPLACE VIEW one AS SELECT 1 AS n, 2 AS m;\n", name="views")

    project.succeed("force", "1")

    assert value(connection, "SELECT m FROM one") == 2
    assert project.succeed("status") == "✓ 000001_views.up.sql (applied)\n"


@pytest.mark.parametrize("arguments", [("up",), ("status",), ("status", "--check"), ("history",), ("down", "--yes")])
def test_nothing_to_do_is_no_error_and_is_said_on_standard_output(project: Project, arguments: tuple[str, ...]) -> None:
    project.three_tables()
    project.succeed("up")
    if arguments[0] == "down":
        project.succeed("down", "0", "--yes")

    assert project.succeed(*arguments) != ""


def test_the_state_of_an_empty_database_is_no_error(project: Project) -> None:
    project.three_tables()

    assert project.succeed("status").count("(pending)") == 3
    assert project.run("status", "--check").code == 3

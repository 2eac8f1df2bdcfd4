"""Tables named schema_migrations that somebody else made: refused by their columns, or taken over."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import TupleRow

from .programs import Project, applied, tables, value

Connection = psycopg.Connection[TupleRow]

HINT = (
    "Hint: Give whimbrel a table of its own and tell it what is applied already:\n"
    "      whimbrel baseline VERSION --history-table public.whimbrel_migrations\n"
    '      and put history_table = "public.whimbrel_migrations" into whimbrel.toml.\n'
)

OTHERS = {
    "golang-migrate": (
        "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)",
        "the history of golang-migrate",
        "version bigint, dirty boolean",
    ),
    "dbmate": (
        "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)",
        "the history of dbmate or Rails",
        "version character varying",
    ),
    "Rails": (
        "CREATE TABLE schema_migrations (version varchar NOT NULL PRIMARY KEY)",
        "the history of dbmate or Rails",
        "version character varying",
    ),
    "Ecto": (
        "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, inserted_at timestamp(0))",
        "the history of Ecto",
        "version bigint, inserted_at timestamp without time zone",
    ),
    "somebody": (
        "CREATE TABLE schema_migrations (id int, file text)",
        "not a history of whimbrel",
        "id integer, file text",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_tools_history_is_refused_and_left_alone(project: Project, connection: Connection, name: str) -> None:
    statement, owner, columns = OTHERS[name]
    connection.execute(statement.encode())
    project.three_tables()
    error = f"error: table public.schema_migrations is {owner}\nDetail: Its columns are: {columns}.\n{HINT}"
    for command in (("up",), ("status",), ("down", "--yes"), ("baseline", "1"), ("repair",), ("history",)):
        assert project.fail(2, *command) == error
    assert tables(connection) == []


def test_the_hint_of_the_refusal_works(project: Project, connection: Connection) -> None:
    connection.execute(OTHERS["golang-migrate"][0].encode())
    connection.execute("INSERT INTO schema_migrations VALUES (2, false)")
    project.three_tables()
    project.succeed("baseline", "2", "--history-table", "public.whimbrel_migrations")
    project.write("whimbrel.toml", 'history_table = "public.whimbrel_migrations"\n')
    assert project.succeed("status").splitlines() == [
        "✓ 000001_m1.up.sql (applied)",
        "✓ 000002_m2.up.sql (applied)",
        "○ 000003_m3.up.sql (pending)",
    ]
    project.succeed("up")
    assert tables(connection) == ["t3", "whimbrel_migrations", "whimbrel_migrations_journal", "whimbrel_migrations_log"]
    assert value(connection, "SELECT array_agg(version) FROM schema_migrations") == [2]


def test_a_three_column_table_is_upgraded_in_place(project: Project, connection: Connection) -> None:
    connection.execute(
        "CREATE TABLE schema_migrations"
        " (version int PRIMARY KEY, description text, applied_at timestamptz DEFAULT now())"
    )
    connection.execute("INSERT INTO schema_migrations VALUES (1, 'made by hand', '2024-01-01')")
    connection.execute("CREATE TABLE t1 (id int)")
    project.three_tables()
    before = project.succeed("status")
    assert before.startswith("✓ 000001_m1.up.sql (applied, recorded by hand)\n○ 000002_m2.up.sql (pending)\n")
    project.succeed("up")
    assert applied(connection) == [1, 2, 3]
    row = connection.execute("SELECT description, applied_at::date::text FROM schema_migrations WHERE version = 1")
    assert row.fetchone() == ("made by hand", "2024-01-01")


def test_a_file_that_was_run_by_hand_counts_as_applied(project: Project, connection: Connection) -> None:
    table = (
        "CREATE TABLE IF NOT EXISTS schema_migrations"
        " (version int PRIMARY KEY, description text, applied_at timestamptz DEFAULT now());\n"
    )
    record = (
        "INSERT INTO schema_migrations (version, description) VALUES (1, 'One') ON CONFLICT (version) DO NOTHING;\n"
    )
    project.migration(1, f"{table}CREATE TABLE t1 (id int);\n{record}", "DROP TABLE t1;\n")
    connection.execute((project.migrations / "000001_m1.up.sql").read_bytes())
    project.migration(2, "CREATE TABLE t2 (id int);\n")
    assert project.succeed("status") == (
        "✓ 000001_m1.up.sql (applied, recorded by hand)\n○ 000002_m2.up.sql (pending)\n"
    )
    project.succeed("up")
    assert tables(connection) == ["t1", "t2"]


def test_a_search_path_set_in_a_migration_does_not_lose_the_history(project: Project, connection: Connection) -> None:
    project.migration(1, "CREATE SCHEMA s; SET search_path = s; CREATE TABLE inner_table (id int);\n")
    project.migration(2, "CREATE TABLE outer_table (id int);\n")
    project.succeed("up")
    assert (applied(connection), tables(connection)) == ([1, 2], ["outer_table"])


def test_two_histories_in_one_database_do_not_meet(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.write("other/1_x.up.sql", "CREATE SCHEMA tenant; CREATE TABLE tenant.x (id int);\n")
    project.succeed("up")
    tenant = ("--migrations", "other", "--history-table", "tenant.schema_migrations")
    # The history's schema is made where it is missing, so that the migration that makes it has to know.
    project.write("other/1_x.up.sql", "CREATE TABLE tenant.x (id int);\n")
    project.succeed("up", *tenant)
    assert project.succeed("status", *tenant) == "✓ 1_x.up.sql (applied)\n"
    assert applied(connection) == [1, 2, 3]

"""The history: self-recording files in three ways, the seed's three-column table, other tools' tables, the log."""

from __future__ import annotations

import subprocess

import pytest

from whimbrel import cluster
from whimbrel.errors import HistoryError, SourceError
from whimbrel.execution import corrections

from .conftest import Project

SELF_RECORDING = {
    "000001_init.up.sql": "CREATE TABLE IF NOT EXISTS schema_migrations (version bigint PRIMARY KEY,"
    " description text, applied_at timestamptz NOT NULL DEFAULT now());\n"
    "CREATE TABLE a ();\n"
    "INSERT INTO schema_migrations (version, description) VALUES (1, 'The first one')\n"
    "ON CONFLICT (version) DO NOTHING;\n",
    "000001_init.down.sql": "DROP TABLE a;\nDELETE FROM schema_migrations WHERE version = 1;\n",
    "000002_more.up.sql": "CREATE TABLE b ();\n"
    "INSERT INTO public.schema_migrations (version, description) VALUES (2, 'The second one')\n"
    "ON CONFLICT (version) DO NOTHING;\n",
    "000002_more.down.sql": "DROP TABLE b;\nDELETE FROM schema_migrations WHERE version = 2;\n",
}


def psql(project: Project, *arguments: str) -> None:
    """Run psql as a person would, stopping at the first error."""
    program = cluster.find_program(None, "psql")
    if program is None:
        pytest.skip("psql is not installed")
    command = [str(program), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", project.dsn, *arguments]
    subprocess.run(command, check=True, timeout=30, capture_output=True)


def test_a_file_that_records_itself_gives_one_row_with_its_own_description(project: Project) -> None:
    """The tool fills the columns that the file does not know."""
    project.write(SELF_RECORDING)

    project.up()

    row = project.connection.execute(
        "SELECT description, name, checksum LIKE 'sha256:%', token_checksum LIKE 'tokens1:%', duration_ms > 0,"
        " applied_by = session_user, tool_version IS NOT NULL, down_sql LIKE 'DROP TABLE b%'"
        " FROM schema_migrations WHERE version = 2"
    ).fetchone()
    assert row == ("The second one", "more", True, True, True, True, True, True)
    assert not any(state.applied is None or state.applied.is_by_hand for state in project.states())
    project.down(to=0)
    assert project.applied() == []


def test_a_file_that_was_run_by_hand_shows_as_applied_recorded_by_hand(project: Project) -> None:
    """And is not run again."""
    project.write(SELF_RECORDING)
    for name in ("000001_init.up.sql", "000002_more.up.sql"):
        psql(project, "-f", str(project.folder / name))

    states = project.states()
    result = project.up()

    assert [state.applied is not None and state.applied.is_by_hand for state in states] == [True, True]
    assert result.finished == ()


def test_a_row_that_was_written_by_hand_is_undone_like_any_other(project: Project) -> None:
    """Its file's own DELETE and the tool's come to the same."""
    project.write(SELF_RECORDING)
    psql(project, "-f", str(project.folder / "000001_init.up.sql"))
    project.up()

    project.down(to=0)

    assert project.applied() == []
    assert not project.has_table("a")


def test_a_file_that_does_not_record_itself_is_recorded(project: Project) -> None:
    """With a description made from its name."""
    project.write({"1_add_last_seen.up.sql": "CREATE TABLE a ();"})

    project.up()

    assert project.value("SELECT description FROM schema_migrations") == "add last seen"


def test_a_file_that_records_another_version_is_refused(project: Project) -> None:
    """The classic slip after copying a file."""
    project.write({**SELF_RECORDING, "000003_copy.up.sql": SELF_RECORDING["000002_more.up.sql"]})

    with pytest.raises(SourceError, match="file of version 3 records version 2") as caught:
        project.up()

    assert str(caught.value.position).endswith("000003_copy.up.sql:2:1")
    assert project.applied() == []


def test_the_seeds_three_column_table_is_upgraded_in_place(project: Project) -> None:
    """Its rows stay, in the order in which they were applied."""
    project.connection.execute(
        "CREATE TABLE schema_migrations (version integer PRIMARY KEY, description text,"
        " applied_at timestamptz DEFAULT now());"
        "INSERT INTO schema_migrations VALUES (2, 'two', '2025-02-02'), (1, 'one', '2025-01-01')"
    )
    project.write({**SELF_RECORDING, "000003_c.up.sql": "CREATE TABLE c ();"})

    project.up()

    rows = project.connection.execute(
        "SELECT version, description, ordinal, tool_version IS NULL FROM schema_migrations ORDER BY ordinal"
    ).fetchall()
    assert rows == [(1, "one", 1, True), (2, "two", 2, True), (3, "c", 3, False)]
    kind = project.value("SELECT pg_typeof(version)::text FROM schema_migrations LIMIT 1")
    assert kind == "bigint"


@pytest.mark.parametrize(
    ("columns", "owner"),
    [
        ("version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL", "the history of golang-migrate"),
        ("version varchar(128) PRIMARY KEY", "the history of dbmate or Rails"),
        ("version bigint PRIMARY KEY, inserted_at timestamp", "the history of Ecto"),
        ("id int, note text", "not a history of whimbrel"),
        ("version text PRIMARY KEY, description text, applied_at timestamptz", "not a history of whimbrel"),
    ],
)
def test_another_tools_table_is_refused_by_its_columns(project: Project, columns: str, owner: str) -> None:
    """Nothing is written into it, and the way out is named and works."""
    project.connection.execute(f"CREATE TABLE schema_migrations ({columns})".encode())
    project.write({"1_a.up.sql": "CREATE TABLE a ();"})

    with pytest.raises(HistoryError, match=owner) as caught:
        project.up()

    assert caught.value.hint is not None
    assert "whimbrel baseline VERSION --history-table public.whimbrel_migrations" in caught.value.hint
    assert not project.has_table("a")
    project.settings["history_table"] = "public.whimbrel_migrations"
    with project.session() as session:
        corrections.baseline(session, project.source(), 1)
    assert project.value("SELECT count(*) FROM whimbrel_migrations") == 1


def test_the_log_keeps_every_attempt(project: Project) -> None:
    """Successful or not; who, where, how it ended."""
    project.write({"1_a.up.sql": "CREATE TABLE a ();", "1_a.down.sql": "DROP TABLE a;", "2_b.up.sql": "SELECT 1/0;"})

    project.up()
    project.down()

    rows = project.connection.execute(
        "SELECT version, action, outcome, sqlstate, message FROM schema_migrations_log ORDER BY id"
    ).fetchall()
    assert rows == [
        (1, "up", "succeeded", None, None),
        (2, "up", "failed", "22012", "division by zero"),
        (1, "down", "succeeded", None, None),
    ]
    complete = "role = session_user AND host <> '' AND finished_at >= started_at AND tool_version <> ''"
    assert project.value(f"SELECT bool_and({complete}) FROM schema_migrations_log") is True


def test_a_history_in_a_schema_of_its_own_is_made_with_its_schema(project: Project) -> None:
    """For whoever may not create in public."""
    project.settings["history_table"] = "ops.applied"
    project.write({"1_a.up.sql": "CREATE TABLE a ();"})

    assert project.up().error is None
    assert project.up().finished == ()
    assert project.value("SELECT version FROM ops.applied") == 1
    assert not project.has_table("schema_migrations")


def test_every_column_of_the_history_explains_itself(project: Project) -> None:
    """In psql, where a person looks at night."""
    project.write({"1_a.up.sql": ""})
    project.up()

    silent = project.connection.execute(
        "SELECT c.relname, a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND attnum > 0"
        " WHERE c.relname = 'schema_migrations' AND col_description(c.oid, a.attnum) IS NULL"
    ).fetchall()
    assert silent == []

"""Transactional migrations: applied and recorded together, or not at all."""

from __future__ import annotations

import secrets

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whimbrel.errors import SourceError, StatementFailed
from whimbrel.events import RunFinished, RunStarted, ServerNotice, StepAdvanced, StepFinished, StepStarted

from ..conftest import Server
from .conftest import Project


def test_migrations_are_applied_in_the_order_of_their_numbers(project: Project) -> None:
    """10 comes behind 9, whatever the alphabet says."""
    project.write(
        {
            "10_c.up.sql": "INSERT INTO t VALUES (10);",
            "9_b.up.sql": "INSERT INTO t VALUES (9);",
            "000001_a.up.sql": "CREATE TABLE t (n int, at timestamptz DEFAULT clock_timestamp());",
        }
    )

    result = project.up()

    assert result.error is None
    assert [step.version for step in result.finished] == [1, 9, 10]
    assert project.connection.execute("SELECT n FROM t ORDER BY at").fetchall() == [(9,), (10,)]
    assert project.applied() == [1, 9, 10]


def test_a_failed_statement_leaves_nothing_of_its_migration_and_stops_the_run(project: Project) -> None:
    """What was committed before stays; what comes behind is not begun."""
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE a ();",
            "2_b.up.sql": "CREATE TABLE b ();\nCREATE TABLE a ();\n",
            "3_c.up.sql": "CREATE TABLE c ();",
        }
    )

    result = project.up()

    assert project.applied() == [1]
    assert not project.has_table("b")
    assert not project.has_table("c")
    assert result.failed is not None
    assert result.failed.version == 2
    assert [step.version for step in result.remaining] == [3]
    assert isinstance(result.error, StatementFailed)
    assert result.error.sqlstate == "42P07"


def test_the_failure_is_told_with_file_line_column_and_source_line(project: Project) -> None:
    """The server counts characters in its own statement; people count lines in their file."""
    project.write({"1_a.up.sql": "-- Größe\nSELECT 'ä;';\n\n  SELECT\n    'é' AS ü, nonsens FROM pg_class;\n"})

    error = project.up().error

    assert error is not None
    assert error.position is not None
    assert (error.position.line, error.position.column) == (5, 15)
    assert error.position.text == "    'é' AS ü, nonsens FROM pg_class;"
    assert str(error).splitlines()[1:3] == [
        "        'é' AS ü, nonsens FROM pg_class;",
        "                  ^",
    ]


def test_the_servers_detail_hint_and_context_are_kept(project: Project) -> None:
    """A failure inside a DO block has no position of its own, but a context."""
    project.write(
        {
            "1_a.up.sql": "DO $$ BEGIN\n  RAISE EXCEPTION 'no' USING detail = 'D.', hint = 'H.';\nEND $$;",
        }
    )

    error = project.up().error

    assert error is not None
    assert (error.message, error.detail, error.hint) == ("no", "D.", "H.")
    assert error.context == "PL/pgSQL function inline_code_block line 2 at RAISE"
    assert str(error.position).endswith("1_a.up.sql:1:1")


def test_a_deferred_constraint_fails_the_migration_at_its_commit(project: Project) -> None:
    """The COMMIT itself may fail: then nothing is recorded, and nothing behind it runs."""
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE p (id int PRIMARY KEY);"
            "CREATE TABLE c (p int REFERENCES p DEFERRABLE INITIALLY DEFERRED);",
            "2_b.up.sql": "INSERT INTO c VALUES (7);",
            "3_c.up.sql": "CREATE TABLE later ();",
        }
    )

    result = project.up()

    assert project.applied() == [1]
    assert result.failed is not None
    assert result.failed.version == 2
    assert not project.has_table("later")


def test_one_migrations_settings_do_not_reach_the_next(project: Project) -> None:
    """Also not its own record: pg_dump output empties the search_path."""
    project.connection.execute("CREATE SCHEMA elsewhere")
    project.write(
        {
            "1_a.up.sql": "SELECT pg_catalog.set_config('search_path', '', false); SET lock_timeout = '7s';"
            "SET TimeZone = 'Asia/Tokyo'; SET work_mem = '77MB'; SET statement_timeout = '1h';",
            "2_b.up.sql": "CREATE TABLE settings AS SELECT current_setting('search_path') AS path,"
            " current_setting('lock_timeout') AS lock, current_setting('TimeZone') AS zone,"
            " current_setting('work_mem') <> '77MB' AS memory, current_setting('statement_timeout') AS statement,"
            " current_setting('application_name') AS name;",
        }
    )

    project.up()

    row = project.connection.execute("SELECT * FROM settings").fetchone()
    assert row == ("public", "50ms", "UTC", True, "0", "whimbrel: 2_b")


@pytest.mark.parametrize("change", ["SET ROLE", "SET SESSION AUTHORIZATION", "SET LOCAL ROLE"])
def test_a_role_that_a_migration_takes_is_given_back(project: Project, change: str) -> None:
    """The record is written as the role that connected."""
    role = f"poor_{project.value('SELECT current_database()')}"
    project.connection.execute(f"CREATE ROLE {role}".encode())
    try:
        project.write({"1_a.up.sql": f"{change} {role};", "2_b.up.sql": "CREATE TABLE t AS SELECT current_user;"})

        result = project.up()

        assert result.error is None
        assert project.value("SELECT current_user FROM t") == project.value("SELECT current_user")
        assert project.value("SELECT count(DISTINCT applied_by) FROM schema_migrations") == 1
    finally:
        project.connection.execute(f"DROP ROLE {role}".encode())


def test_a_begin_and_a_commit_around_a_file_are_taken_as_ours(project: Project) -> None:
    """golang-migrate's users have hundreds of these."""
    project.write(
        {
            "1_a.up.sql": "BEGIN;\nCREATE TABLE a ();\nCOMMIT;\n",
            "2_b.up.sql": "start transaction; CREATE TABLE b (); SELECT 1/0; end;",
        }
    )

    result = project.up()

    assert project.applied() == [1]
    assert not project.has_table("b")
    assert result.error is not None
    assert result.error.message == "division by zero"


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE a (); COMMIT; CREATE TABLE b ();",
        "BEGIN; CREATE TABLE a (); COMMIT; CREATE TABLE b ();",
        "BEGIN; CREATE TABLE a ();",
        "CREATE TABLE a (); ROLLBACK;",
        "SAVEPOINT s; CREATE TABLE a ();",
        "BEGIN; BEGIN; COMMIT; COMMIT;",
        "BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE a (); COMMIT;",
        "COMMIT AND CHAIN;",
    ],
)
def test_other_transaction_control_is_refused_before_anything_runs(project: Project, text: str) -> None:
    """Not even the file before it is applied."""
    project.write({"1_fine.up.sql": "CREATE TABLE fine ();", "2_bad.up.sql": text})

    with pytest.raises(SourceError, match=r"transaction control|BEGIN without a COMMIT"):
        project.up()

    assert not project.has_table("fine")


def test_a_commit_hidden_in_a_block_cannot_end_our_transaction(project: Project) -> None:
    """The server itself refuses it inside a transaction block."""
    project.write({"1_a.up.sql": "CREATE TABLE a (); DO $$ BEGIN COMMIT; END $$;"})

    result = project.up()

    assert isinstance(result.error, StatementFailed)
    assert result.error.sqlstate == "2D000"
    assert not project.has_table("a")


def test_copy_with_inline_data_runs_in_the_migrations_transaction(project: Project) -> None:
    """Data that looks like SQL is data."""
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE t (n int, s text);\n"
            "COPY t (n, s) FROM stdin;\n1\tit's; $$\n2\t\\N\n\\.\n"
            "INSERT INTO t VALUES (3, 'behind');\n"
            'COPY t FROM stdin WITH (FORMAT csv);\n4,"a;b"\n\\.\n',
            "2_b.up.sql": "CREATE TABLE later ();",
        }
    )

    result = project.up()

    assert result.error is None
    rows = project.connection.execute("SELECT * FROM t ORDER BY n").fetchall()
    assert rows == [(1, "it's; $$"), (2, None), (3, "behind"), (4, "a;b")]
    assert project.applied() == [1, 2]


def test_a_bad_row_of_copy_data_undoes_its_migration(project: Project) -> None:
    """The server names the row, the file's line is that of the COPY."""
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE a ();",
            "2_b.up.sql": "CREATE TABLE t (n int);\nCOPY t FROM stdin;\n1\nzwei\n\\.\nCREATE TABLE behind ();\n",
            "3_c.up.sql": "CREATE TABLE c ();",
        }
    )

    result = project.up()

    assert project.applied() == [1]
    assert result.error is not None
    assert result.error.context == 'COPY t, line 2, column n: "zwei"'
    assert str(result.error.position).endswith("2_b.up.sql:2:1")
    assert not project.has_table("t")
    assert not project.has_table("behind")


def test_an_error_before_a_copy_keeps_the_copy_from_running(project: Project) -> None:
    """Its data is not sent as anything else either."""
    project.write({"1_a.up.sql": "CREATE TABLE t (n int); SELECT 1/0;\nCOPY t FROM stdin;\n1\n\\.\nSELECT 2;"})

    result = project.up()

    assert result.error is not None
    assert result.error.message == "division by zero"
    assert project.applied() == []


def test_an_empty_file_and_one_of_comments_are_migrations(project: Project) -> None:
    """They are recorded like any other."""
    project.write({"1_a.up.sql": "", "2_b.up.sql": "-- nothing yet\n", "3_c.up.sql": b"\xef\xbb\xbf\r\n"})

    assert project.up().error is None
    assert project.applied() == [1, 2, 3]


def test_a_run_tells_what_happens_as_it_happens(project: Project) -> None:
    """The events of a run, in order."""
    project.write({"1_a.up.sql": "DO $$ BEGIN RAISE NOTICE 'hello'; END $$;", "2_b.up.sql": "CREATE TABLE b ();"})

    project.up()

    kinds = [type(event) for event in project.events if not isinstance(event, StepAdvanced)]
    assert kinds == [RunStarted, StepStarted, ServerNotice, StepFinished, StepStarted, StepFinished, RunFinished]


def test_what_a_newer_server_may_know_is_sent_to_it(project: Project) -> None:
    """The grammar here is not the judge: the server's own message is what the user sees."""
    project.write({"1_a.up.sql": "CREATE TABULATION t ();"})

    error = project.up().error

    assert isinstance(error, StatementFailed)
    assert error.message == 'syntax error at or near "TABULATION"'


def test_the_annotations_of_a_file_hold_for_that_file(project: Project) -> None:
    """Timeouts are made local to its transaction."""
    project.write(
        {
            "1_a.up.sql": "-- whimbrel: lock_timeout = 123ms\n-- whimbrel: statement_timeout = 45s\n"
            "CREATE TABLE a AS SELECT current_setting('lock_timeout') AS l, current_setting('statement_timeout') AS s;",
            "2_b.up.sql": "CREATE TABLE b AS SELECT current_setting('lock_timeout') AS l;",
        }
    )

    project.up()

    assert project.connection.execute("SELECT l, s FROM a").fetchone() == ("123ms", "45s")
    assert project.value("SELECT l FROM b") == "50ms"


SHAPES = ["SELECT {n};", "CREATE TABLE t{n} ();", "INSERT INTO log VALUES ({n});", "DO $$ BEGIN PERFORM {n}; END $$;"]
FAILURES = ["SELECT 1/0;", "SELEC 1;", "INSERT INTO nowhere VALUES (1);", "CREATE TABLE log ();"]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.lists(st.lists(st.sampled_from(SHAPES), max_size=4), min_size=1, max_size=6),
    place=st.tuples(st.integers(0, 5), st.integers(0, 4)),
    failure=st.sampled_from(FAILURES),
)
def test_exactly_the_migrations_before_a_failing_statement_are_applied(
    project: Project, batch: list[list[str]], place: tuple[int, int], failure: str
) -> None:
    """Whatever the batch, and wherever in it the statement stands."""
    project.connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE log (n int)")
    for path in project.folder.iterdir():
        path.unlink()
    failing = place[0] % len(batch) + 1
    for version, shapes in enumerate(batch, 1):
        lines = [shape.format(n=version * 100 + number) for number, shape in enumerate(shapes)]
        if version == failing:
            lines.insert(place[1] % (len(lines) + 1), failure)
        project.write({f"{version}_x.up.sql": "\n".join(lines)})

    result = project.up()

    assert project.applied() == list(range(1, failing))
    assert [step.version for step in result.finished] == list(range(1, failing))
    assert isinstance(result.error, StatementFailed)
    assert result.error.position is not None
    assert failure.startswith((result.error.position.text or "")[:5])
    tables = project.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename ~ '^t[0-9]'")
    wanted = sum(shape.startswith("CREATE") for shapes in batch[: failing - 1] for shape in shapes)
    assert tables == wanted


def test_a_file_is_utf8_whatever_the_database_is_in(server: Server, project: Project) -> None:
    """A Latin-1 database takes the same characters, converted by the server."""
    name = f"latin1_{secrets.token_hex(4)}"
    project.connection.execute(
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0".encode()
    )
    try:
        project.dsn = server.conninfo(name)
        project.write({"1_a.up.sql": "CREATE TABLE t AS SELECT 'é' AS s; COMMENT ON TABLE t IS 'Größe';"})

        assert project.up().error is None

        with psycopg.connect(project.dsn) as connection:
            assert connection.execute("SELECT s, char_length(s), octet_length(s) FROM t").fetchone() == ("é", 1, 1)
    finally:
        project.connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_the_session_is_pinned_also_in_a_databases_first_run(project: Project) -> None:
    """Where the history tables are missing, and reading them fails, the settings hold all the same."""
    role = "ALTER DATABASE {} SET {} = '{}'"
    for name, value in (("search_path", "nowhere"), ("TimeZone", "Asia/Tokyo"), ("lock_timeout", "1h")):
        project.connection.execute(role.format(project.value("SELECT current_database()"), name, value).encode())
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE a AS"
            " SELECT current_setting('TimeZone') AS zone, current_setting('lock_timeout') AS timeout;"
        }
    )

    assert project.up().error is None

    assert project.connection.execute("SELECT * FROM public.a").fetchone() == ("UTC", "50ms")


def test_nothing_is_sent_behind_a_commit_that_failed_not_even_a_copy(project: Project) -> None:
    """A COPY is a synchronisation point; what is sent behind one would run, and be recorded."""
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE p (id int PRIMARY KEY);"
            "CREATE TABLE c (p int REFERENCES p DEFERRABLE INITIALLY DEFERRED);",
            "2_b.up.sql": "INSERT INTO c VALUES (7);",
            "3_c.up.sql": "COPY p FROM stdin;\n1\n\\.\n",
        }
    )

    result = project.up()

    assert project.applied() == [1]
    assert [step.version for step in result.finished] == [1]
    assert result.failed is not None
    assert result.failed.version == 2


@pytest.mark.parametrize("text", ["DEALLOCATE ALL;", "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$;"])
def test_a_migration_that_deallocates_every_prepared_statement_runs_like_any_other(project: Project, text: str) -> None:
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE a (n int);",
            "2_b.up.sql": f"INSERT INTO a VALUES (2); {text}",
            "3_c.up.sql": "INSERT INTO a VALUES (3);",
            "4_d.up.sql": f"INSERT INTO a VALUES (4); {text}",
        }
    )
    result = project.up()
    assert result.error is None
    assert [step.version for step in result.finished] == [1, 2, 3, 4]
    assert project.applied() == [1, 2, 3, 4]
    assert project.connection.execute("SELECT n FROM a ORDER BY n").fetchall() == [(2,), (3,), (4,)]
    assert project.value("SELECT count(*) FROM schema_migrations_log") == 4


def test_a_migrations_own_unknown_prepared_statement_is_its_own_error(project: Project) -> None:
    project.write({"1_a.up.sql": "CREATE TABLE a (n int);", "2_b.up.sql": "SELECT 1;\nEXECUTE nothing;"})
    result = project.up()
    assert result.error is not None
    assert result.error.sqlstate == "26000"
    assert result.error.position is not None
    assert result.error.position.line == 2
    assert project.applied() == [1]

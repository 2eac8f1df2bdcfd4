"""Migrations outside a transaction: statement by statement, journalled, resumed, settled by the catalog."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psycopg
import pytest

from whimbrel.errors import PlanError, StatementFailed, Unsettled
from whimbrel.events import StatementSkipped, StepStarted
from whimbrel.execution import corrections

from .conftest import Project

BASE = {"1_a.up.sql": "CREATE TABLE a (n int); INSERT INTO a SELECT generate_series(1, 100);"}


def journal(project: Project) -> list[tuple[int, bool]]:
    """Return the journal as numbers of statements, and whether they ended."""
    rows = project.connection.execute(
        "SELECT statement, finished_at IS NOT NULL FROM schema_migrations_journal ORDER BY statement"
    ).fetchall()
    return [(int(number), bool(is_finished)) for number, is_finished in rows]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; a test that waits in vain fails."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen within 30 seconds")


def test_a_concurrent_build_needs_no_annotation(project: Project) -> None:
    """It is found from the parsed statements, also between others, and the file's own record counts once."""
    project.write(
        {
            **BASE,
            "2_b.up.sql": "CREATE INDEX CONCURRENTLY i ON a (n);\nCREATE TABLE b ();\n"
            "DROP INDEX CONCURRENTLY i;\nVACUUM a;\n"
            "INSERT INTO schema_migrations (version, description) VALUES (2, 'mine') ON CONFLICT DO NOTHING;\n",
        }
    )

    result = project.up()

    assert result.error is None
    assert project.applied() == [1, 2]
    assert project.has_table("b")
    assert journal(project) == []
    started = [event for event in project.events if isinstance(event, StepStarted)]
    assert [(event.is_transactional, event.statements) for event in started] == [(True, 2), (False, 4)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX CONCURRENTLY i2 ON a (n)",
        "create unique index concurrently if not exists i2 on a (n)",
        "REINDEX INDEX CONCURRENTLY i",
        "REINDEX (CONCURRENTLY) TABLE a",
        "DROP INDEX CONCURRENTLY IF EXISTS i",
        "VACUUM (ANALYZE) a",
        "CLUSTER",
        "ALTER TABLE parent DETACH PARTITION child CONCURRENTLY",
    ],
)
def test_what_the_server_refuses_in_a_transaction_runs_outside_one(project: Project, statement: str) -> None:
    """Each of them, behind another statement of the same file."""
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE a (n int); CREATE INDEX i ON a (n);"
            "CREATE TABLE parent (n int) PARTITION BY LIST (n);"
            "CREATE TABLE child PARTITION OF parent FOR VALUES IN (1);",
            "2_b.up.sql": f"CREATE TABLE before ();\n/* so */ {statement};\nCREATE TABLE after ();",
        }
    )

    assert project.up().error is None
    assert project.has_table("after")


def test_a_file_may_ask_for_autocommit_itself(project: Project) -> None:
    """A procedure that commits needs it."""
    project.write(
        {
            **BASE,
            "2_b.up.sql": "-- whimbrel: transaction = off\n"
            "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN DELETE FROM a WHERE n = 1; COMMIT;"
            " DELETE FROM a WHERE n = 2; COMMIT; END $$;\nCALL p();",
        }
    )

    assert project.up().error is None
    assert project.value("SELECT min(n) FROM a") == 3


def test_an_enum_value_can_be_added_and_used_in_an_autocommit_file(project: Project) -> None:
    """A new value cannot be used before its ALTER TYPE is committed."""
    project.write(
        {
            "1_a.up.sql": "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (m mood);",
            "2_b.up.sql": "-- whimbrel: transaction = off\n"
            "ALTER TYPE mood ADD VALUE 'happy';\nINSERT INTO t VALUES ('happy');",
        }
    )

    assert project.up().error is None


def test_statements_that_are_done_are_skipped_after_a_failure(project: Project) -> None:
    """The statement that failed is run again, those before it are not."""
    project.write(
        {
            **BASE,
            "2_b.up.sql": "CREATE INDEX CONCURRENTLY i ON a (n);\nINSERT INTO a VALUES (0);\nSELECT 1/(SELECT count(*)"
            " FROM later);\nVACUUM a;",
        }
    )
    project.connection.execute("CREATE TABLE later ()")

    first = project.up()
    left = journal(project)
    interrupted = [state.interruption for state in project.states()]
    project.connection.execute("INSERT INTO later DEFAULT VALUES")
    second = project.up()

    assert isinstance(first.error, StatementFailed)
    assert str(first.error.position).endswith("2_b.up.sql:3:1")
    assert left == [(1, True), (2, True)]
    assert [stopped.statement for stopped in interrupted if stopped] == [3]
    assert second.error is None
    assert project.value("SELECT count(*) FROM a WHERE n = 0") == 1
    skipped = [event.number for event in project.events if isinstance(event, StatementSkipped)]
    assert skipped == [1, 2]
    assert journal(project) == []


def test_a_statement_that_was_changed_after_it_ran_stops_the_next_run(project: Project) -> None:
    """What is in the database is no longer what the file says."""
    project.write({**BASE, "2_b.up.sql": "CREATE INDEX CONCURRENTLY i ON a (n);\nSELECT 1/0;"})
    project.up()
    project.write({"2_b.up.sql": "CREATE INDEX CONCURRENTLY i ON a ((n + 1));\nSELECT 1;"})

    result = project.up()

    assert isinstance(result.error, Unsettled)
    assert "statement 1 was changed after it had been run" in result.error.message


def test_a_down_does_not_begin_in_the_middle_of_an_up(project: Project) -> None:
    """Nor the other way round."""
    project.write(
        {**BASE, "1_a.down.sql": "DROP TABLE a;", "2_b.up.sql": "CREATE INDEX CONCURRENTLY i ON a (n);SELECT 1/0;"}
    )
    project.up()

    with pytest.raises(Unsettled, match="the up of version 2 was interrupted"):
        project.down()


def killed(project: Project, statement: str, blocker: str, until: str) -> None:
    """Kill a run with SIGKILL while its statement waits for an open transaction and a query gives true."""
    project.write({"2_b.up.sql": statement + ";"})
    command = [sys.executable, "-m", "whimbrel", "up", "--database", project.dsn, "--migrations", str(project.folder)]
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'whimbrel: 2_b'"
    )
    with psycopg.connect(project.dsn) as other:
        other.execute(blocker.encode())
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: project.value(f"{waiting} AND wait_event_type = 'Lock'") == 1 and project.value(until) is True)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_for(lambda: project.value(waiting) == 0)
    assert journal(project) == [(1, False)]


INVALID = "SELECT count(*) = 1 FROM pg_index WHERE indrelid = 'a'::regclass AND NOT indisvalid"


def killed_in_a_concurrent_build(project: Project, statement: str) -> None:
    """Kill a run while its concurrent build waits for an open writer."""
    project.write(BASE)
    project.up()
    killed(project, statement, "INSERT INTO a VALUES (7)", INVALID)


@pytest.mark.parametrize("exists", ["", "IF NOT EXISTS "])
def test_a_build_that_was_killed_is_dropped_and_built_again(project: Project, exists: str) -> None:
    """IF NOT EXISTS would pass over the invalid index that the killed one left."""
    killed_in_a_concurrent_build(project, f"CREATE INDEX CONCURRENTLY {exists}i ON a (n)")
    assert project.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass") is False

    result = project.up()

    assert result.error is None
    assert project.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass") is True
    assert project.applied() == [1, 2]


def test_a_build_without_a_name_that_was_killed_is_built_again(project: Project) -> None:
    """One index comes of it, and it is valid."""
    killed_in_a_concurrent_build(project, "CREATE INDEX CONCURRENTLY ON a (n)")

    assert project.up().error is None

    query = "SELECT array_agg(indexrelid::regclass::text) FROM pg_index WHERE indrelid = 'a'::regclass AND indisvalid"
    assert project.value(query) == ["a_n_idx"]
    assert project.value("SELECT count(*) FROM pg_index WHERE indrelid = 'a'::regclass") == 1


@pytest.mark.parametrize("statement", ["REINDEX INDEX CONCURRENTLY i", "REINDEX TABLE CONCURRENTLY a"])
def test_a_reindex_that_was_killed_leaves_no_copies(project: Project, statement: str) -> None:
    """_ccnew is dropped and the statement run again."""
    project.write({"1_a.up.sql": BASE["1_a.up.sql"] + "CREATE INDEX i ON a (n);"})
    project.up()
    killed(project, statement, "INSERT INTO a VALUES (7)", INVALID)

    assert project.up().error is None

    rows = project.connection.execute(
        "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'a'::regclass"
    )
    assert rows.fetchall() == [("i", True)]


def test_a_detach_that_was_killed_is_finalized(project: Project) -> None:
    """A second DETACH of any partition would fail until then."""
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE p (n int) PARTITION BY LIST (n);"
            "CREATE TABLE c PARTITION OF p FOR VALUES IN (1); INSERT INTO p VALUES (1);"
        }
    )
    project.up()
    pending = "SELECT coalesce(bool_or(inhdetachpending), false) FROM pg_inherits WHERE inhparent = 'p'::regclass"
    killed(project, "ALTER TABLE p DETACH PARTITION c CONCURRENTLY", "SELECT FROM p", pending)

    result = project.up()

    assert result.error is None
    assert project.value("SELECT count(*) FROM pg_inherits WHERE inhparent = 'p'::regclass") == 0
    assert project.value("SELECT count(*) FROM c") == 1


def test_a_drop_that_was_killed_is_finished(project: Project) -> None:
    """The index is invalid by then, and is dropped."""
    project.write({"1_a.up.sql": BASE["1_a.up.sql"] + "CREATE INDEX i ON a (n);"})
    project.up()
    killed(project, "DROP INDEX CONCURRENTLY i", "INSERT INTO a VALUES (7)", INVALID)

    assert project.up().error is None
    assert project.value("SELECT to_regclass('i') IS NULL") is True


def test_a_block_that_the_server_refused_is_simply_run_again(project: Project) -> None:
    """Nothing of it can remain, unless it commits by itself."""
    project.write({"2_b.up.sql": "-- whimbrel: transaction = off\nDO $$ BEGIN PERFORM 1/0; END $$;"})
    project.up()
    project.write({"2_b.up.sql": "-- whimbrel: transaction = off\nDO $$ BEGIN PERFORM 1/1; END $$;"})

    assert project.up().error is None


def test_an_invalid_index_from_elsewhere_does_not_pass_as_built(project: Project) -> None:
    """The migration is not recorded, and the way out is named."""
    killed_in_a_concurrent_build(project, "CREATE INDEX CONCURRENTLY i ON a (n)")
    project.connection.execute("DELETE FROM schema_migrations_journal")
    project.write({"2_b.up.sql": "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (n);"})

    result = project.up()

    assert result.error is not None
    assert result.error.message == 'index "i" is invalid'
    assert project.applied() == [1]
    again = project.up()
    assert again.error is not None
    assert again.error.message == result.error.message
    project.connection.execute("DROP INDEX i")
    assert project.up().error is None


def test_an_index_of_another_table_does_not_pass_as_built(project: Project) -> None:
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE a (n int); CREATE TABLE b (n int); CREATE INDEX i ON b (n);",
            "2_b.up.sql": "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (n);",
        }
    )

    for _ in range(2):
        result = project.up()
        assert result.error is not None
        assert result.error.message == 'index "i" was not built: the name belongs to something else'
        assert project.applied() == [1]


def test_what_the_catalog_cannot_tell_is_left_to_a_person(project: Project) -> None:
    """With both commands; after either of them the run goes on."""
    text = "-- whimbrel: transaction = off\nCALL p();\nCREATE TABLE behind ();"
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE a (n int);CREATE PROCEDURE p() LANGUAGE sql AS 'INSERT INTO a VALUES (1)';",
            "2_b.up.sql": text,
        }
    )
    project.up(to=1)
    project.connection.execute(
        "INSERT INTO schema_migrations_journal (version, direction, statement, checksum)"
        " VALUES (2, 'up', 1, 'sha256:' || encode(sha256('CALL p()'), 'hex'))"
    )

    result = project.up()
    with project.session() as session:
        corrections.resolve(session, 2, is_done=True)
    again = project.up()

    assert isinstance(result.error, Unsettled)
    assert result.error.hint is not None
    assert "whimbrel resolve 2 --done" in result.error.hint
    assert again.error is None
    assert project.value("SELECT count(*) FROM a") == 0
    assert project.has_table("behind")


@pytest.mark.parametrize("again", ["up", "force"])
def test_a_forced_one_that_failed_is_finished_by_the_next_run(project: Project, again: str) -> None:
    """Its record stands from before; the journal says that it is in the middle."""
    good = "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (n);\nSELECT 1;"
    project.write({**BASE, "2_b.up.sql": good})
    project.up()
    project.write({"2_b.up.sql": good.replace("SELECT 1", "SELECT 1/0")})
    assert project.force(2).error is not None
    project.write({"2_b.up.sql": good})

    result = project.up() if again == "up" else project.force(2)

    assert result.error is None
    assert project.applied() == [1, 2]
    assert [state.interruption for state in project.states()] == [None, None]


def test_a_refused_build_is_not_taken_for_done_because_of_its_namesake(project: Project) -> None:
    """Running up twice must not turn an error into success."""
    project.write({"1_a.up.sql": "CREATE TABLE a (n int, m int); CREATE INDEX i ON a (m);"})
    project.write({"2_b.up.sql": "CREATE INDEX CONCURRENTLY i ON a (n);"})

    first, second = project.up(), project.up()

    assert first.error is not None
    assert second.error is not None
    assert first.error.message == second.error.message == 'relation "i" already exists'
    assert project.applied() == [1]


def test_a_resumed_migration_sets_again_what_it_had_set(project: Project) -> None:
    """The session of the run that was interrupted is gone."""
    project.connection.execute(
        "CREATE SCHEMA tenant; CREATE TABLE tenant.t (n int, m int); CREATE TABLE t (n int, m int)"
    )
    text = "SET search_path = tenant;\nCREATE INDEX CONCURRENTLY i ON t (n);\n{}\nCREATE INDEX CONCURRENTLY j ON t (m);"
    project.write({"1_a.up.sql": text.format("SELECT 1/0;")})
    project.up()
    project.write({"1_a.up.sql": text.format("SELECT 1;")})

    assert project.up().error is None

    built = "SELECT array_agg(indexname ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'tenant'"
    assert project.value(built) == ["i", "j"]


def test_a_role_that_a_file_takes_holds_to_its_end_and_no_further(project: Project) -> None:
    """The journal is written as the role that connected."""
    role = f"owner_{project.value('SELECT current_database()')}"
    project.connection.execute(f"CREATE ROLE {role}; GRANT CREATE ON SCHEMA public TO {role}".encode())
    try:
        project.write(
            {
                "1_a.up.sql": f"SET ROLE {role};\nCREATE TABLE mine (n int);\nCREATE INDEX CONCURRENTLY i ON mine (n);",
                "2_b.up.sql": "CREATE TABLE ours (n int);",
            }
        )

        assert project.up().error is None

        owners = (
            "SELECT array_agg(tableowner::text ORDER BY tablename) FROM pg_tables WHERE tablename IN ('mine', 'ours')"
        )
        assert project.value(owners) == [role, project.value("SELECT current_user::text")]
    finally:
        project.connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_the_lock_timeout_is_lifted_for_the_concurrent_statement_alone(project: Project) -> None:
    """What stands behind it does not queue for ever in front of everybody."""
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE a (n int);",
            "2_b.up.sql": "CREATE INDEX CONCURRENTLY i ON a (n);\n"
            "CREATE TABLE seen AS SELECT current_setting('lock_timeout') AS timeout;",
        }
    )

    assert project.up().error is None
    assert project.value("SELECT timeout FROM seen") == "5s"


def test_a_file_that_was_begun_outside_a_transaction_does_not_go_on_inside_one(project: Project) -> None:
    """Some of it is done."""
    project.write({**BASE, "2_b.up.sql": "CREATE INDEX CONCURRENTLY i ON a (n);\nSELECT 1/0;"})
    project.up()
    project.write({"2_b.up.sql": "CREATE INDEX i ON a (n);\nSELECT 1;"})

    with pytest.raises(Unsettled, match="begun statement by statement"):
        project.up()


def test_what_only_a_server_knows_to_need_autocommit_gets_it_on_request(project: Project) -> None:
    """REINDEX of a partitioned table looks like that of any other."""
    files = {
        "1_a.up.sql": "CREATE TABLE p (n int) PARTITION BY LIST (n);"
        "CREATE TABLE c PARTITION OF p FOR VALUES IN (1); CREATE INDEX i ON p (n);",
        "2_b.up.sql": "-- whimbrel: transaction = off\nREINDEX TABLE p;",
    }
    project.write(files)

    assert project.up().error is None


def test_an_interrupted_migration_whose_file_is_gone_is_still_shown(project: Project) -> None:
    """The branch was switched."""
    project.write({**BASE, "2_b.up.sql": "CREATE INDEX CONCURRENTLY i ON a (n);\nSELECT 1/0;"})
    project.up()
    (project.folder / "2_b.up.sql").unlink()

    states = project.states()

    assert [(state.version, state.interruption is not None) for state in states] == [(1, False), (2, True)]


def test_there_is_nothing_to_resolve_between_two_statements(project: Project) -> None:
    """A statement that failed cleanly was not started as far as the journal goes."""
    project.write({**BASE, "2_b.up.sql": "CREATE INDEX CONCURRENTLY i ON a (n);\nSELECT 1/0;"})
    project.up()

    with project.session() as session, pytest.raises(PlanError, match="stopped between two statements"):
        corrections.resolve(session, 2, is_done=True)

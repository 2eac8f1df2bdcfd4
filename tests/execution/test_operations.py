"""Up, down, redo, force, baseline, repair, rehearse: what each leaves in the database and in its history."""

from __future__ import annotations

from pathlib import Path

import pytest

from whimbrel.errors import MissingDown, Modified, OutOfOrder, PlanError, SourceError
from whimbrel.events import RunFinished, StepFinished, Warned
from whimbrel.execution import corrections, operations
from whimbrel.execution.destruction import find_losses
from whimbrel.execution.task import Action
from whimbrel.plan import plan_down

from .conftest import Project

PAIRS = {
    "1_a.up.sql": "CREATE TABLE a (n int);",
    "1_a.down.sql": "DROP TABLE a;",
    "2_b.up.sql": "CREATE TABLE b (n int);",
    "2_b.down.sql": "DROP TABLE b;",
    "3_c.up.sql": "CREATE TABLE c (n int);",
    "3_c.down.sql": "DROP TABLE c;",
}


def test_a_second_up_finds_nothing_to_do(project: Project) -> None:
    """And says so by running no step."""
    project.write(PAIRS)
    project.up()

    result = project.up()

    assert result.finished == ()
    assert [type(event) for event in project.events] == [RunFinished]


def test_up_to_a_version_stops_behind_it(project: Project) -> None:
    """The version itself is applied."""
    project.write(PAIRS)

    project.up(to=2)

    assert project.applied() == [1, 2]


def test_a_late_merged_version_is_applied_and_said(project: Project) -> None:
    """History is a set, not a high-water mark."""
    project.write({name: text for name, text in PAIRS.items() if not name.startswith("2")})
    project.up()
    project.write(PAIRS)

    project.up()

    assert project.applied() == [1, 2, 3]
    finished = [event for event in project.events if isinstance(event, StepFinished)]
    assert [event.step.is_late for event in finished] == [True]


def test_a_late_version_can_be_refused(project: Project) -> None:
    """With out_of_order = "refuse" nothing runs."""
    project.settings["out_of_order"] = "refuse"
    project.write({name: text for name, text in PAIRS.items() if not name.startswith("2")})
    project.up()
    project.write(PAIRS)

    with pytest.raises(OutOfOrder, match=r"2 \(b\)"):
        project.up()

    assert project.applied() == [1, 3]


def test_down_undoes_the_last_one(project: Project) -> None:
    """One, not all."""
    project.write(PAIRS)
    project.up()

    project.down()

    assert project.applied() == [1, 2]
    assert not project.has_table("c")


def test_down_to_a_version_keeps_that_version(project: Project) -> None:
    """`down 1` stops at 1."""
    project.write(PAIRS)
    project.up()

    project.down(to=1)

    assert project.applied() == [1]
    assert project.has_table("a")


def test_down_to_nothing_leaves_nothing_but_the_history(project: Project) -> None:
    """Version 0 stands for the empty database."""
    project.write(PAIRS)
    project.up()

    project.down(to=0)

    assert project.applied() == []
    tables = project.connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert {str(row[0]) for row in tables} == {
        "schema_migrations",
        "schema_migrations_log",
        "schema_migrations_journal",
    }


def test_down_goes_backwards_through_the_order_of_application(project: Project) -> None:
    """A late one was applied last, and is undone first."""
    project.write({name: text for name, text in PAIRS.items() if not name.startswith("2")})
    project.up()
    project.write(PAIRS)
    project.up()

    project.down()

    assert project.applied() == [1, 3]


def test_a_missing_down_stops_the_run_before_anything_is_undone(project: Project) -> None:
    """Also where it is the last one of several that would be undone."""
    project.write({name: text for name, text in PAIRS.items() if name != "2_b.down.sql"})
    project.up()

    with pytest.raises(MissingDown, match=r"version 2 \(b\) has no down file"):
        project.down(to=0)

    assert project.applied() == [1, 2, 3]


def test_a_down_that_cannot_be_parsed_stops_the_run_before_anything_is_undone(project: Project) -> None:
    """It is read through before the first one is undone."""
    project.write({**PAIRS, "2_b.down.sql": "DROP TABLE b;\nDORP TABLE x;"})
    project.up()

    with pytest.raises(SourceError) as caught:
        project.down(to=0)

    assert str(caught.value.position).endswith("2_b.down.sql:2:1")
    assert project.applied() == [1, 2, 3]


def test_an_irreversible_migration_says_why_it_cannot_be_undone(project: Project) -> None:
    """The reason is the author's."""
    project.write({**PAIRS, "2_b.down.sql": "-- whimbrel: irreversible = the old data is gone\n"})
    project.up()

    with pytest.raises(PlanError, match="the old data is gone"):
        project.down(to=0)

    assert project.applied() == [1, 2, 3]


def test_down_uses_the_stored_script_when_the_file_is_gone(project: Project) -> None:
    """An older image can roll back what a newer one applied."""
    project.write(PAIRS)
    project.up()
    for name in ("3_c.up.sql", "3_c.down.sql"):
        (project.folder / name).unlink()

    result = project.down()

    assert result.error is None
    assert result.finished[0].down_is_stored
    assert not project.has_table("c")


def test_a_missing_file_is_a_warning_on_up_and_no_failure(project: Project) -> None:
    """The application was rolled back to an older image."""
    project.write(PAIRS)
    project.up()
    for name in ("3_c.up.sql", "3_c.down.sql"):
        (project.folder / name).unlink()

    result = project.up()

    assert result.error is None
    assert project.events[0] == Warned("version 3 (c) is applied, but its file is missing")


def test_the_plan_of_a_down_names_each_table_with_its_rows(project: Project) -> None:
    """Also those of a schema that is dropped whole, and columns."""
    project.write(
        {
            "1_a.up.sql": "CREATE SCHEMA s; CREATE TABLE s.one (n int); CREATE TABLE s.two (n int);"
            "CREATE TABLE a (n int, gone text); INSERT INTO s.one VALUES (1), (2); INSERT INTO a VALUES (1);",
            "1_a.down.sql": "DROP SCHEMA s CASCADE; ALTER TABLE a DROP COLUMN gone; DROP TABLE a;",
        }
    )
    project.up()

    with project.session() as session:
        _, tasks = operations.make_tasks(session, project.source(), Action.DOWN, plan_down)
        losses = find_losses(session.connection, tasks)

    assert [(loss.table, loss.column, loss.rows) for loss in losses] == [
        ("s.one", None, 2),
        ("s.two", None, 0),
        ("a", "gone", 1),
        ("a", None, 1),
    ]


def test_redo_undoes_and_applies_again(project: Project) -> None:
    """Data of that migration goes; its record is new."""
    project.write(PAIRS)
    project.up()
    project.connection.execute("INSERT INTO c VALUES (1)")

    with project.session() as session:
        result = operations.redo(session, project.source())

    assert [step.direction.value for step in result.finished] == ["down", "up"]
    assert project.value("SELECT count(*) FROM c") == 0
    assert project.applied() == [1, 2, 3]


def test_force_runs_an_applied_script_again(project: Project) -> None:
    """It mends what was dropped by hand."""
    project.write({**PAIRS, "2_b.up.sql": "CREATE TABLE IF NOT EXISTS b (n int);"})
    project.up()
    project.connection.execute("DROP TABLE b")

    result = project.force(2)

    assert result.error is None
    assert project.has_table("b")
    assert project.applied() == [1, 2, 3]


def test_a_force_that_fails_leaves_record_and_data_as_they_were(project: Project) -> None:
    """Record deleted, script run, record written: one transaction."""
    project.write(PAIRS)
    project.up()
    before = project.value("SELECT to_jsonb(t)::text FROM schema_migrations AS t WHERE version = 2")

    result = project.force(2)

    assert result.error is not None
    assert project.value("SELECT to_jsonb(t)::text FROM schema_migrations AS t WHERE version = 2") == before
    assert project.value("SELECT outcome FROM schema_migrations_log ORDER BY id DESC LIMIT 1") == "failed"


def test_force_applies_only_the_version_that_it_names(project: Project) -> None:
    """What is pending stays pending."""
    project.write(PAIRS)
    project.up(to=1)

    project.force(3)

    assert project.applied() == [1, 3]


def test_an_edited_file_stops_up_and_reformatting_does_not(project: Project) -> None:
    """The token checksum tells them apart."""
    project.write(PAIRS)
    project.up(to=2)
    project.write({"1_a.up.sql": "-- explained\r\ncreate table A\r\n(\r\n    N int\r\n);\r\n"})
    assert [state.is_reformatted for state in project.states()] == [True, False, False]
    assert project.up().error is None
    project.write({"1_a.up.sql": "CREATE TABLE a (n bigint);"})

    with pytest.raises(Modified, match=r"1 \(a\) was changed since"):
        project.up()

    assert [state.is_modified for state in project.states()] == [True, False, False]


def test_repair_accepts_an_edited_file_and_its_down(project: Project) -> None:
    """Nothing is run; the new down script is the one that is kept."""
    project.write(PAIRS)
    project.up()
    project.write({"1_a.up.sql": "CREATE TABLE a (n bigint);", "1_a.down.sql": "DROP TABLE IF EXISTS a;"})

    with project.session() as session:
        accepted = corrections.repair(session, project.source())

    assert [migration.version for migration in accepted] == [1]
    assert not any(state.is_modified for state in project.states())
    assert project.value("SELECT down_sql FROM schema_migrations WHERE version = 1") == "DROP TABLE IF EXISTS a;"


def test_baseline_records_without_running(project: Project) -> None:
    """For a database that already is what the migrations make."""
    project.write(PAIRS)

    with project.session() as session:
        recorded = corrections.baseline(session, project.source(), 2)

    assert [migration.version for migration in recorded] == [1, 2]
    assert not project.has_table("a")
    project.up()
    assert project.applied() == [1, 2, 3]
    assert project.has_table("c")


def test_a_rehearsal_runs_everything_and_writes_nothing(project: Project) -> None:
    """Not even the history tables; the failure that up would meet is met."""
    project.write({**PAIRS, "4_d.up.sql": "INSERT INTO a VALUES (1); SELECT 1/0;"})

    with project.session() as session:
        result = operations.rehearse(session, project.source())

    assert [step.version for step in result.finished] == [1, 2, 3]
    assert result.error is not None
    assert result.error.message == "division by zero"
    assert project.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0


def test_a_rehearsal_of_what_is_good_finishes_and_leaves_nothing(project: Project) -> None:
    """Deferred constraints are checked as at a COMMIT."""
    project.write(PAIRS)

    with project.session() as session:
        result = operations.rehearse(session, project.source())

    assert len(result.finished) == 3
    assert project.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0


def test_a_rehearsal_ends_before_what_cannot_run_in_a_transaction(project: Project) -> None:
    """And says so."""
    project.write({**PAIRS, "4_d.up.sql": "CREATE INDEX CONCURRENTLY i ON a (n);", "5_e.up.sql": "SELECT 1/0;"})

    with project.session() as session:
        result = operations.rehearse(session, project.source(), emit=project.events.append)

    assert result.error is None
    assert [step.version for step in result.remaining] == [4, 5]
    assert any(isinstance(event, Warned) and "4_d.up.sql" in event.message for event in project.events)


def test_seed_files_run_in_the_order_of_their_names_and_leave_no_record(project: Project, tmp_path: Path) -> None:
    """Each in a transaction of its own."""
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "02_b.sql").write_text("INSERT INTO s SELECT count(*) FROM s;")
    (seeds / "01_a.sql").write_text("CREATE TABLE s (n bigint);")
    (seeds / "README.md").write_text("not SQL")

    with project.session() as session:
        result = operations.seed(session, seeds)

    assert result.error is None
    assert project.value("SELECT n FROM s") == 0
    assert project.applied() == []


def test_a_version_that_nobody_knows_is_refused(project: Project) -> None:
    """A slip of the finger must not undo everything."""
    project.write(PAIRS)
    project.up()

    for operation in (lambda: project.down(to=4), lambda: project.force(4), lambda: project.up(to=4)):
        with pytest.raises(PlanError, match="there is no version 4"):
            operation()
    assert project.applied() == [1, 2, 3]


def test_a_forced_migration_keeps_its_place_in_the_order_of_application(project: Project) -> None:
    """Or the next down would undo the first migration."""
    project.write({**PAIRS, "1_a.up.sql": "CREATE TABLE IF NOT EXISTS a (n int);"})
    project.up()
    project.force(1)
    with project.session() as session:
        operations.redo(session, project.source(), version=2)

    project.down()

    assert project.applied() == [1, 2]


def test_a_down_that_is_no_longer_what_was_confirmed_does_nothing(project: Project) -> None:
    """Somebody applied another migration while the question was open."""
    project.write(PAIRS)
    project.up(to=2)
    with project.session() as session:
        plan, _ = operations.make_tasks(session, project.source(), Action.DOWN, operations.down_planner(None))
    project.up()

    with project.session() as session, pytest.raises(PlanError, match="has changed since this was confirmed"):
        operations.down(session, project.source(), confirmed=plan)

    assert project.applied() == [1, 2, 3]


def test_a_redo_of_an_up_that_cannot_be_parsed_undoes_nothing(project: Project) -> None:
    """It is the command for the file that is being written."""
    project.write(PAIRS)
    project.up()
    project.write({"3_c.up.sql": "CREATE TABLE c (n int;"})

    with project.session() as session, pytest.raises(SourceError):
        operations.redo(session, project.source())

    assert project.has_table("c")


def test_a_down_file_that_is_gone_is_replaced_by_the_stored_script(project: Project) -> None:
    """Also where the up file is still there."""
    project.write(PAIRS)
    project.up()
    (project.folder / "3_c.down.sql").unlink()

    result = project.down()

    assert result.error is None
    assert result.finished[0].down_is_stored


def test_a_rehearsal_takes_files_that_record_themselves_and_deferred_constraints(project: Project) -> None:
    """As up would."""
    project.write(
        {
            "1_a.up.sql": "CREATE TABLE p (id int PRIMARY KEY);"
            "CREATE TABLE c (p int REFERENCES p DEFERRABLE INITIALLY DEFERRED);"
            "INSERT INTO schema_migrations (version, description) VALUES (1, 'x') ON CONFLICT DO NOTHING;",
            "2_b.up.sql": "INSERT INTO c VALUES (1); INSERT INTO p VALUES (1);",
        }
    )

    with project.session() as session:
        result = operations.rehearse(session, project.source())

    assert result.error is None
    assert project.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0

"""The public API: its names, and an application that migrates its own database with them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.resources
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import get_args

import psycopg
import pytest
from psycopg.rows import DictRow, TupleRow, dict_row

import whimbrel
from whimbrel import events
from whimbrel.errors import ConfigError, ConnectionFailed, Modified, SourceError, StatementFailed

FILES = {
    "000001_create_notes.up.sql": "CREATE TABLE notes (id int PRIMARY KEY);\n",
    "000001_create_notes.down.sql": "DROP TABLE notes;\n",
    "000002_add_body.up.sql": "ALTER TABLE notes ADD COLUMN body text;\nINSERT INTO notes VALUES (1, 'first');\n",
    "000002_add_body.down.sql": "ALTER TABLE notes DROP COLUMN body;\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with two migrations."""
    return write(tmp_path / "migrations", FILES)


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def log(connection: psycopg.Connection[TupleRow]) -> list[TupleRow]:
    return connection.execute(
        "SELECT version, action, outcome FROM public.schema_migrations_log ORDER BY id"
    ).fetchall()


def versions(result: whimbrel.Result) -> list[int]:
    return [step.version for step in result.finished]


# The names


def test_the_public_names_are_these() -> None:
    assert whimbrel.__all__ == [
        "Applied",
        "Backfilled",
        "Condition",
        "Config",
        "Direction",
        "Event",
        "Migration",
        "Plan",
        "Result",
        "Source",
        "State",
        "Step",
        "WhimbrelError",
        "backfill",
        "migrate",
        "read_migrations",
        "read_status",
    ]


def test_every_public_name_is_there() -> None:
    found = [getattr(whimbrel, name) for name in whimbrel.__all__]
    assert all(value is not None for value in found)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'migrator'"):
        getattr(whimbrel, "migrator")  # noqa: B009  (the type checker knows that it is not there)


def test_every_exception_is_a_whimbrel_error() -> None:
    module = importlib.import_module("whimbrel.errors")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 10
    assert all(issubclass(kind, whimbrel.WhimbrelError) for kind in kinds)


def test_importing_the_package_loads_no_driver() -> None:
    program = "import sys, whimbrel; print(sorted({'psycopg', 'postgast', 'rich', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Where the migrations come from


def test_migrations_come_from_a_folder(folder: Path, dsn: str) -> None:
    assert versions(whimbrel.migrate(folder, dsn)) == [1, 2]


def test_a_folder_may_be_a_string(folder: Path, dsn: str) -> None:
    assert versions(whimbrel.migrate(str(folder), dsn)) == [1, 2]


def test_migrations_may_have_been_read_before(folder: Path, dsn: str) -> None:
    source = whimbrel.read_migrations(folder)
    assert [migration.name for migration in source.migrations] == ["create_notes", "add_body"]
    assert versions(whimbrel.migrate(source, dsn)) == [1, 2]


def test_migrations_come_from_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    package = write(tmp_path / "site" / "app_in_a_folder", {"__init__.py": ""})
    write(package / "migrations", FILES)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    resources = importlib.resources.files("app_in_a_folder") / "migrations"
    assert versions(whimbrel.migrate(resources, dsn)) == [1, 2]


def test_migrations_come_from_a_package_in_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsn: str
) -> None:
    archive = tmp_path / "site.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("app_in_an_archive/__init__.py", "")
        for name, text in FILES.items():
            file.writestr(f"app_in_an_archive/migrations/{name}", text)
    monkeypatch.setattr(sys, "path", [str(archive), *sys.path])
    resources = importlib.resources.files("app_in_an_archive") / "migrations"
    assert versions(whimbrel.migrate(resources, dsn)) == [1, 2]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, dsn: str) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        whimbrel.migrate(tmp_path / "nowhere", dsn)


# What is done


def test_the_result_tells_what_was_done(folder: Path, dsn: str) -> None:
    result = whimbrel.migrate(folder, dsn)
    assert [(step.version, step.name, step.direction) for step in result.finished] == [
        (1, "create_notes", whimbrel.Direction.UP),
        (2, "add_body", whimbrel.Direction.UP),
    ]
    assert (result.failed, result.remaining, result.error) == (None, (), None)


def test_a_second_call_does_nothing_and_says_so(folder: Path, dsn: str) -> None:
    whimbrel.migrate(folder, dsn)
    told: list[whimbrel.Event] = []
    assert whimbrel.migrate(folder, dsn, on_event=told.append) == whimbrel.Result(())
    assert [type(event) for event in told] == [events.RunFinished]


def test_a_call_stops_behind_a_version(folder: Path, dsn: str) -> None:
    assert versions(whimbrel.migrate(folder, dsn, to=1)) == [1]
    assert versions(whimbrel.migrate(folder, dsn)) == [2]


def test_events_arrive_in_order(folder: Path, dsn: str) -> None:
    told: list[whimbrel.Event] = []
    whimbrel.migrate(folder, dsn, on_event=told.append)
    assert [type(event) for event in told] == [
        events.RunStarted,
        events.StepStarted,
        events.StepFinished,
        events.StepStarted,
        events.StepFinished,
        events.RunFinished,
    ]
    assert isinstance(told[0], events.RunStarted)
    assert [step.version for step in told[0].plan.steps] == [1, 2]
    assert [event.step.version for event in told if isinstance(event, events.StepFinished)] == [1, 2]
    assert isinstance(told[-1], events.RunFinished)
    assert (told[-1].applied, told[-1].remaining) == (2, 0)


def test_a_listener_that_raises_ends_the_run_between_whole_migrations(
    folder: Path, dsn: str, connection: psycopg.Connection[TupleRow]
) -> None:
    def refuse(event: whimbrel.Event) -> None:
        if isinstance(event, events.StepStarted) and event.step.version == 2:
            raise KeyError(event.step.name)

    with pytest.raises(KeyError, match="add_body"):
        whimbrel.migrate(folder, dsn, on_event=refuse)
    # What had been sent ahead may be committed: then with its record.
    recorded = connection.execute("SELECT version FROM schema_migrations ORDER BY version").fetchall()
    assert recorded in ([(1,)], [(1,), (2,)])
    columns = connection.execute("SELECT * FROM notes").description
    assert len(columns or ()) == len(recorded)
    assert len(versions(whimbrel.migrate(folder, dsn))) == 2 - len(recorded)


def test_event_names_every_kind_of_event() -> None:
    kinds = {
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and kind.__module__ == events.__name__ and hasattr(kind, "__dataclass_fields__")
    }
    # What events tell of, and none itself.
    kinds.remove(events.Blocker)
    assert set(get_args(whimbrel.Event)) == kinds


def test_settings_are_those_of_the_configuration(
    folder: Path, dsn: str, connection: psycopg.Connection[TupleRow]
) -> None:
    whimbrel.migrate(folder, dsn, history_table="ops.migrations")
    assert connection.execute("SELECT version FROM ops.migrations ORDER BY version").fetchall() == [(1,), (2,)]


def test_the_settings_hold_from_the_first_migration_of_an_empty_database(
    folder: Path, dsn: str, connection: psycopg.Connection[TupleRow]
) -> None:
    connection.execute("CREATE SCHEMA app")
    write(
        folder,
        {
            "000000_look.up.sql": "CREATE TABLE seen AS SELECT current_setting('search_path') AS path,"
            " current_setting('TimeZone') AS zone, current_setting('lock_timeout') AS patience;"
        },
    )
    whimbrel.migrate(folder, dsn, search_path="app", lock_timeout="3s")
    assert connection.execute("SELECT path, zone, patience FROM app.seen").fetchall() == [("app", "UTC", "3s")]
    assert connection.execute("SELECT body FROM app.notes").fetchall() == [("first",)]


def test_an_unknown_setting_is_an_error(folder: Path, dsn: str) -> None:
    with pytest.raises(ConfigError, match='unknown key "lock_timout"') as caught:
        whimbrel.migrate(folder, dsn, lock_timout="1s")
    assert caught.value.hint == 'Perhaps you meant "lock_timeout".'


def test_no_file_and_no_variable_is_read(
    folder: Path, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection[TupleRow]
) -> None:
    write(tmp_path, {"whimbrel.toml": 'history_table = "from_file"\n', ".env": "WHIMBREL_HISTORY_TABLE=from_env\n"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHIMBREL_HISTORY_TABLE", "from_environment")
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/elsewhere")
    whimbrel.migrate(folder, dsn)
    assert log(connection) == [(1, "up", "succeeded"), (2, "up", "succeeded")]


# What is wrong


def test_a_failed_statement_is_an_error_with_its_place(
    folder: Path, dsn: str, connection: psycopg.Connection[TupleRow]
) -> None:
    (folder / "000002_add_body.up.sql").write_text(
        "ALTER TABLE notes ADD COLUMN body text;\nUPDATE notes SET bdy = '';"
    )
    with pytest.raises(whimbrel.WhimbrelError) as caught:
        whimbrel.migrate(folder, dsn)
    error = caught.value
    assert isinstance(error, StatementFailed)
    assert error.sqlstate == "42703"
    assert error.position is not None
    assert Path(error.position.path).name == "000002_add_body.up.sql"
    assert (error.position.line, error.position.column) == (2, 18)
    assert error.position.text == "UPDATE notes SET bdy = '';"
    # What came before stays, and nothing of the failed migration does.
    assert log(connection) == [(1, "up", "succeeded"), (2, "up", "failed")]
    columns = connection.execute("SELECT * FROM notes").description
    assert [column.name for column in columns or ()] == ["id"]


def test_the_call_after_an_error_goes_on_from_there(folder: Path, dsn: str) -> None:
    second = folder / "000002_add_body.up.sql"
    good = second.read_text()
    second.write_text("SELECT 1 / 0;")
    with pytest.raises(StatementFailed, match="division by zero"):
        whimbrel.migrate(folder, dsn)
    second.write_text(good)
    assert versions(whimbrel.migrate(folder, dsn)) == [2]


def test_events_of_a_failed_run_end_with_the_failure(folder: Path, dsn: str) -> None:
    (folder / "000001_create_notes.up.sql").write_text("SELECT 1 / 0;")
    told: list[whimbrel.Event] = []
    with pytest.raises(StatementFailed) as caught:
        whimbrel.migrate(folder, dsn, on_event=told.append)
    failed, finished = told[-2:]
    assert isinstance(failed, events.StepFailed)
    assert failed.error is caught.value
    assert isinstance(finished, events.RunFinished)
    assert (finished.applied, finished.remaining) == (0, 2)


def test_a_changed_file_is_an_error(folder: Path, dsn: str) -> None:
    whimbrel.migrate(folder, dsn)
    (folder / "000001_create_notes.up.sql").write_text("CREATE TABLE notes (id bigint PRIMARY KEY);\n")
    with pytest.raises(Modified, match=r"applied migration 1 \(create_notes\) was changed since"):
        whimbrel.migrate(folder, dsn)


def test_an_error_shows_no_password(folder: Path) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        whimbrel.migrate(folder, "postgresql://app:hunter2@127.0.0.1:1/app")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)
    # What was caught on the way may hold the address.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# Over an open connection


def test_an_open_connection_does(folder: Path, connection: psycopg.Connection[TupleRow]) -> None:
    assert versions(whimbrel.migrate(folder, connection)) == [1, 2]
    assert connection.execute("SELECT body FROM notes").fetchall() == [("first",)]


def test_a_connection_gets_back_the_settings_that_it_was_opened_with(folder: Path, dsn: str) -> None:
    names = ("search_path", "TimeZone", "lock_timeout", "statement_timeout", "application_name", "client_min_messages")
    with psycopg.connect(
        dsn, autocommit=True, application_name="shop", options="-c timezone=Europe/Lisbon -c lock_timeout=7s"
    ) as connection:

        def settings() -> list[TupleRow]:
            return [row for name in names for row in connection.execute(f"SHOW {name}".encode()).fetchall()]

        before = settings()
        assert ("shop",) in before
        assert ("Europe/Lisbon",) in before
        whimbrel.migrate(folder, connection)
        assert settings() == before
        # A migration that fails, and a look, leave no more behind.
        write(folder, {"000003_fail.up.sql": "SET search_path TO pg_catalog; SELECT 1 / 0;"})
        with pytest.raises(StatementFailed):
            whimbrel.migrate(folder, connection)
        assert settings() == before
        whimbrel.read_status(folder, connection)
        assert settings() == before


def test_a_connection_holds_no_lock_afterwards(folder: Path, connection: psycopg.Connection[TupleRow]) -> None:
    whimbrel.migrate(folder, connection)
    held = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    ).fetchone()
    assert held == (0,)


@pytest.mark.parametrize("text", ["CREATE TABLE b ();", "SELECT 1/0;"])
def test_a_connection_keeps_no_prepared_statement_of_ours(
    folder: Path, connection: psycopg.Connection[TupleRow], text: str
) -> None:
    for number in (5, 6, 7):
        (folder / f"00000{number}_more.up.sql").write_text(f"CREATE TABLE more_{number} ();")
    (folder / "000008_last.up.sql").write_text(text)
    with contextlib.suppress(whimbrel.WhimbrelError):
        whimbrel.migrate(folder, connection)
    assert connection.execute("SELECT to_regclass('more_7') IS NOT NULL").fetchone() == (True,)
    assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


def test_a_connection_that_is_not_autocommit_is_given_back_as_it_was(folder: Path, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        whimbrel.migrate(folder, connection)
        assert not connection.autocommit
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        connection.execute("INSERT INTO notes VALUES (2)")
        connection.rollback()
        assert connection.execute("SELECT id FROM notes").fetchall() == [(1,)]


def test_a_connection_in_a_transaction_is_refused(folder: Path, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT 1")
        with pytest.raises(ConfigError, match="in the middle of a transaction"):
            whimbrel.migrate(folder, connection)
        with pytest.raises(ConfigError, match="in the middle of a transaction"):
            whimbrel.read_status(folder, connection)
        # The transaction is still the caller's own.
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS


# What is there


def test_the_status_of_an_empty_database_is_all_pending_and_leaves_it_empty(
    folder: Path, dsn: str, connection: psycopg.Connection[TupleRow]
) -> None:
    states = whimbrel.read_status(folder, dsn)
    assert [(state.version, state.name, state.condition) for state in states] == [
        (1, "create_notes", whimbrel.Condition.PENDING),
        (2, "add_body", whimbrel.Condition.PENDING),
    ]
    assert connection.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'schema_migrations%'").fetchone() == (
        0,
    )


def test_the_status_tells_applied_from_pending(folder: Path, dsn: str) -> None:
    whimbrel.migrate(folder, dsn, to=1)
    first, second = whimbrel.read_status(folder, dsn)
    assert first.condition is whimbrel.Condition.APPLIED
    assert first.applied is not None
    assert (first.applied.name, first.applied.is_by_hand, first.applied.has_down) == ("create_notes", False, True)
    assert second.applied is None


def test_the_status_tells_what_is_odd(folder: Path, dsn: str) -> None:
    whimbrel.migrate(folder, dsn)
    (folder / "000001_create_notes.up.sql").write_text(
        "-- Only a comment more.\n" + FILES["000001_create_notes.up.sql"]
    )
    (folder / "000002_add_body.up.sql").unlink()
    (folder / "000002_add_body.down.sql").unlink()
    first, second = whimbrel.read_status(folder, dsn)
    assert (first.is_modified, first.is_reformatted, first.is_missing) == (False, True, False)
    assert second.is_missing


def test_the_status_comes_over_an_open_connection(folder: Path, connection: psycopg.Connection[TupleRow]) -> None:
    whimbrel.migrate(folder, connection)
    assert all(state.applied is not None for state in whimbrel.read_status(folder, connection))


# At once


def test_four_threads_migrate_the_same_database_and_each_migration_runs_once(
    folder: Path, dsn: str, connection: psycopg.Connection[TupleRow]
) -> None:
    together = Barrier(4)

    def start() -> list[int]:
        together.wait(timeout=30)
        return versions(whimbrel.migrate(folder, dsn))

    with ThreadPoolExecutor(4) as threads:
        done = [each.result(timeout=60) for each in [threads.submit(start) for _ in range(4)]]
    assert sorted(done) == [[], [], [], [1, 2]]
    assert log(connection) == [(1, "up", "succeeded"), (2, "up", "succeeded")]


def test_a_connections_own_role_and_row_factory_hold_to_the_end(folder: Path, dsn: str) -> None:
    """The application's tables belong to the role that it had taken, and its connection comes back as it was."""
    with psycopg.Connection[DictRow].connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        role = f"app_{connection.info.dbname}"
        connection.execute(f"CREATE ROLE {role}; GRANT CREATE ON SCHEMA public TO {role}; SET ROLE {role}".encode())
        try:
            whimbrel.migrate(folder, connection)

            assert connection.execute("SELECT current_user::text AS name").fetchone() == {"name": role}
            query = "SELECT DISTINCT tableowner::text AS name FROM pg_tables WHERE schemaname = 'public'"
            assert connection.execute(query).fetchall() == [{"name": role}]
        finally:
            connection.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}".encode())

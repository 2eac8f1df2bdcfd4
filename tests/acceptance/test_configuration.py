"""whimbrel.toml, .env, environment and flags, in rising order; and which of them it was."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from .programs import Project, applied

Connection = psycopg.Connection[TupleRow]


@pytest.fixture
def alone(tmp_path: Path) -> Project:
    """Give a project without a database."""
    return Project(tmp_path, None)


def origins(project: Project, *arguments: str, variables: dict[str, str] | None = None) -> dict[str, tuple[str, str]]:
    """Return each configured value with its origin."""
    out = project.succeed("status", "--origins", "--json", *arguments, variables=variables)
    values: dict[str, dict[str, str]] = json.loads(out)["values"]
    return {key: (each["value"], each["origin"]) for key, each in values.items()}


def test_each_source_outdoes_the_one_before(alone: Project) -> None:
    def lock_wait(*arguments: str, variables: dict[str, str] | None = None) -> tuple[str, str]:
        return origins(alone, *arguments, variables=variables)["lock_wait"]

    assert lock_wait() == ("1min", "default")
    alone.write("whimbrel.toml", 'lock_wait = "2s"\n')
    assert lock_wait() == ("2s", "whimbrel.toml")
    alone.write(".env", "WHIMBREL_LOCK_WAIT=3s\n")
    assert lock_wait() == ("3s", ".env")
    assert lock_wait(variables={"WHIMBREL_LOCK_WAIT": "4s"}) == ("4s", "environment")
    done = alone.run("up", "--lock-wait", "5x", variables={"WHIMBREL_LOCK_WAIT": "4s"})
    assert (done.code, done.err) == (
        2,
        'error: "lock_wait" cannot be "5x" (from command line)\nHint: It is a duration such as "5s" or "2min".\n',
    )


def test_the_database_may_come_from_each_of_them(alone: Project, dsn: str) -> None:
    alone.three_tables()
    alone.write("whimbrel.toml", f'database = "{dsn}"\n')
    alone.succeed("status")
    assert origins(alone)["database"][1] == "whimbrel.toml"
    alone.write("whimbrel.toml", 'database = "host=/nowhere"\n')
    alone.write(".env", f"DATABASE_URL='{dsn}'\n")
    alone.succeed("status")
    assert origins(alone)["database"][1] == ".env"
    nowhere = {"DATABASE_URL": "host=/nowhere"}
    assert alone.run("status", variables=nowhere).code == 8
    alone.succeed("status", variables={**nowhere, "WHIMBREL_DATABASE": dsn})
    alone.succeed("status", "--database", dsn, variables=nowhere)
    assert origins(alone, "--database", dsn)["database"][1] == "command line"


def test_origins_for_a_person(alone: Project) -> None:
    alone.write("whimbrel.toml", 'migrations = "db"\n')
    out = alone.succeed("status", "--origins", variables={"DATABASE_URL": "postgresql://me:hunter2@db.example/app"})
    lines = out.splitlines()
    assert lines[0] == ("database           user=me password=******** dbname=app host=db.example  (environment)")
    assert lines[2] == f"migrations         {alone.root}/db  (whimbrel.toml)"
    assert lines[4] == "history_table      public.schema_migrations  (default)"
    assert "hunter2" not in out


def test_libpqs_own_variables_in_dotenv_count_and_the_environments_outdo_them(alone: Project, dsn: str) -> None:
    alone.three_tables()
    parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items()}
    lines = (f"PGHOST={parts['host']}", f"PGPORT={parts['port']}", "PGUSER=postgres", f"PGDATABASE={parts['dbname']}")
    alone.write(".env", "# the database\n" + "\n".join(lines) + "\n")
    alone.succeed("up")
    assert alone.fail(8, "status", variables={"PGDATABASE": "nowhere"}).startswith(
        'error: cannot connect: database "nowhere" does not exist\n'
    )


def test_the_file_is_found_from_a_folder_below_and_its_paths_are_its_own(project: Project) -> None:
    project.three_tables()
    project.migrations.rename(project.root / "db")
    project.write("whimbrel.toml", 'migrations = "db"\n')
    below = Project(project.root / "src" / "app", project.database)
    below.root.mkdir(parents=True)
    assert below.succeed("status").count("pending") == 3
    assert below.succeed("create", "next").endswith("000004_next.down.sql\n")
    assert (project.root / "db" / "000004_next.up.sql").is_file()
    elsewhere = Project(project.root / "elsewhere", project.database)
    elsewhere.root.mkdir()
    assert elsewhere.succeed("status", "--config", "../whimbrel.toml").count("pending") == 4
    assert elsewhere.succeed("status", "--migrations", "../db").count("pending") == 4


BAD_FILES = {
    'lock_wiat = "1s"\n': ('unknown key "lock_wiat"\nHint: Perhaps you meant "lock_wait".\n'),
    "lock_wait = true\n": '"lock_wait" has to be a string\n',
    'out_of_order = "perhaps"\n': None,
    'history_table = "My Table"\n': None,
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_configuration_that_makes_no_sense(project: Project, connection: Connection, text: str) -> None:
    project.three_tables()
    project.write("whimbrel.toml", text)
    error = project.fail(2, "up")
    assert error.startswith("error: ")
    assert "whimbrel.toml" in error
    assert "Traceback" not in error
    if BAD_FILES[text] is not None:
        assert error.endswith(f"whimbrel.toml: {BAD_FILES[text]}")
    assert applied(connection) == []


def test_a_configuration_that_is_not_toml_or_not_there(project: Project) -> None:
    path = project.write("whimbrel.toml", 'database = "secret\n')
    error = project.fail(2, "up")
    assert error.startswith(f"error: {path}")
    assert "secret" not in error
    assert project.fail(2, "up", "--config", "nothing.toml") == (
        "error: configuration file nothing.toml does not exist\nHint: Give the path of a file: --config FILE\n"
    )
    project.write("whimbrel.toml", b"database = '\xff'\n")
    assert project.fail(2, "up").startswith(f"error: {path}")


def test_a_line_of_dotenv_that_cannot_be_read_is_named_and_not_shown(project: Project) -> None:
    path = project.write(".env", "# fine\nhunter2 is my password\n")
    error = project.fail(2, "up")
    assert error.startswith(f"error: {path}:2")
    assert "hunter2" not in error


def test_the_embedded_postgresql_is_used_only_where_it_is_configured(alone: Project) -> None:
    alone.three_tables()
    for command in ("start", "stop", "status", "logs"):
        error = alone.fail(2, "cluster", command, "--database", "host=/nowhere")
        assert error.startswith("error: the configured database is not the embedded PostgreSQL\n")
    nothing = alone.run("cluster", "status", "--database", "embedded:data")
    assert (nothing.code, nothing.out) == (3, "Not running.\n")
    assert not (alone.root / "data").exists()


def test_the_life_of_an_embedded_postgresql(alone: Project) -> None:
    alone.three_tables()
    alone.write("whimbrel.toml", 'database = "embedded:.whimbrel/data?dbname=app"\n')
    try:
        assert alone.succeed("up").startswith('"app" on embedded PostgreSQL 18 at .whimbrel/data, PostgreSQL 18.')
        out = alone.succeed("cluster", "status")
        assert out.startswith("Running: PostgreSQL 18, process ")
        assert alone.succeed("cluster", "start").startswith("Already running: PostgreSQL 18, process ")
        assert alone.succeed("psql", "--", "-XAtc", "SELECT count(*) FROM schema_migrations") == "3\n"
        assert "database system is ready" in alone.succeed("cluster", "logs")
        assert alone.succeed("cluster", "stop") == "Stopped.\n"
        assert alone.succeed("cluster", "stop") == "It was not running.\n"
        assert alone.succeed("status").count("applied") == 3
    finally:
        alone.run("cluster", "stop")

"""The scripts and the Make targets: thin, from any folder, and without the faults of scripts of their kind.

Where a docstring says "Once: …", that is what the scripts did from which this project learned.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .conftest import ProjectAt, Server
from .project import COUNT_TABLES, ROOT, Project

RUN = "infra/scripts/run-migrations.sh"
INIT = "infra/scripts/init-db.sh"
SEED = "infra/scripts/seed-data.sh"
RESET = "infra/scripts/reset-db.sh"
SCRIPTS = sorted((ROOT / "infra" / "scripts").glob("*.sh"))
PENDING = "○ 000002_add_presence_schema.up.sql (pending)"
APPLIED = "✓ 000002_add_presence_schema.up.sql (applied)"
COUNT_PEOPLE = "SELECT (SELECT count(*) FROM auth.users), (SELECT count(*) FROM users.profiles)"


# -- run-migrations.sh up and status


def test_up_applies_every_pending_migration(project: Project) -> None:
    """Once: 2 was skipped as already applied as soon as the table of records existed."""
    project.run(f"{RUN} up")
    assert project.versions() == [1, 2, 3, 4]
    assert project.value(COUNT_TABLES) == 48


def test_up_a_second_time_has_nothing_to_do(project_at: ProjectAt) -> None:
    assert project_at(4).run(f"{RUN} up").lines == ["Nothing to do: everything is applied."]


def test_up_and_status_agree(project_at: ProjectAt) -> None:
    """Once: up said "already applied" of what status called pending."""
    project = project_at(1)
    assert PENDING in project.run(f"{RUN} status").lines
    assert "✓ 000002_add_presence_schema.up.sql" in project.run(f"{RUN} up").output
    assert APPLIED in project.run(f"{RUN} status").lines


def test_status_of_an_empty_database_is_that_all_is_pending(project: Project) -> None:
    """Once: psql's raw error, and exit 0."""
    done = project.run(f"{RUN} status")
    assert [line[0] for line in done.lines] == ["○"] * 4
    assert project.value("SELECT to_regclass('schema_migrations') IS NULL") is True


def test_a_table_of_that_name_in_another_schema_is_no_record(project: Project) -> None:
    """Once: any schema's schema_migrations counted."""
    project.execute("CREATE SCHEMA other", "CREATE TABLE other.schema_migrations AS SELECT 2 AS version")
    assert PENDING in project.run(f"{RUN} status").lines


def test_two_runners_at_once_apply_each_migration_once(project: Project) -> None:
    """Once: no lock."""
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(project.run, [f"{RUN} up"] * 2))
    assert project.versions() == [1, 2, 3, 4]
    assert sum(each.output.count("✓ 000001_init_schema.up.sql") for each in done) == 1


def test_versions_are_numbers_and_not_text(project_at: ProjectAt) -> None:
    """Once: run in the order of the file names."""
    project = project_at(4)
    project.migration("10_second.up.sql").write_text("ALTER TABLE first ADD COLUMN name text;\n")
    project.migration("9_first.up.sql").write_text("CREATE TABLE first (id bigint);\n")
    project.run(f"{RUN} up")
    assert project.versions() == [1, 2, 3, 4, 9, 10]


# -- failures


@pytest.mark.parametrize("command", [f"{RUN} up", "make db-migrate"])
def test_a_failed_migration_fails_the_command_and_leaves_nothing(project_at: ProjectAt, command: str) -> None:
    """Once: "✓ applied" and a record, with the half of it in the database."""
    project = project_at(4)
    project.migration("000005_half.up.sql").write_text(
        "CREATE TABLE half (id bigint);\nSELECT 1 / 0;\n"
        "INSERT INTO schema_migrations (version, description) VALUES (5, 'Half');\n"
    )
    done = project.try_(command)
    assert done.code == (2 if command.startswith("make") else 1)
    assert "migrations/postgres/000005_half.up.sql:2:1: division by zero" in done.output
    assert "✓" not in done.output
    assert project.versions() == [1, 2, 3, 4]
    assert project.value("SELECT to_regclass('half') IS NULL") is True


def test_init_fails_when_a_statement_of_the_baseline_fails(project: Project) -> None:
    """Once: errors were filtered out of the output, and then SUCCESS; half a database stayed for ever."""
    baseline = project.migration("000001_init_schema.up.sql")
    good = baseline.read_text()
    baseline.write_text(f"{good}\nSELECT 1 / 0;\n")
    assert project.try_(INIT).code == 1
    assert project.value(COUNT_TABLES) == 0
    baseline.write_text(good)
    project.run(INIT)
    assert project.value(COUNT_TABLES) == 42


@pytest.mark.parametrize("script", [f"{RUN} up", f"{RUN} down", f"{RUN} status", f"{RUN} force 1", INIT, SEED])
def test_without_a_server_a_script_says_so_and_exits_with_8(project: Project, script: str) -> None:
    """Once: the reason was thrown away, or the outcome was "nothing to do"."""
    done = project.try_(script, DATABASE_URL="postgresql://echo:zu2geheim@127.0.0.1:1/echo")
    assert done.code == 8
    assert "Connection refused" in done.output
    assert "zu2geheim" not in done.output


def test_a_missing_database_is_named_with_the_command_that_makes_it(project: Project) -> None:
    missing = make_conninfo(project.conninfo, dbname="not_there")
    done = project.try_("make db-migrate", DATABASE_URL=missing)
    assert done.code != 0
    assert 'database "not_there" does not exist' in done.output
    assert "--create-database" in done.output


# -- run-migrations.sh down and force


def test_down_undoes_the_last_migration(project_at: ProjectAt) -> None:
    """Once: files numbered with six digits were never found, which was a SUCCESS."""
    project = project_at(4)
    assert "↩ 000004_message_search.down.sql" in project.run(f"{RUN} down").output
    assert project.versions() == [1, 2, 3]
    assert project.value("SELECT to_regproc('messages.search') IS NULL") is True


def test_down_to_a_version_keeps_that_version_and_its_data(project_at: ProjectAt) -> None:
    """Once: down 1 undid 1 as well, and with it seven schemas."""
    project = project_at(4, is_seeded=True)
    project.run(f"{RUN} down 1")
    assert project.versions() == [1]
    assert project.value(COUNT_TABLES) == 42
    assert project.query(COUNT_PEOPLE) == [(5, 5)]
    assert project.value("SELECT count(*) FROM messages.messages") == 12


def test_down_to_nothing_and_up_again_gives_all_48_tables(project_at: ProjectAt) -> None:
    """Once: up and down of the baseline were not each other's reverse."""
    project = project_at(4)
    project.run(f"{RUN} down 0")
    assert project.value(COUNT_TABLES) == 0
    project.run(f"{RUN} up")
    assert project.value(COUNT_TABLES) == 48


def test_a_missing_down_file_stops_down_before_anything_is_undone(project_at: ProjectAt) -> None:
    """Once: a warning, and then SUCCESS."""
    project = project_at(4)
    project.migration("000005_one_way.up.sql").write_text("CREATE TABLE one_way (id bigint);\n")
    project.run(f"{RUN} up")
    assert project.try_(f"{RUN} down 1").code == 2
    assert project.versions() == [1, 2, 3, 4, 5]


def test_force_applies_one_version_again_and_nothing_else(project_at: ProjectAt) -> None:
    """Once: the record was deleted, nothing was run, and every later up was stuck."""
    project = project_at(2)
    project.execute("DROP SCHEMA presence CASCADE")
    project.run(f"{RUN} force 2")
    assert project.value(COUNT_TABLES) == 48
    assert project.versions() == [1, 2]
    project.run(f"{RUN} up")
    assert project.versions() == [1, 2, 3, 4]


def test_force_of_a_script_that_fails_leaves_all_as_it_was(project_at: ProjectAt) -> None:
    project = project_at(4)
    project.migration("000005_once.up.sql").write_text("CREATE TABLE once (id bigint);\n")
    project.run(f"{RUN} up")
    done = project.try_(f"{RUN} force 5")
    assert done.code == 1
    assert 'relation "once" already exists' in done.output
    assert project.versions() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("version", ["", "x", "2;DROP", "-1", "1.5"])
def test_force_wants_a_number(project_at: ProjectAt, version: str) -> None:
    """Once: whatever it was given became SQL."""
    done = project_at(2).try_(f"{RUN} force '{version}'" if version else f"{RUN} force")
    assert done.code == 2
    assert "a number" in done.output


# -- how the scripts are called


@pytest.mark.parametrize("arguments", ["", "sideways", "UP"])
def test_an_unknown_command_is_a_usage_error(project: Project, arguments: str) -> None:
    done = project.try_(f"{RUN} {arguments}")
    assert done.code == 2
    assert "usage: run-migrations.sh up" in done.output


@pytest.mark.parametrize(
    "script", [f"{INIT} --force", f"{SEED} --all", f"{RESET} --force", "infra/scripts/reset-db.sh 1"]
)
def test_an_unknown_option_is_a_usage_error(project_at: ProjectAt, script: str) -> None:
    """Once: make db-init always passed --force, and dropped the database."""
    project = project_at(4, is_seeded=True)
    assert project.try_(script).code == 2
    assert project.query(COUNT_PEOPLE) == [(5, 5)]


def test_options_are_passed_on(project_at: ProjectAt) -> None:
    project = project_at(1)
    assert project.try_(f"{RUN} status --check").code == 3
    assert "CREATE SCHEMA" in project.run(f"{RUN} up --plan").output
    assert project.versions() == [1]


@pytest.mark.parametrize("folder", ["infra/scripts", "migrations/postgres", "database"])
def test_the_scripts_work_from_any_folder(project: Project, folder: str) -> None:
    """Once: .env was looked for in the folder of the caller."""
    environment = dict(project.environment)
    address = environment.pop("DATABASE_URL")
    (project.root / ".env").write_text(f'DATABASE_URL="{address}"\n')
    elsewhere = Project(project.root, environment)
    for script in (f"{INIT}", f"{RUN} up", SEED):
        elsewhere.run(f"{project.root}/{script}", folder=folder)
    assert project.versions() == [1, 2, 3, 4]
    assert project.query(COUNT_PEOPLE) == [(5, 5)]


def test_the_scripts_work_through_a_link_from_outside_the_project(project_at: ProjectAt, tmp_path: Path) -> None:
    project = project_at(1)
    link = tmp_path / "migrate"
    link.symlink_to(project.root / RUN)
    assert PENDING in project.run(f"cd / && {link} status", CDPATH=str(tmp_path)).lines


def test_the_scripts_work_in_a_folder_with_spaces(project_at: ProjectAt, tmp_path: Path) -> None:
    project = project_at(1)
    moved = Project(tmp_path / "a folder with spaces", project.environment)
    project.root.rename(moved.root)
    assert PENDING in moved.run(f"cd / && '{moved.root}/{RUN}' status").lines


@pytest.mark.parametrize("command", [f"{RUN} up", f"{RUN} down", f"{RUN} status", f"{RUN} force 2", INIT, SEED])
def test_a_closed_standard_input_is_fine(project_at: ProjectAt, command: str) -> None:
    """Once: down died in `read`."""
    project_at(4).run(f"{command} <&-")


def test_without_a_venv_the_whimbrel_on_path_is_used(project_at: ProjectAt) -> None:
    project = project_at(1)
    shutil.rmtree(project.root / ".venv")
    path = f"{Path(sys.executable).parent}:{project.environment['PATH']}"
    assert PENDING in project.run(f"{RUN} status", PATH=path).lines


def test_without_any_whimbrel_it_is_set_up_first(project_at: ProjectAt) -> None:
    project = project_at(1)
    (project.root / ".venv").rename(project.root / "later")
    (project.root / "Makefile").write_text("setup:\n\t@echo setting up; mv later .venv\n")
    # Only what the scripts themselves need.
    programs = project.root / "programs"
    programs.mkdir()
    for name in ("sh", "bash", "readlink", "dirname", "make", "echo", "mv", "env"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    done = project.run(f"{RUN} status", PATH=str(programs))
    assert done.lines[0] == "setting up"
    assert PENDING in done.lines


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_executable_and_its_shell_can_read_it(script: Path) -> None:
    """Once: `read -n` and `[[` for a shell that knows neither."""
    text = script.read_text()
    assert os.access(script, os.X_OK)
    shell = {"#!/bin/sh": "sh", "#!/usr/bin/env bash": "bash"}[text.splitlines()[0]]
    subprocess.run([shell, "-n", script], check=True)
    assert re.search(r"^set -euo? ?(pipefail)?$", text, re.MULTILINE)
    if shell == "sh":
        assert not re.search(
            r"\[\[|\bread -[^r]|\bread -r[a-z]|\bfunction \w|\bsource |\blocal |<<<|\$'|pipefail", text
        )


def test_a_failure_is_never_passed_over(project: Project) -> None:
    """Once: `|| true`, `2>/dev/null` and `eval`."""
    for file in (*SCRIPTS, ROOT / "Makefile", ROOT / ".ci" / "run"):
        for line in file.read_text().splitlines():
            if "find src tests" not in line and "python" not in line.lower():
                assert not re.search(r"\|\| (true|:)|2>/dev/null|\beval\b", line), f"{file.name}: {line}"


# -- .env


@pytest.mark.parametrize(
    ("line", "password"),
    [
        ("PGPASSWORD=plain", "plain"),
        ("PGPASSWORD=with#hash", "with#hash"),
        ("PGPASSWORD=before # and a comment", "before"),
        ("PGPASSWORD='two words'", "two words"),
        ('PGPASSWORD="it\'s"', "it's"),
        ("PGPASSWORD='p@ss:w/o?r%d$HOME`id`\\'", "p@ss:w/o?r%d$HOME`id`\\"),
        ("export PGPASSWORD=exported", "exported"),
    ],
)
def test_a_password_of_env_arrives_as_it_was_written(project: Project, line: str, password: str) -> None:
    """Once: lines with a # were dropped, words after the first cut off, quotes kept, the file evaluated."""
    environment = dict(project.environment)
    address = environment.pop("DATABASE_URL")
    (project.root / ".env").write_text(f'# A comment\n\nDATABASE_URL="{address}"\n{line}\n')
    elsewhere = Project(project.root, environment)
    done = elsewhere.run("make --silent db-connect", stdin="\\getenv found PGPASSWORD\n\\echo <:found>\n")
    assert done.lines == [f"<{password}>"]


def test_a_password_in_an_address_may_hold_any_character(project: Project) -> None:
    host = str(conninfo_to_dict(project.conninfo)["host"]).replace("/", "%2F")
    dbname = conninfo_to_dict(project.conninfo)["dbname"]
    address = f"postgresql://postgres:p@ss:w/o?r#d%@{host}/{dbname}"
    done = project.run("make db-connect", stdin="\\getenv found PGPASSWORD\n\\echo <:found>\n", DATABASE_URL=address)
    assert done.lines[-1] == "<p@ss:w/o?r#d%>"


# -- init-db.sh


@pytest.mark.parametrize("command", [INIT, "make db-init"])
def test_init_creates_the_database(server: Server, project: Project, command: str) -> None:
    """Once: "Database already exists", and then it was not there."""
    name = f"made_by_init_{os.getpid()}"
    address = make_conninfo(project.conninfo, dbname=name)
    try:
        project.run(command, DATABASE_URL=address)
        assert Project(project.root, {"DATABASE_URL": address}).versions() == [1]
    finally:
        with psycopg.connect(server.running.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


def test_init_again_never_drops_anything(project_at: ProjectAt) -> None:
    """Once: it dropped the database each time."""
    project = project_at(4, is_seeded=True)
    project.run(INIT)
    project.run("make db-init")
    assert project.versions() == [1, 2, 3, 4]
    assert project.query(COUNT_PEOPLE) == [(5, 5)]


def test_init_and_migrate_agree(project: Project) -> None:
    """Once: init loaded files that no migration knew of."""
    project.run(INIT)
    assert "✓ 000001_init_schema.up.sql (applied)" in project.run(f"{RUN} status").lines
    assert "000001" not in project.run(f"{RUN} up").output


# -- seed-data.sh


def test_seeds_bring_five_users_with_their_profiles(project_at: ProjectAt) -> None:
    """Once: no profile at all, and SUCCESS."""
    project = project_at(4)
    project.run(SEED)
    assert project.query(COUNT_PEOPLE) == [(5, 5)]
    assert project.query("SELECT username FROM users.profiles ORDER BY 1") == [
        ("alice",),
        ("bob",),
        ("charlie",),
        ("dave",),
        ("eve",),
    ]


def test_seeds_a_second_time_change_nothing(project_at: ProjectAt) -> None:
    """Once: twice the messages."""
    project = project_at(4, is_seeded=True)
    counts = (
        "SELECT (SELECT count(*) FROM messages.messages), (SELECT count(*) FROM messages.participants),"
        " (SELECT count(*) FROM notifications.notifications), (SELECT count(*) FROM presence.status_history)"
    )
    before = project.query(counts)
    project.run("make db-seed")
    assert project.query(counts) == before


def test_a_seed_file_that_fails_fails_the_command(project_at: ProjectAt) -> None:
    """Once: psql's exit code was lost."""
    project = project_at(4)
    (project.root / "database/seeds/001_users.sql").write_text(
        "INSERT INTO auth.users (email) VALUES ('half@example.com');\nSELECT 1 / 0;\n"
    )
    assert project.try_(SEED).code == 1
    assert project.query(COUNT_PEOPLE) == [(0, 0)]


# -- make db-reset


def test_reset_makes_the_database_anew(project_at: ProjectAt) -> None:
    """Once: it connected to a database that did not exist."""
    project = project_at(2)
    project.execute("CREATE TABLE users.leftover ()")
    done = project.run("make db-reset YES=1")
    dbname = conninfo_to_dict(project.conninfo)["dbname"]
    assert re.match(rf"database: .*{dbname}", done.lines[0])
    assert project.versions() == [1, 2, 3, 4]
    assert project.query(COUNT_PEOPLE) == [(5, 5)]
    assert project.value("SELECT to_regclass('users.leftover') IS NULL") is True


def test_reset_ends_the_sessions_that_would_stop_it(project_at: ProjectAt) -> None:
    """Once: any open connection."""
    project = project_at(2)
    with closing(psycopg.connect(project.conninfo)) as other:
        other.execute("SELECT 1")
        project.run("make db-reset YES=1")
    assert project.versions() == [1, 2, 3, 4]


@pytest.mark.parametrize("stdin", ["", "y\n"])
def test_reset_does_nothing_where_nobody_can_be_asked(project_at: ProjectAt, stdin: str) -> None:
    project = project_at(2)
    project.execute("CREATE TABLE users.kept ()")
    done = project.try_("make db-reset", stdin=stdin)
    assert done.code != 0
    assert "YES=1" in done.output
    assert project.value("SELECT to_regclass('users.kept') IS NULL") is False


@pytest.mark.parametrize(
    ("answer", "is_kept"), [("n", True), ("", True), ("yours", True), ("y", False), ("YES", False)]
)
def test_reset_asks_at_a_terminal(project_at: ProjectAt, answer: str, is_kept: bool) -> None:
    """Once: `read -n` in sh, so that the answer was always no."""
    project = project_at(2)
    project.execute("CREATE TABLE users.kept ()")
    done = project.at_terminal("make db-reset", f"{answer}\n")
    assert "[y/N]" in done.output
    dbname = conninfo_to_dict(project.conninfo)["dbname"]
    assert re.search(rf"^database: .*{dbname}", done.output, re.MULTILINE)
    assert ("Nothing was changed." in done.output) is is_kept
    assert (project.value("SELECT to_regclass('users.kept') IS NULL") is False) is is_kept


# -- the Makefile


def test_make_alone_lists_the_targets(project: Project) -> None:
    done = project.run("make")
    targets = (
        "up down db-init db-migrate db-migrate-down db-migrate-status db-seed db-connect db-reset test lint docs help"
    )
    for target in targets.split():
        assert re.search(rf"^  {target} +\w", done.output, re.MULTILINE), target


def test_the_embedded_server_starts_and_stops_and_keeps_its_data(fresh: Project) -> None:
    assert fresh.run("make up").lines[0].startswith("Started PostgreSQL 18")
    assert fresh.run("make up").lines[0].startswith("Already running: PostgreSQL 18")
    fresh.run("make db-migrate")
    assert fresh.run("make down").lines == ["Stopped."]
    assert fresh.run("make down").lines == ["It was not running."]
    assert fresh.run("make db-migrate").lines == ["Nothing to do: everything is applied."]


def test_the_whole_project_works_in_a_folder_with_spaces_and_signs(tmp_path: Path, fresh: Project) -> None:
    moved = Project(tmp_path / "Müller's folder, 100%", fresh.environment)
    fresh.root.rename(moved.root)
    try:
        moved.run("make db-migrate")
        assert moved.value(COUNT_TABLES) == 48
    finally:
        moved.run("make down")
        moved.root.rename(fresh.root)


def test_with_docker_the_commands_use_the_server_of_the_compose_file(project: Project) -> None:
    environment = {name: value for name, value in project.environment.items() if name != "DATABASE_URL"}
    done = Project(project.root, environment).run("make --dry-run up db-connect ENGINE=docker POSTGRES_PORT=5433")
    assert "docker compose --file infra/docker/docker-compose.yml up --detach --wait" in done.lines
    assert "docker exec --interactive $(test -t 0 && echo --tty) echo-postgres psql --username=echo --dbname=echo" in (
        done.lines
    )
    failed = Project(project.root, environment).try_("make db-migrate ENGINE=docker POSTGRES_PORT=1")
    assert "port 1 failed" in failed.output


@pytest.mark.parametrize("name", ["DATABASE_URL", "WHIMBREL_DATABASE"])
@pytest.mark.parametrize("is_exported", [True, False], ids=["exported", "env_file"])
@pytest.mark.parametrize("target", ["db-migrate", "db-reset YES=1"])
def test_with_docker_no_other_server_is_used(project_at: ProjectAt, name: str, is_exported: bool, target: str) -> None:
    project = project_at(1)
    variables = {key: value for key, value in project.environment.items() if key != "DATABASE_URL"}
    if is_exported:
        variables[name] = project.conninfo
    else:
        (project.root / ".env").write_text(f"{name}={project.conninfo}\n")
    failed = Project(project.root, variables).try_(f"make {target} ENGINE=docker POSTGRES_PORT=1")
    assert "port 1 failed" in failed.output
    assert project.versions() == [1]


def test_an_engine_that_does_not_exist_is_refused(project: Project) -> None:
    done = project.try_("make db-migrate ENGINE=dokcer")
    assert done.code == 2
    assert 'ENGINE is "dokcer"; it can be embedded or docker' in done.output

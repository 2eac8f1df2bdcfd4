"""The document that the project began with: each of its code blocks, verbatim in blocks/, does what it was said to do.

A test is named after the heading of its block. What a reader types at psql's prompt stands in some blocks below
`make db-connect`, between commands for the shell: `as_script` turns them into one script.
"""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from psycopg import pq

from .conftest import ProjectAt
from .project import COUNT_TABLES, Project

BLOCKS = Path(__file__).with_name("blocks")
ALICE = "a1111111-1111-1111-1111-111111111111"
PRESENCE_TABLES = {
    "user_status",
    "connections",
    "activity_log",
    "typing_indicators",
    "subscriptions",
    "status_history",
}
COUNT_PRESENCE = "SELECT count(*) FROM pg_tables WHERE schemaname = 'presence'"
HAS_LAST_ACTIVE = """
    SELECT count(*) > 0 FROM pg_attribute
    WHERE attrelid = 'users.profiles'::regclass AND attname = 'last_active_at' AND NOT attisdropped
"""
SHELL_COMMAND = re.compile(r"(make|cd|ls|docker|docker-compose) |\./")


def read(name: str) -> str:
    return (BLOCKS / name).read_text(encoding="utf-8")


def as_script(block: str, root: Path) -> str:
    """Return a block as a script: what follows `make db-connect` is typed at psql's prompt.

    psql knows no comments with #. The container's folders /migrations and /database are the project's.
    """
    block = re.sub(r"(\\i )/(?=migrations/|database/)", rf"\1{root}/", block)
    script: list[str] = []
    lines = block.splitlines()
    while lines:
        script.append(lines.pop(0))
        if script[-1] == "make db-connect":
            typed: list[str] = []
            while lines and not SHELL_COMMAND.match(lines[0]):
                typed.append(re.sub(r"(^|\s+)#.*", "", lines.pop(0)))
            script[-1:] = ["make db-connect <<'TYPED'", *typed, "TYPED"]
    return "\n".join(script)


def test_option_1_fresh_database(fresh: Project) -> None:
    done = fresh.run(read("option_1_fresh_database.sh"))
    assert done.lines[-4:] == [
        "✓ 000001_init_schema.up.sql (applied)",
        "✓ 000002_add_presence_schema.up.sql (applied)",
        "✓ 000003_add_indexes.up.sql (applied)",
        "✓ 000004_message_search.up.sql (applied)",
    ]
    assert fresh.value(COUNT_TABLES) == 48
    assert fresh.value("SELECT count(*) FROM auth.users") == 5


def test_option_1_step_by_step_initialises_the_baseline_alone(project: Project) -> None:
    project.run("make db-init")
    assert project.versions() == [1]
    assert project.value(COUNT_TABLES) == 42


def test_option_2_existing_database(project_at: ProjectAt) -> None:
    project = project_at(1)
    project.execute("INSERT INTO auth.users (email) VALUES ('kept@example.com')")
    done = project.run(read("option_2_existing_database.sh"))
    assert "○ 000002_add_presence_schema.up.sql (pending)" in done.lines
    assert not [line for line in done.lines if re.match("✓ 000001.*ms", line)]
    assert project.versions() == [1, 2, 3, 4]
    assert project.value(COUNT_PRESENCE) == 6
    assert project.value("SELECT count(*) FROM auth.users WHERE email = 'kept@example.com'") == 1


def test_option_3_manual_schema_load(project_at: ProjectAt) -> None:
    """Its two ways are alternatives; one after the other, the second has nothing left to do but to record itself."""
    project = project_at(1)
    _, only_migration = read("option_3_manual_schema_load.sh").split("\n\n# Manually load")
    by_migration = "make db-connect\n" + only_migration[only_migration.index("# Or apply") :]
    done = project.run(as_script(by_migration, project.root))
    assert "ERROR" not in done.output
    assert project.value(COUNT_PRESENCE) == 6
    status = project.run("make db-migrate-status")
    assert [line for line in status.lines if line.startswith("✓ 000002_add_presence_schema.up.sql (applied")]
    done = project.run("make db-migrate")
    assert "000002" not in done.output
    assert project.versions() == [1, 2, 3, 4]


def test_option_3_manual_schema_load_of_both_files(project_at: ProjectAt) -> None:
    project = project_at(1)
    done = project.run(as_script(read("option_3_manual_schema_load.sh"), project.root))
    assert "No such file" not in done.output
    assert "extra argument" not in done.output
    assert project.value(COUNT_PRESENCE) == 6
    assert project.versions() == [1, 2]


def test_helper_functions(project_at: ProjectAt) -> None:
    project = project_at(4, is_seeded=True)
    block = read("helper_functions.sql").replace("'user_id'", f"'{ALICE}'")
    assert "ERROR" not in project.run("make db-connect", stdin=block).output
    assert project.value(f"SELECT status FROM presence.user_status WHERE user_id = '{ALICE}'") == "online"


def test_apply_migrations(project: Project) -> None:
    done = project.run(read("apply_migrations.sh"))
    assert done.lines[-1] == "Nothing to do: everything is applied."
    assert project.versions() == [1, 2, 3, 4]
    assert project.value(COUNT_TABLES) == 48


def test_check_status(project_at: ProjectAt) -> None:
    project = project_at(2)
    project.keep_migrations(1, 2, 3)
    block = read("check_status.sh")
    expected = [line.removeprefix("# ") for line in block.splitlines() if re.match("# [✓○]", line)]
    assert len(expected) == 3
    assert project.run(block).lines == expected


def test_rollback(project_at: ProjectAt) -> None:
    project = project_at(4, is_seeded=True)
    first, second = read("rollback.sh").split("# Or rollback")
    project.run(first)
    assert project.versions() == [1, 2, 3]
    project.run(f"# Or rollback{second}")
    assert project.versions() == [1]
    assert project.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'presence'") == 0
    assert project.value(COUNT_TABLES) == 42
    assert project.value("SELECT count(*) FROM auth.users") == 5


def test_force_re_apply(project_at: ProjectAt) -> None:
    project = project_at(4, is_seeded=True)
    project.execute("DROP TABLE presence.typing_indicators")
    project.run(read("force_re_apply.sh"))
    assert project.value(COUNT_PRESENCE) == 6
    assert project.versions() == [1, 2, 3, 4]
    assert project.value("SELECT count(*) FROM presence.user_status") == 5


def test_step_1_create_migration_files(project_at: ProjectAt) -> None:
    project = project_at(2)
    project.keep_migrations(1, 2)
    project.run(read("step_1_create_migration_files.sh"))
    assert "○ 000003_your_migration_name.up.sql (pending)" in project.run("make db-migrate-status").lines


def test_step_2_test_migration(project_at: ProjectAt) -> None:
    project = project_at(2)
    project.keep_migrations(1, 2)
    project.run(read("step_1_create_migration_files.sh"))
    block = re.sub(r"# Run (\\d users\.profiles) .*", r"\1", read("step_2_test_migration.sh"))
    done = project.run(as_script(block, project.root))
    applied, undone = done.output.split("↩ 000003_your_migration_name.down.sql")
    assert "last_active_at " in applied
    assert "last_active_at " not in undone
    assert project.versions() == [1, 2, 3]
    assert project.value(HAS_LAST_ACTIVE) is True
    rows = project.query("SELECT version, description FROM schema_migrations WHERE version = 3")
    assert rows == [(3, "Add last_active_at to profiles")]


def test_verify_schema_creation(project_at: ProjectAt) -> None:
    project = project_at(4)
    block = read("verify_schema_creation.sh")
    assert set(re.findall(r"# presence\.(\w+)", block)) == PRESENCE_TABLES
    done = project.run(as_script(block, project.root))
    assert set(re.findall(r"presence \| (\w+) +\| table", done.output)) == PRESENCE_TABLES


def test_insert_test_data(project_at: ProjectAt) -> None:
    done = project_at(4, is_seeded=True).run("make db-connect", stdin=read("insert_test_data.sql"))
    assert "ERROR" not in done.output
    assert re.search(rf"{ALICE} \| online", done.output)
    assert "(1 row)" in done.lines


def test_test_cleanup_functions(project_at: ProjectAt) -> None:
    project = project_at(4, is_seeded=True)
    project.execute(
        # What the seeds report lapses after five minutes, and these tests may begin later than that.
        "UPDATE presence.user_status SET lapses_at = 'infinity'",
        "INSERT INTO presence.typing_indicators (conversation_id, user_id, expires_at)"
        f" SELECT id, '{ALICE}', now() - interval '1 second' FROM messages.conversations LIMIT 1",
        "INSERT INTO presence.connections (user_id, connection_id, device_id, last_heartbeat_at)"
        f" VALUES ('{ALICE}', 'silent', 'phone', now() - interval '31 seconds')",
    )
    done = project.run("make db-connect", stdin=read("test_cleanup_functions.sql"))
    assert re.findall(r"^ +(\d+)$", done.output, re.MULTILINE) == ["1", "1"]
    assert project.query("SELECT * FROM presence.typing_indicators") == []
    assert project.value("SELECT status FROM presence.connections WHERE connection_id = 'silent'") == "disconnected"


def go_queries() -> list[bytes]:
    found = re.findall(r"query := `(.*?)`", read("example_go_code.go"), re.DOTALL)
    assert len(found) == 3
    return [query.encode() for query in found]


def execute(connection: psycopg.Connection[tuple[object, ...]], query: bytes, *parameters: bytes) -> None:
    """Run a query with $1, $2, … as database/sql does: the values travel apart from it, as text without a type."""
    result = connection.pgconn.exec_params(query, list(parameters))
    assert result.status in {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK}, result.error_message.decode()


@pytest.mark.parametrize("repetitions", [1, 2], ids=["once", "twice"])
def test_example_go_code(project_at: ProjectAt, repetitions: int) -> None:
    project = project_at(4, is_seeded=True)
    conversation = project.value("SELECT min(id::text) FROM messages.conversations")
    update_status, track_connection, set_typing = go_queries()
    alice = ALICE.encode()
    with psycopg.connect(project.conninfo, autocommit=True) as connection:
        for _ in range(repetitions):
            execute(connection, update_status, alice, b"busy", b"phone")
            execute(
                connection, track_connection, alice, b"c-1", b"phone", b"ios", b"192.0.2.7", b"Echo/1.0", b"server-1"
            )
            execute(connection, set_typing, str(conversation).encode(), alice, b"phone")
    assert project.value(f"SELECT status FROM presence.user_status WHERE user_id = '{ALICE}'") == "busy"
    assert project.value("SELECT count(*) FROM presence.connections WHERE connection_id = 'c-1'") == 1
    assert project.value("SELECT count(*) FROM presence.typing_indicators WHERE expires_at > now()") == 1


def test_setup_automated_migrations(project: Project) -> None:
    """The deployment stops where the migrations fail; what it starts then waits for them once more."""
    block = read("setup_automated_migrations.sh")
    started = project.root / "started"
    docker_compose = project.root / "docker-compose"
    docker_compose.write_text(f'#!/bin/sh\ntest -f "$2" && test "$3 $4" = "up -d" && touch {started}\n')
    docker_compose.chmod(0o755)
    path = f"{project.root}:{project.environment['PATH']}"
    broken = project.migration("000005_broken.up.sql")
    broken.write_text("SELECT 1 / 0;\n")
    failed = project.try_(block, PATH=path)
    assert (failed.code, started.exists()) == (1, False)
    assert "division by zero" in failed.output
    broken.unlink()
    project.run(block, PATH=path)
    assert started.exists()
    assert project.versions() == [1, 2, 3, 4]


def test_migration_failed(project_at: ProjectAt) -> None:
    """Without Docker, `whimbrel cluster logs` is what shows PostgreSQL's log."""
    project = project_at(2)
    project.keep_migrations(1, 2)
    file = project.migration("000003_badges.up.sql")
    file.write_text("CREATE TABLE users.badges (id bigint);\nALTER TABLE users.nobody ADD COLUMN badge bigint;\n")
    failed = project.try_("make db-migrate")
    assert failed.code != 0
    assert 'migrations/postgres/000003_badges.up.sql:2:1: relation "users.nobody" does not exist' in failed.output
    assert project.value("SELECT to_regclass('users.badges') IS NULL") is True

    block = read("migration_failed.sh").replace("docker logs echo-postgres\n", "")
    block = block.replace("<version>", "3")
    fix = "make db-connect\nCREATE TABLE users.nobody ();"
    done = project.run(as_script(block.replace("make db-connect", fix), project.root))
    assert "○ 000003_badges.up.sql (pending)" in done.lines
    assert project.versions() == [1, 2, 3]
    assert project.value("SELECT to_regclass('users.badges') IS NULL") is False


def test_migration_failed_and_its_log_without_docker(fresh: Project) -> None:
    fresh.run("make db-connect", stdin="SELECT 1 / 0;")
    assert "ERROR:  division by zero" in fresh.run(".venv/bin/whimbrel cluster logs").output


def test_rollback_not_working(project_at: ProjectAt) -> None:
    project = project_at(2)
    block = read("rollback_not_working.sh")
    done = project.run(as_script(block, project.root))
    assert "migrations/postgres/000002_add_presence_schema.down.sql" in done.lines
    assert "ERROR" not in done.output
    assert "○ 000002_add_presence_schema.up.sql (pending)" in project.run("make db-migrate-status").lines


def test_schema_conflicts(project_at: ProjectAt) -> None:
    """A table of that name was made by hand and is another one; the block makes room for ours."""
    project = project_at(1)
    project.execute("CREATE SCHEMA presence", "CREATE TABLE presence.user_status (id integer)")
    failed = project.try_("make db-migrate")
    assert failed.code != 0
    assert 'relation "user_status" already exists' in failed.output
    assert project.versions() == [1]
    done = project.run(as_script(read("schema_conflicts.sh"), project.root))
    assert "DROP SCHEMA" in done.lines
    assert project.value(COUNT_PRESENCE) == 6
    assert project.versions() == [1, 2, 3, 4]


def test_schema_conflicts_after_the_record_was_written(project_at: ProjectAt) -> None:
    """Where version 2 is recorded, nothing is pending after the block's DROP SCHEMA: force makes the schema again."""
    project = project_at(4)
    done = project.run(as_script(read("schema_conflicts.sh"), project.root))
    assert done.lines[-1] == "Nothing to do: everything is applied."
    assert project.value(COUNT_PRESENCE) == 0
    project.run("infra/scripts/run-migrations.sh force 2")
    assert project.value(COUNT_PRESENCE) == 6

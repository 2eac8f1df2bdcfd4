"""A backfill in a migration: where its annotation may stand, how the file runs, what is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whimbrel.annotations import Backfill
from whimbrel.errors import SourceError
from whimbrel.migration import Outline, backfill_of, outline
from whimbrel.statements import script_from

from ..acceptance.programs import Project
from .conftest import STATEMENT, Connection, counts, make_table

UPDATE = "UPDATE messages.messages SET content = body WHERE content IS NULL"


def read(text: str) -> Outline:
    return outline(script_from(text.encode(), "file.sql"), 1, "schema_migrations")


def annotation(value: str, statement: str = UPDATE) -> Backfill:
    script = script_from(f"-- whimbrel: backfill = {value}\n{statement};".encode(), "file.sql")
    found = backfill_of(script, next(script.statements()))
    assert found is not None
    return found


def refusal(text: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(text)
    return caught.value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("messages.messages", (("messages", "messages"), (), None)),
        ("messages by id", (("messages",), ("id",), None)),
        ("Messages . MESSAGES by Tenant_ID , id batch = auto", (("messages", "messages"), ("tenant_id", "id"), None)),
        ('"messages"."messages" by "Key ""2""", by batch=17', (("messages", "messages"), ('Key "2"', "by"), 17)),
        ("messages.messages batch = 50000", (("messages", "messages"), (), 50000)),
    ],
)
def test_an_annotation_names_the_table_the_key_and_the_batch(
    value: str, expected: tuple[tuple[str, ...], tuple[str, ...], int | None]
) -> None:
    found = annotation(value)
    assert (found.table, found.key, found.batch) == expected


@pytest.mark.parametrize(
    "value",
    ["messages.messages by", "a.b.c", "messages batch = 0", "messages batch = 50001", "by id", "messages batch 5"],
)
def test_an_annotation_that_cannot_be_meant_is_refused_with_its_place(value: str) -> None:
    error = refusal(f"SELECT 1;\n-- whimbrel: backfill = {value}\n{UPDATE};")
    assert error.position is not None
    assert error.position.line == 2
    assert error.hint


def test_a_file_with_a_backfill_runs_statement_by_statement() -> None:
    found = read(f"CREATE TABLE a ();\n-- whimbrel: backfill = messages.messages\n{UPDATE};\nSELECT 1")
    assert (found.statements, found.is_transactional) == (3, False)
    assert found.autocommit_at is not None
    assert found.autocommit_at.line == 3


def test_the_first_statement_may_have_one_beside_what_concerns_the_file() -> None:
    found = read(f"-- whimbrel: lock_budget = 1h\n-- whimbrel: backfill = messages\n{UPDATE};")
    assert (found.is_transactional, found.annotations.lock_budget) == (False, "1h")
    assert not read(f"-- whimbrel: transaction = off\n-- whimbrel: backfill = messages\n{UPDATE};").is_transactional


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("-- whimbrel: backfill = t\nSELECT 1;", 2, "only an UPDATE or DELETE"),
        (f"{UPDATE};\n-- whimbrel: backfill = messages\n", 2, "would be ignored here"),
        ("-- whimbrel: backfill = messages\n", 1, "would be ignored here"),
        (f"-- whimbrel: backfill = others\n{UPDATE};", 1, "names table others, and the statement below it another one"),
        (f"-- whimbrel: backfill = other.messages\n{UPDATE};", 1, "names table other.messages"),
        (f"-- whimbrel: backfill = messages\n-- whimbrel: backfill = messages\n{UPDATE};", 2, "stands twice"),
        (f"-- whimbrel: transaction = on\n-- whimbrel: backfill = messages\n{UPDATE};", 1, "asks for a transaction"),
        (
            f"BEGIN;\n-- whimbrel: backfill = messages\n{UPDATE};\nCOMMIT;",
            3,
            "inside the transaction that this file opens",
        ),
        (
            f"SELECT 1;\n-- whimbrel: transaction = off\n-- whimbrel: backfill = messages\n{UPDATE};",
            2,
            "would be ignored",
        ),
        ("-- whimbrel: backfill = t\nUPDATE t SET a = 1\n  RETURNING b;", 2, "without a WHERE clause"),
        ("-- whimbrel: backfill = t\nUPDATE t SET a = = 1\nWHERE b;", 2, "syntax error"),
    ],
)
def test_what_would_be_ignored_or_cannot_be_is_refused_with_its_place(text: str, line: int, message: str) -> None:
    error = refusal(text)
    assert message in error.message
    assert error.position is not None
    assert error.position.line == line


# --------------------------------------------------------------------------------------------------------- in a run


def test_a_migration_is_recorded_when_its_backfill_is_done(project: Project, connection: Connection) -> None:
    make_table(connection, 500)
    project.migration(
        1,
        "ALTER TABLE t ADD COLUMN content bigint;\n"
        "-- whimbrel: backfill = t batch = 100\nUPDATE t SET content = id WHERE content IS NULL;\n"
        "ALTER TABLE t ALTER COLUMN content SET NOT NULL;\n",
        "-- whimbrel: backfill = public.t by id\nDELETE FROM t WHERE id > 400;\nALTER TABLE t DROP COLUMN content;\n",
    )
    documents = [json.loads(line) for line in project.succeed("up", "--json").splitlines()]
    told = [each for each in documents if each["whimbrel"] == "backfill_advanced"]
    assert (told[-1]["step"], told[-1]["walked"], told[-1]["changed"]) == (1, 500, 500)
    assert connection.execute("SELECT count(DISTINCT xmin::text), count(content) FROM t").fetchone() == (5, 500)
    project.succeed("down", "--yes")
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (400,)
    rows = "SELECT version, direction, statement, changed, finished_at > started_at FROM schema_migrations_backfill"
    assert connection.execute(rows).fetchall() == [(1, "up", 2, 500, True), (1, "down", 1, 100, True)]
    project.succeed("up")
    assert connection.execute("SELECT count(*) FROM schema_migrations_backfill").fetchone() == (3,)


def test_the_plan_shows_that_there_is_no_transaction(project: Project, connection: Connection) -> None:
    make_table(connection, 1)
    project.migration(1, f"-- whimbrel: backfill = t\n{STATEMENT};\n")
    assert "statement by statement, no transaction" in project.succeed("up", "--plan")


def test_a_rehearsal_ends_before_it(project: Project, connection: Connection) -> None:
    make_table(connection, 5)
    project.migration(1, "CREATE TABLE a ();\n")
    project.migration(2, f"-- whimbrel: backfill = t\n{STATEMENT};\n")
    assert "cannot run in a transaction: the rehearsal ends before it" in project.succeed("up", "--rehearse")
    assert counts(connection) == [(0, 5)]


def test_it_is_refused_where_each_transaction_takes_the_lock(project: Project, connection: Connection) -> None:
    make_table(connection, 5)
    project.migration(1, f"-- whimbrel: backfill = t\n{STATEMENT};\n")
    told = project.fail(2, "up", "--lock", "transaction")
    assert "m1.up.sql:2:1" in told
    assert 'cannot run with lock = "transaction"' in told


def test_a_table_that_cannot_be_walked_leaves_no_trace_and_the_file_may_be_mended(
    project: Project, connection: Connection
) -> None:
    connection.execute("CREATE TABLE t (id bigint, n int DEFAULT 0, done boolean DEFAULT false)")
    connection.execute("INSERT INTO t VALUES (1)")
    project.migration(1, f"-- whimbrel: backfill = t\n{STATEMENT};\n")
    told = project.fail(2, "up")
    assert "m1.up.sql:2:1: table public.t has no primary key to be walked by" in told
    assert "(pending)" in project.succeed("status")
    connection.execute("ALTER TABLE t ADD PRIMARY KEY (id)")
    project.migration(1, f"-- whimbrel: backfill = t\n{STATEMENT} AND true;\n")
    project.succeed("up")
    assert counts(connection) == [(1, 1)]


def test_an_update_that_leaves_rows_leaves_no_trace_and_the_file_may_be_mended(
    project: Project, connection: Connection
) -> None:
    make_table(connection, 10)
    connection.execute("ALTER TABLE t ADD COLUMN old text, ADD COLUMN new text")
    connection.execute("UPDATE t SET old = 'x' WHERE id <> 7")
    project.migration(1, "-- whimbrel: backfill = t\nUPDATE t SET new = old WHERE new IS NULL;\n")
    told = project.fail(1, "up")
    assert "m1.up.sql:2:1: the UPDATE leaves rows that its own WHERE clause finds, such as (id) = (7)" in told
    assert connection.execute("SELECT count(new) FROM t").fetchone() == (0,)
    project.migration(1, "-- whimbrel: backfill = t\nUPDATE t SET new = old WHERE new IS NULL AND old IS NOT NULL;\n")
    project.succeed("up")
    assert connection.execute("SELECT count(new) FROM t").fetchone() == (9,)


def test_the_cursor_is_written_as_oneself_where_the_script_has_taken_another_role(
    project: Project, connection: Connection
) -> None:
    make_table(connection, 30)
    role = f"filler_{connection.info.backend_pid}"
    connection.execute(f"CREATE ROLE {role}".encode())
    try:
        connection.execute(f"GRANT SELECT, UPDATE ON t TO {role}".encode())
        project.migration(1, f"SET ROLE {role};\n-- whimbrel: backfill = t batch = 10\n{STATEMENT};\nRESET ROLE;\n")
        project.succeed("up")
        assert counts(connection) == [(1, 30)]
    finally:
        connection.execute(f"DROP OWNED BY {role}".encode())
        connection.execute(f"DROP ROLE {role}".encode())


def test_the_history_may_be_elsewhere(project: Project, connection: Connection) -> None:
    make_table(connection, 5)
    project.migration(1, f"-- whimbrel: backfill = t\n{STATEMENT};\n")
    project.succeed("up", "--history-table", "ops.done")
    assert connection.execute("SELECT changed FROM ops.done_backfill").fetchone() == (5,)


def test_an_annotation_above_a_seed_is_refused(project: Project, connection: Connection) -> None:
    make_table(connection, 5)
    project.write("seeds/01.sql", f"-- whimbrel: backfill = t\n{STATEMENT};\n")
    assert "seed data has to run in a transaction" in project.fail(2, "seed")


def test_a_file_of_a_migration_is_a_path(tmp_path: Path) -> None:
    # The same text may be run by itself, with its annotation.
    from whimbrel.execution.ordering import read_order

    file = tmp_path / "fill.sql"
    file.write_text(f"-- whimbrel: backfill = messages.messages by id batch = 5\n{UPDATE};\n")
    _, _, order = read_order(file)
    assert (order.named, order.by, order.size, order.origin.file) == (("messages", "messages"), ("id",), 5, "fill.sql")

"""What interrupted concurrent statements left in the catalog: what is a leftover of theirs, and what is not."""

from __future__ import annotations

import hashlib

import psycopg
import pytest

from whimbrel.errors import LockNotObtained, Unsettled

from .conftest import Project


def journalled(project: Project, base: str, statement: str) -> None:
    """Apply a migration, and journal the statement of a second one as started and not finished."""
    project.write({"1_a.up.sql": base})
    assert project.up().error is None
    project.write({"2_b.up.sql": statement + ";"})
    checksum = f"sha256:{hashlib.sha256(statement.encode()).hexdigest()}"
    project.connection.execute(
        "INSERT INTO schema_migrations_journal (version, direction, statement, checksum) VALUES (2, 'up', 1, %s)",
        [checksum],
    )


def fail_build(project: Project, statement: str) -> None:
    """Let a concurrent build fail, so that its index stays behind invalid: it meets a row that it cannot index."""
    with pytest.raises(psycopg.errors.DivisionByZero):
        project.connection.execute(statement.encode())


def indexes(project: Project) -> list[tuple[str, bool]]:
    """Return the indexes of the schema public but for the history's, and whether they are valid."""
    rows = project.connection.execute(
        "SELECT c.relname, i.indisvalid FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relname !~ '^schema_migrations' ORDER BY 1"
    ).fetchall()
    return [(str(name), bool(is_valid)) for name, is_valid in rows]


BASE = "CREATE TABLE a (n int); INSERT INTO a VALUES (0), (1);"


def test_of_two_that_may_be_the_leftover_neither_is_dropped(project: Project) -> None:
    """The statement gives no name; both are shown."""
    journalled(project, BASE, "CREATE INDEX CONCURRENTLY ON a ((3 / n))")
    fail_build(project, "CREATE INDEX CONCURRENTLY ON a ((1 / n))")
    fail_build(project, "CREATE INDEX CONCURRENTLY ON a ((2 / n))")

    result = project.up()

    assert isinstance(result.error, Unsettled)
    assert result.error.detail is not None
    assert result.error.detail.endswith("any of these may be what it left: a_expr_idx, a_expr_idx1.")
    assert result.error.hint is not None
    assert "whimbrel resolve 2 --done, or --retry" in result.error.hint
    assert indexes(project) == [("a_expr_idx", False), ("a_expr_idx1", False)]


def test_an_invalid_index_with_a_name_of_somebodys_own_is_left_alone(project: Project) -> None:
    """A statement without a name cannot have left it."""
    journalled(project, BASE, "CREATE INDEX CONCURRENTLY ON a ((n + 1))")
    fail_build(project, "CREATE INDEX CONCURRENTLY by_hand ON a ((1 / n))")
    fail_build(project, "CREATE INDEX CONCURRENTLY ON a ((1 / n))")

    assert project.up().error is None

    assert indexes(project) == [("a_expr_idx", True), ("by_hand", False)]


def test_an_index_that_the_statement_cannot_have_made_is_left_alone(project: Project) -> None:
    """Neither is it dropped, nor does a valid one count as built."""
    journalled(
        project,
        "CREATE TABLE a (n int, m int); INSERT INTO a VALUES (0, 1), (1, 1)",
        "CREATE INDEX CONCURRENTLY ON a (n)",
    )
    fail_build(project, "CREATE INDEX CONCURRENTLY ON a ((1 / n))")
    for definition in ("(m)", "(n, m)", "(n) INCLUDE (m)", "USING hash (n)", "(n) WHERE m > 1"):
        project.connection.execute(f"CREATE INDEX ON a {definition}".encode())
    project.connection.execute("CREATE UNIQUE INDEX ON a (n)")
    before = indexes(project)

    assert project.up().error is None

    built = [index for index in indexes(project) if index not in before]
    assert built == [("a_n_idx3", True)]
    assert len(before) == 7


def test_an_invalid_index_of_that_name_on_another_table_is_left_alone(project: Project) -> None:
    """In another schema, where the search path does not lead."""
    journalled(project, BASE + "CREATE SCHEMA s; CREATE TABLE s.a AS TABLE a;", "CREATE INDEX CONCURRENTLY i ON a (n)")
    fail_build(project, "CREATE INDEX CONCURRENTLY i ON s.a ((1 / n))")

    assert project.up().error is None

    assert project.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 's.i'::regclass") is False
    assert indexes(project) == [("i", True)]


def test_the_copies_of_a_partitioned_reindex_are_found_on_the_partitions(project: Project) -> None:
    """Where the server makes them, one partition after the other."""
    journalled(
        project,
        "CREATE TABLE p (n int) PARTITION BY LIST (n); CREATE TABLE c PARTITION OF p FOR VALUES IN (0);"
        "CREATE INDEX p_n ON p (n); CREATE INDEX c_n_ccnew ON c (n);",
        "REINDEX TABLE CONCURRENTLY p",
    )
    project.connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'c_n_ccnew'::regclass")

    assert project.up().error is None

    assert indexes(project) == [("c_n_idx", True), ("p_n", True)]


def test_whoever_works_on_the_table_for_too_long_is_named(project: Project) -> None:
    """As a build, VACUUM or ANALYZE does; the migration is where it was."""
    journalled(project, BASE, "CREATE INDEX CONCURRENTLY i ON a (n)")
    project.settings["lock_wait"] = "0"
    with psycopg.connect(project.dsn, application_name="nightly") as other:
        other.execute("LOCK TABLE a IN SHARE UPDATE EXCLUSIVE MODE")
        role = other.info.user

        result = project.up()

        assert isinstance(result.error, LockNotObtained)
        assert result.error.message == f"another session works on table a (process {other.info.backend_pid})"
        assert result.error.detail is not None
        assert result.error.detail.startswith(f"It is nightly of role {role}, with an index build")
        assert str(result.error.position).endswith("2_b.up.sql:1:1")
    assert project.up().error is None
    assert indexes(project) == [("i", True)]


def test_readers_and_writers_of_the_table_are_not_waited_for_before_the_statement_itself(project: Project) -> None:
    """Only who may be building."""
    journalled(project, BASE, "DROP INDEX CONCURRENTLY i")
    project.settings["lock_wait"] = "0"
    with psycopg.connect(project.dsn) as other:
        other.execute("INSERT INTO a VALUES (2)")

        assert project.up().error is None

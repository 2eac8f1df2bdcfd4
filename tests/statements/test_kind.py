"""What a statement is to the executor."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from whimbrel.statements import Kind, classify, recorded_version

AUTOCOMMIT = [
    "CREATE INDEX CONCURRENTLY i ON t (x)",
    "create unique index\nconcurrently if not exists i on t (x)",
    "DROP INDEX CONCURRENTLY i",
    "REINDEX INDEX CONCURRENTLY i",
    "REINDEX (VERBOSE, CONCURRENTLY) TABLE t",
    "REINDEX SCHEMA s",
    "ALTER TABLE p DETACH PARTITION t CONCURRENTLY",
    "VACUUM",
    "VACUUM (ANALYZE) t",
    "CLUSTER",
    "CREATE DATABASE d",
    "DROP DATABASE d",
    "ALTER DATABASE d SET TABLESPACE x",
    "CREATE TABLESPACE x LOCATION '/x'",
    "DROP TABLESPACE x",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "DROP SUBSCRIPTION s",
    "ALTER /* why */ SYSTEM RESET ALL",
    "CREATE -- why\n DATABASE d",
]
ORDINARY = [
    "SELECT 'CREATE INDEX CONCURRENTLY'",
    "CREATE INDEX i ON t (x)",
    "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DROP INDEX CONCURRENTLY i'",
    "COMMENT ON TABLE t IS 'created concurrently'",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
    "ALTER TABLE p DETACH PARTITION t FINALIZE",
    "ALTER TABLE p DETACH PARTITION t",
    "REINDEX TABLE t",
    "REINDEX INDEX i",
    "CLUSTER t USING i",
    "ANALYZE",
    "ALTER DATABASE d SET work_mem = '1MB'",
    "ALTER SUBSCRIPTION s ENABLE",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "CHECKPOINT",
    "SET CONSTRAINTS ALL DEFERRED",
    "COPY t FROM '/x'",
    "COPY t FROM PROGRAM 'x'",
    "DO $$BEGIN COMMIT; END$$",
    "CREATE GIZMO x",
    "VACUUM what is this",
    "x",
    "",
]


@pytest.mark.parametrize("sql", AUTOCOMMIT)
def test_what_the_server_refuses_in_a_transaction_is_found(sql: str) -> None:
    assert classify(sql.encode()) is Kind.AUTOCOMMIT


@pytest.mark.parametrize("sql", ORDINARY)
def test_everything_else_is_ordinary(sql: str) -> None:
    assert classify(sql.encode()) is Kind.ORDINARY


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("BEGIN", Kind.BEGIN),
        ("begin transaction", Kind.BEGIN),
        ("START TRANSACTION", Kind.BEGIN),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", Kind.CONTROL),
        ("COMMIT", Kind.COMMIT),
        ("END", Kind.COMMIT),
        ("COMMIT AND CHAIN", Kind.CONTROL),
        ("ROLLBACK", Kind.CONTROL),
        ("ABORT", Kind.CONTROL),
        ("SAVEPOINT a", Kind.CONTROL),
        ("RELEASE a", Kind.CONTROL),
        ("ROLLBACK TO a", Kind.CONTROL),
        ("PREPARE TRANSACTION 'a'", Kind.CONTROL),
        ("COMMIT PREPARED 'a'", Kind.CONTROL),
        ("COPY t FROM stdin", Kind.COPY_IN),
        ("COPY t (a, b) FROM STDIN WITH (FORMAT csv)", Kind.COPY_IN),
        ("COPY t TO stdout", Kind.COPY_OUT),
        ("COPY (SELECT 1) TO STDOUT", Kind.COPY_OUT),
    ],
)
def test_transaction_control_and_copy_are_told_apart(sql: str, kind: Kind) -> None:
    assert classify(sql.encode()) is kind


@pytest.mark.parametrize("sql", [sql for sql in AUTOCOMMIT if "SUBSCRIPTION" not in sql])
def test_the_server_does_refuse_these_in_a_transaction(connection: psycopg.Connection[tuple[object]], sql: str) -> None:
    connection.execute("CREATE SCHEMA s")
    connection.execute("CREATE TABLE p (x int) PARTITION BY LIST (x)")
    connection.execute("CREATE TABLE t PARTITION OF p FOR VALUES IN (1)")
    connection.execute("CREATE INDEX i ON t (x)")
    with pytest.raises(errors.ActiveSqlTransaction), connection.transaction():
        connection.execute(sql.encode())


@pytest.mark.parametrize(
    ("sql", "version"),
    [
        ("INSERT INTO schema_migrations (version, description) VALUES (3, 'x')", 3),
        ("INSERT INTO public.schema_migrations (description, version) VALUES ('x', 3) ON CONFLICT DO NOTHING", 3),
        ("insert into SCHEMA_MIGRATIONS values ('3')", 3),
        ("INSERT INTO schema_migrations (version) VALUES (20260101120000)", 20260101120000),
        ("DELETE FROM schema_migrations WHERE version = 3", 3),
        ("DELETE FROM schema_migrations m WHERE m.version = '3'", 3),
        ("DELETE FROM schema_migrations", None),
        ("DELETE FROM schema_migrations WHERE version > 3", None),
        ("DELETE FROM schema_migrations WHERE description = 'x' AND version = 3", None),
        ("INSERT INTO schema_migrations (description) VALUES ('x')", None),
        ("INSERT INTO schema_migrations (version) VALUES (1), (2)", None),
        ("INSERT INTO schema_migrations (version) SELECT 3", None),
        ("INSERT INTO schema_migrations DEFAULT VALUES", None),
        ("INSERT INTO schema_migrations (description, version) VALUES ('x')", None),
        ("INSERT INTO other (version) VALUES (3) -- schema_migrations", None),
        ("UPDATE schema_migrations SET version = 3", None),
        ("INSERT INTO schema_migrations (version) VALUES (", None),
        ("-- schema_migrations", None),
    ],
)
def test_a_statement_that_records_a_migration_is_recognised(sql: str, version: int | None) -> None:
    assert recorded_version(sql.encode(), "schema_migrations") == version

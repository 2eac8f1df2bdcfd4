"""Which table locks a statement takes, as its text tells them; tests/execution/test_observed_locks.py asks a server."""

from __future__ import annotations

import pytest

from whimbrel.statements import parser
from whimbrel.statements.locks import Reach, TableLock, find_locks
from whimbrel.statements.tablelock import (
    ACCESS_EXCLUSIVE,
    EXCLUSIVE,
    SHARE,
    SHARE_ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
)

SHORT = {
    ACCESS_EXCLUSIVE: "AEL",
    EXCLUSIVE: "E",
    SHARE_ROW_EXCLUSIVE: "SRE",
    SHARE: "S",
    SHARE_UPDATE_EXCLUSIVE: "SUE",
}


def shown(lock: TableLock) -> str:
    """Return a lock as `AEL referenced "t"(part)*`; the star stands for the children."""
    reach = "" if lock.reach is Reach.RELATION else f" {lock.reach.value}"
    part = f"({lock.part})" if lock.part else ""
    return f"{SHORT[lock.mode]}{reach} {lock.relation}{part}{'*' if lock.with_children else ''}"


def locks(sql: str) -> list[str]:
    return [shown(lock) for lock in find_locks(sql.encode())]


@pytest.mark.parametrize(
    ("subcommand", "mode"),
    [
        ("ADD COLUMN a int", "AEL"),
        ("ALTER COLUMN a SET DEFAULT 1", "AEL"),
        ("ALTER COLUMN a SET NOT NULL", "AEL"),
        ("ALTER COLUMN a SET STORAGE plain", "AEL"),
        ("ALTER COLUMN a SET STATISTICS 5", "SUE"),
        ("ADD CHECK (a > 0) NOT VALID", "AEL"),
        ("ADD UNIQUE (a)", "AEL"),
        ("ADD UNIQUE USING INDEX i", "AEL"),
        ("VALIDATE CONSTRAINT c", "SUE"),
        ("DISABLE TRIGGER g", "SRE"),
        ("ENABLE REPLICA TRIGGER g", "SRE"),
        ("ENABLE TRIGGER ALL", "SRE"),
        ("DISABLE TRIGGER USER", "SRE"),
        ("ALTER COLUMN a SET STATISTICS 5, VALIDATE CONSTRAINT c", "SUE"),
        ("ALTER COLUMN a SET STATISTICS 5, DISABLE TRIGGER g", "SRE"),
        ("DISABLE TRIGGER g, ADD COLUMN a int, VALIDATE CONSTRAINT c", "AEL"),
    ],
)
def test_alter_table_takes_the_strongest_lock_of_its_subcommands_on_children_too(subcommand: str, mode: str) -> None:
    assert locks(f"ALTER TABLE s.t {subcommand}") == [f'{mode} "s"."t"*']
    assert locks(f"ALTER TABLE ONLY s.t {subcommand}") == [f'{mode} "s"."t"']


@pytest.mark.parametrize(
    ("subcommand", "mode"),
    [
        ("ALTER COLUMN a SET (n_distinct = 5)", "SUE"),
        ("ALTER COLUMN a RESET (n_distinct)", "SUE"),
        ("CLUSTER ON i", "SUE"),
        ("SET WITHOUT CLUSTER", "SUE"),
        ("SET (fillfactor = 70, autovacuum_enabled = off)", "SUE"),
        ("RESET (fillfactor)", "SUE"),
        ("SET (toast.autovacuum_enabled = off)", "SUE"),
        ("SET (fillfactor = 70, user_catalog_table = true)", "AEL"),
        ("RESET (user_catalog_table)", "AEL"),
        ("OWNER TO somebody", "AEL"),
        ("SET TABLESPACE fast", "AEL"),
        ("SET UNLOGGED", "AEL"),
        ("SET ACCESS METHOD heap", "AEL"),
        ("ENABLE ROW LEVEL SECURITY", "AEL"),
        ("REPLICA IDENTITY FULL", "AEL"),
        ("DISABLE RULE r", "AEL"),
        ("INHERIT p", "AEL"),
        ("DETACH PARTITION u", "AEL"),
        ("OF kind", "AEL"),
        ("NO INHERIT p", "AEL"),
    ],
)
def test_what_concerns_the_table_alone_leaves_its_children(subcommand: str, mode: str) -> None:
    assert locks(f"ALTER TABLE t {subcommand}")[0] == f'{mode} "t"'


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES s.p NOT VALID", ['SRE "t"*', 'SRE "s"."p"*']),
        ("ALTER TABLE t ADD COLUMN a int REFERENCES p (id)", ['AEL "t"*', 'SRE "p"*']),
        ("ALTER TABLE t ALTER a SET STATISTICS 5, ADD FOREIGN KEY (a) REFERENCES p", ['SRE "t"*', 'SRE "p"*']),
        ("ALTER TABLE t DROP CONSTRAINT c", ['AEL "t"*', 'AEL referenced "t"(c)*']),
        ("ALTER TABLE t DROP COLUMN a", ['AEL "t"*', 'AEL referenced "t"(a)*']),
        (
            "ALTER TABLE t DROP a CASCADE",
            ['AEL "t"*', 'AEL referenced "t"(a)*', 'AEL referencing "t"(a)*', 'AEL dependent "t"(a)*'],
        ),
        (
            "ALTER TABLE t DROP a CASCADE, DROP b",
            [
                'AEL "t"*',
                'AEL referenced "t"(a)*',
                'AEL referencing "t"(a)*',
                'AEL dependent "t"(a)*',
                'AEL referenced "t"(b)*',
            ],
        ),
        ("ALTER TABLE t ALTER a TYPE bigint", ['AEL "t"*', 'AEL referenced "t"(a)*', 'AEL referencing "t"(a)*']),
        ("ALTER TABLE t ALTER CONSTRAINT c DEFERRABLE", ['AEL "t"*']),
        ("ALTER TABLE t ALTER CONSTRAINT c NOT ENFORCED", ['AEL "t"*', 'AEL referenced "t"(c)*']),
        ("ALTER TABLE t INHERIT p", ['AEL "t"', 'SUE "p"']),
        (
            "ALTER TABLE p ATTACH PARTITION t FOR VALUES IN (1)",
            ['SUE "p"', 'AEL "t"*', 'AEL default "p"*', 'SRE referenced "p"', 'SRE referencing "p"'],
        ),
        (
            "ALTER TABLE p DETACH PARTITION s.t",
            ['AEL "p"', 'AEL "s"."t"', 'SRE referenced "s"."t"', 'AEL referencing "p"', 'AEL default "p"'],
        ),
        (
            "ALTER TABLE p DETACH PARTITION t CONCURRENTLY",
            ['SUE "p"', 'AEL "t"', 'SRE referenced "t"', 'AEL referencing "p"'],
        ),
        (
            "ALTER TABLE p DETACH PARTITION t FINALIZE",
            ['SUE "p"', 'AEL "t"', 'SRE referenced "t"', 'AEL referencing "p"'],
        ),
        ("CREATE TABLE t (a int REFERENCES p, FOREIGN KEY (a) REFERENCES q)", ['SRE "p"*', 'SRE "q"*']),
        ("CREATE TABLE t () INHERITS (p, q)", ['SUE "p"', 'SUE "q"']),
        (
            "CREATE TABLE t PARTITION OF p DEFAULT",
            ['AEL "p"', 'AEL default "p"*', 'SRE referenced "p"', 'SRE referencing "p"'],
        ),
        ("CREATE SCHEMA s CREATE TABLE t (a int REFERENCES p)", ['SRE "p"*']),
        ("DROP TABLE t", ['AEL "t"*', 'AEL parent "t"', 'AEL referenced "t"*']),
        (
            "DROP TABLE IF EXISTS t CASCADE",
            [
                'AEL "t"*',
                'AEL parent "t"',
                'AEL referenced "t"*',
                'AEL referencing "t"*',
                'AEL dependent "t"*',
            ],
        ),
        ("DROP SCHEMA s CASCADE", ['AEL schema "s"']),
        ("TRUNCATE t, ONLY u", ['AEL "t"*', 'AEL "u"']),
        ("TRUNCATE t CASCADE", ['AEL "t"*', 'AEL cascaded "t"*']),
        ("DROP VIEW v CASCADE", ['AEL "v"', 'AEL dependent "v"']),
        ("ALTER DOMAIN d ADD CHECK (VALUE > 0)", ['S domain "d"']),
        ("ALTER DOMAIN s.d SET NOT NULL", ['S domain "s"."d"']),
        ("ALTER DOMAIN d VALIDATE CONSTRAINT c", ['S domain "d"']),
    ],
)
def test_a_lock_on_another_table_is_told(sql: str, expected: list[str]) -> None:
    assert locks(sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("ALTER TABLE t RENAME TO u", ['AEL "t"']),
        ("ALTER TABLE t RENAME a TO b", ['AEL "t"*']),
        ("ALTER TABLE t RENAME CONSTRAINT a TO b", ['AEL "t"*']),
        ("ALTER TABLE t SET SCHEMA s", ['AEL "t"']),
        ("ALTER VIEW v SET (security_barrier)", ['AEL "v"']),
        ("ALTER VIEW v RENAME TO w", ['AEL "v"']),
        ("ALTER MATERIALIZED VIEW v RENAME TO w", ['AEL "v"']),
        ("ALTER SEQUENCE q RESTART", ['SRE "q"']),
        ("ALTER SEQUENCE q OWNER TO somebody", ['AEL "q"']),
        ("CREATE INDEX ON t (a)", ['S "t"*']),
        ("CREATE UNIQUE INDEX i ON ONLY t (a)", ['S "t"']),
        ("CREATE INDEX CONCURRENTLY i ON s.t (a)", ['SUE "s"."t"*']),
        ("DROP INDEX i, s.j", ['AEL indexed "i"*', 'AEL indexed "s"."j"*']),
        ("DROP INDEX CONCURRENTLY i", ['SUE indexed "i"*']),
        ("ALTER INDEX i RENAME TO j", ['SUE "i"']),
        ("ALTER INDEX i SET (fillfactor = 70)", ['SUE "i"']),
        ("ALTER INDEX i SET (fastupdate = off)", ['AEL "i"']),
        ("ALTER INDEX i SET TABLESPACE fast", ['AEL "i"']),
        ("REINDEX TABLE t", ['S "t"*', 'AEL indexes "t"*']),
        ("REINDEX INDEX i", ['S indexed "i"*', 'AEL "i"*']),
        ("REINDEX TABLE CONCURRENTLY t", ['SUE "t"*']),
        ("REINDEX (VERBOSE, CONCURRENTLY) INDEX i", ['SUE indexed "i"*']),
        ("CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()", ['SRE "t"*']),
        ("CREATE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION f()", ['SRE "t"']),
        ("CREATE OR REPLACE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION f()", ['SRE "t"']),
        (
            "CREATE CONSTRAINT TRIGGER g AFTER INSERT ON t FROM u FOR EACH ROW EXECUTE FUNCTION f()",
            ['SRE "t"*'],
        ),
        ("ALTER TRIGGER g ON t RENAME TO h", ['AEL "t"*']),
        ("DROP TRIGGER g ON s.t", ['AEL "s"."t"*']),
        ("CREATE RULE r AS ON INSERT TO t DO ALSO NOTHING", ['AEL "t"']),
        ("ALTER RULE r ON t RENAME TO s", ['AEL "t"']),
        ("DROP RULE r ON t", ['AEL "t"']),
        ("CREATE POLICY p ON t", ['AEL "t"']),
        ("ALTER POLICY p ON t USING (true)", ['AEL "t"']),
        ("ALTER POLICY p ON t RENAME TO q", ['AEL "t"']),
        ("DROP POLICY IF EXISTS p ON t", ['AEL "t"']),
        ("LOCK t", ['AEL "t"*']),
        ("LOCK TABLE t, ONLY u IN SHARE ROW EXCLUSIVE MODE", ['SRE "t"*', 'SRE "u"']),
        ("CLUSTER t USING i", ['AEL "t"']),
        ("REFRESH MATERIALIZED VIEW v", ['AEL "v"']),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", ['E "v"']),
        ("VACUUM t", ['SUE "t"*']),
        ("VACUUM FULL t, u", ['AEL "t"*', 'AEL "u"*']),
        ("VACUUM (FULL off) t", ['SUE "t"*']),
        ("VACUUM (FULL 0) t", ['SUE "t"*']),
        ("VACUUM (ANALYZE, FULL) t", ['AEL "t"*']),
        ("ANALYZE t (a)", ['SUE "t"*']),
        ("CREATE STATISTICS x ON a, b FROM t", ['SUE "t"']),
        ("COMMENT ON TABLE s.t IS 'x'", ['SUE "s"."t"']),
        ("COMMENT ON COLUMN s.t.a IS 'x'", ['SUE "s"."t"']),
        ("COMMENT ON COLUMN d.s.t.a IS 'x'", ['SUE "s"."t"']),
        ("COMMENT ON MATERIALIZED VIEW v IS NULL", ['SUE "v"']),
        ("COMMENT ON INDEX i IS 'x'", ['SUE "i"']),
        ("SECURITY LABEL ON TABLE t IS 'x'", ['SUE "t"']),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", ['AEL "v"']),
        ("CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1", ['AEL "v"']),
        ("DROP MATERIALIZED VIEW v", ['AEL "v"']),
        ("DROP SEQUENCE q", ['AEL "q"']),
        ("DROP FOREIGN TABLE f", ['AEL "f"*', 'AEL parent "f"', 'AEL referenced "f"*']),
        ("CREATE PUBLICATION p FOR TABLE t, ONLY u", ['SUE "t"*', 'SUE "u"']),
        ("ALTER PUBLICATION p ADD TABLE t", ['SUE "t"*']),
        # Case, white space and comments between the words.
        ("alter\n\ttable T add a int", ['AEL "t"*']),
        ("ALTER /* all of */ TABLE t ADD a int", ['AEL "t"*']),
        ("DROP -- the\n VIEW v", ['AEL "v"']),
        ("COMMENT ON /* a */ TABLE t IS 'x'", ['SUE "t"']),
        ("CREATE TABLE t PARTITION /* one */ OF p DEFAULT", locks("CREATE TABLE t PARTITION OF p DEFAULT")),
        # Names come as SQL wants them.
        ('LOCK "T"."a ""b"""', ['AEL "T"."a ""b"""*']),
        ("LOCK d.s.t", ['AEL "s"."t"*']),
        # Each lock once, and none beside a stronger one.
        ("ALTER TABLE t ADD a int REFERENCES p, ADD b int REFERENCES p", ['AEL "t"*', 'SRE "p"*']),
        ("ALTER TABLE t ADD a int REFERENCES t", ['AEL "t"*']),
    ],
)
def test_the_lock_on_what_a_statement_names_is_told(sql: str, expected: list[str]) -> None:
    assert locks(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SELECT * FROM t FOR UPDATE",
        "INSERT INTO t VALUES ('ALTER TABLE t ADD a int')",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "COPY t FROM stdin",
        "GRANT SELECT ON t TO somebody",
        "CREATE TABLE t (a int PRIMARY KEY)",
        "CREATE TABLE t (a int) PARTITION BY LIST (a)",
        "CREATE TABLE t (LIKE u INCLUDING ALL)",
        "CREATE TABLE t AS SELECT * FROM u",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE MATERIALIZED VIEW v AS SELECT * FROM t",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'ALTER TABLE t ADD a int'",
        "CREATE OR REPLACE FUNCTION f() RETURNS void LANGUAGE sql AS 'ALTER TABLE t ADD a int'",
        "CREATE SEQUENCE q OWNED BY t.a",
        "CREATE SCHEMA s",
        "CREATE TYPE k AS (a int)",
        "ALTER TYPE k ADD ATTRIBUTE b int",
        "ALTER FUNCTION f() OWNER TO somebody",
        "ALTER TABLE ALL IN TABLESPACE slow SET TABLESPACE fast",
        "ALTER DOMAIN d DROP NOT NULL",
        "ALTER DOMAIN d ADD CHECK (VALUE > 0) NOT VALID",
        "DROP FUNCTION f()",
        "DROP SCHEMA s",
        "COMMENT ON FUNCTION f() IS 'x'",
        "COMMENT ON CONSTRAINT c ON t IS 'x'",
        "COMMENT ON TRIGGER g ON t IS 'x'",
        "LOCK t IN ROW EXCLUSIVE MODE",
        "VACUUM",
        "ANALYZE",
        "CLUSTER",
        "REINDEX SCHEMA s",
        "CREATE PUBLICATION p FOR ALL TABLES",
        "ALTER TABLE t GROW",
    ],
)
def test_what_keeps_nobody_waiting_and_what_the_grammar_refuses_tell_nothing(sql: str) -> None:
    assert locks(sql) == []


@pytest.mark.parametrize(
    "sql",
    [
        "DO 'BEGIN ALTER TABLE t ADD a int; END'",
        "DROP FUNCTION f() CASCADE",
        "DROP DOMAIN d CASCADE",
        "DROP STATISTICS x",
        "SELECT change_everything()",
    ],
)
def test_locks_that_the_text_does_not_name_are_not_told(sql: str) -> None:
    assert locks(sql) == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM alter_table",
        "INSERT INTO t VALUES (1)",
        "CREATE TABLE t (a int PRIMARY KEY, inherited text) PARTITION BY LIST (a)",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DROP TABLE t'",
        "CREATE OR REPLACE PROCEDURE f() LANGUAGE sql AS 'DROP TABLE t'",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TYPE k AS ENUM ('a')",
        "COMMENT ON FUNCTION f() IS 'x'",
        "ALTER FUNCTION f() OWNER TO somebody",
        "SET search_path = s",
    ],
)
def test_a_statement_that_cannot_lock_is_never_parsed(sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: bytes) -> None:
        raise AssertionError(text)

    monkeypatch.setattr(parser, "parse", refuse)
    assert locks(sql) == []
    with pytest.raises(AssertionError):
        locks("ALTER TABLE t ADD a int")

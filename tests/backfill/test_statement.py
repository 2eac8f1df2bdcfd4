"""One UPDATE or DELETE, cut into batches: by its own text, and proven by its tree."""

from __future__ import annotations

import pytest

from whimbrel.statements.batch import BatchError, read_batch


def restricted(sql: str, condition: str = "true") -> str:
    return read_batch(sql.encode()).restricted(condition).decode()


def question(sql: str) -> str:
    return " ".join(read_batch(sql.encode()).select("SELECT EXISTS (SELECT", ")").decode().split())


def refusal(sql: str) -> BatchError:
    with pytest.raises(BatchError) as caught:
        read_batch(sql.encode())
    return caught.value


def test_the_condition_is_added_and_binds_less_than_the_statements_own() -> None:
    assert restricted("UPDATE t SET a = 1 WHERE b OR c", "t.id > $1") == (
        "UPDATE t SET a = 1 WHERE(b OR c\n) AND t.id > $1"
    )


def test_the_text_before_the_added_condition_keeps_its_place() -> None:
    sql = "UPDATE t SET a = 'ä' WHERE nonsense IS NULL"
    assert restricted(sql).index("nonsense") == sql.index("nonsense")


def test_a_comment_at_the_end_hides_nothing() -> None:
    assert restricted("DELETE FROM t WHERE b -- and so on", "true").endswith("\n) AND true")


def test_what_a_table_is_called_is_what_the_statement_calls_it() -> None:
    batch = read_batch(b'UPDATE ONLY "My Schema"."We\xc3\xafrd ""T" AS x SET "A b" = 1, (c, d[1]) = (1, 2) WHERE true')
    assert batch.target == 'ONLY "My Schema"."Weïrd ""T"'
    assert batch.column('i"d') == '"x"."i""d"'
    assert batch.assigned == ("A b", "c", "d")
    assert read_batch(b"DELETE FROM Messages WHERE true").column("id") == '"messages"."id"'


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("UPDATE s.t SET a = 1 WHERE b", "SELECT EXISTS (SELECT FROM s.t WHERE(b ))"),
        (
            "UPDATE t x SET a = b IS DISTINCT FROM c FROM u JOIN v USING (i), w WHERE x.where = 1",
            "SELECT EXISTS (SELECT FROM t x , u JOIN v USING (i), w WHERE(x.where = 1 ))",
        ),
        (
            "DELETE FROM t USING u JOIN v USING (i) WHERE t.a = u.a",
            "SELECT EXISTS (SELECT FROM t , u JOIN v USING (i) WHERE(t.a = u.a ))",
        ),
        (
            "WITH update AS (SELECT 1 AS set) UPDATE set SET a = 2 FROM update WHERE update.set = set.a",
            "WITH update AS (SELECT 1 AS set) SELECT EXISTS (SELECT FROM set , update WHERE(update.set = set.a ))",
        ),
        (
            "WITH RECURSIVE w AS (SELECT 1) DELETE FROM t WHERE id IN (SELECT * FROM w WHERE true)",
            "WITH RECURSIVE w AS (SELECT 1) SELECT EXISTS (SELECT FROM t WHERE(id IN (SELECT * FROM w WHERE true) ))",
        ),
    ],
)
def test_what_is_left_is_asked_with_the_statements_own_clauses(sql: str, expected: str) -> None:
    assert question(sql) == expected


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE t SET a = 1", "without a WHERE clause"),
        ("DELETE FROM t", "without a WHERE clause"),
        ("UPDATE t SET a = 1 WHERE b RETURNING id", "RETURNING"),
        ("UPDATE t SET a = 1 WHERE CURRENT OF c", "WHERE CURRENT OF"),
        ("SELECT 1", "only an UPDATE or DELETE"),
        ("INSERT INTO t VALUES (1)", "only an UPDATE or DELETE"),
        ("MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", "only an UPDATE or DELETE"),
        ("WITH gone AS (DELETE FROM u RETURNING id) UPDATE t SET a = 1 WHERE b", "WITH that changes rows"),
        ("UPDATE t SET a = 1 WHERE b = $1", "parameter"),
        ("UPDATE t SET a = 1 WHERE b = (SELECT $2)", "parameter"),
        ("UPDATE db.s.t SET a = 1 WHERE b", "database"),
        ("UPDATE t SET a = = 1 WHERE b", "syntax error"),
    ],
)
def test_what_cannot_be_cut_is_refused(sql: str, message: str) -> None:
    assert message in refusal(sql).message


def test_a_refusal_for_the_grammar_says_where() -> None:
    sql = "UPDATE t SET a = = 1 WHERE b"
    assert refusal(sql).index == sql.index("= 1")


def test_a_condition_that_would_change_the_statement_is_not_added() -> None:
    batch = read_batch(b"UPDATE t SET a = 1 WHERE b")
    for condition in ("true RETURNING *", "true) OR (true", "c = 1 OR d"):
        with pytest.raises(Exception, match=r"cut|syntax"):
            batch.restricted(condition)

"""The batches together do exactly what the one statement would; which tables can be walked, and by what."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import TupleRow

import whimbrel
from whimbrel import cluster
from whimbrel.errors import SourceError, StatementFailed, WhimbrelError
from whimbrel.events import BackfillAdvanced, Event

from ..conftest import Server

Connection = psycopg.Connection[TupleRow]

# ------------------------------------------------------------------------------- any predicate, key and batch size

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
TIMES = (
    "-infinity",
    "0044-03-15 12:00:00.123457+00 BC",
    "1970-01-01 00:00:00+00",
    "2024-03-31 02:30:00.000001+14",
    "2024-03-31 02:30:00.000002+14",
    "infinity",
)
KINDS: dict[str, st.SearchStrategy[object]] = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "smallint": st.integers(-5, 5),
    "text": TEXTS | st.sampled_from(["", '"', "\\", "{,}", "NULL", "a b", "ß", "Ä"]),
    'text COLLATE "C"': TEXTS,
    "character(3)": st.text("abÄ ", max_size=3),
    "uuid": st.uuids(),
    "numeric": st.decimals(-1000, 1000, places=3) | st.sampled_from([Decimal("NaN"), Decimal("1.0"), Decimal("1.00")]),
    "double precision": st.floats(allow_infinity=True, allow_nan=True),
    "timestamptz": st.sampled_from(TIMES),
    "date": st.dates().map(str),
    "interval": st.sampled_from(["-1 day +02:03:04", "1 mon -3 days", "00:00:00", "-00:00:01", "@ 40 years ago"]),
    "bytea": st.binary(max_size=4),
    "boolean": st.booleans(),
    "colour": st.sampled_from(["red", "green", "blue"]),
    "positive": st.integers(1, 9),
}
COLUMN_NAMES = ("id", "Key 2", 'a"b')


@dataclass(frozen=True)
class Case:
    """A table's rows, by which columns it is walked, and the statement that changes it."""

    kinds: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    layout: str
    statement: str
    batch: int
    is_descending: bool


PREDICATES = (
    "m.small < {0}",
    "m.small = {0} OR m.small = {1}",
    "m.small % 2 = 0 AND NOT m.small > {0}",
    "m.small IN (SELECT number FROM other WHERE number <> {0})",
    "m.note IS NOT NULL",
    "m.note IS DISTINCT FROM 'a' -- not that",
    "CASE WHEN m.small < {0} THEN m.note = 'a' ELSE m.note IS NULL END",
    "true",
    "false",
)

STATEMENTS = (
    "UPDATE target AS m SET n = m.n + 1, done = true WHERE NOT done AND {predicate}",
    "DELETE FROM target m WHERE {predicate}",
    "UPDATE target m SET n = n + o.plus, done = true FROM other o\nWHERE o.number = small AND NOT done AND {predicate}",
    "DELETE FROM target m USING other o WHERE o.number = m.small AND {predicate}",
    (
        "WITH o AS (TABLE other) UPDATE target m SET (n, done) = (SELECT n + max(plus), true FROM o)"
        " WHERE {predicate} AND NOT done"
    ),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kinds = tuple(draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3)))
    row = st.tuples(*(KINDS[kind] for kind in kinds), st.integers(0, 6), st.none() | st.sampled_from(["a", "b"]))
    rows = tuple(draw(st.lists(row, max_size=25)))
    # Duplicates, in part.
    rows += tuple(draw(st.lists(st.sampled_from(rows), max_size=8))) if rows else ()
    numbers = (draw(st.integers(0, 6)), draw(st.integers(0, 6)))
    predicate = draw(st.sampled_from(PREDICATES)).format(*numbers)
    statement = draw(st.sampled_from(STATEMENTS)).replace("{predicate}", f"({predicate}\n)")
    layout = draw(st.sampled_from(["plain", "hash", "list"]))
    return Case(kinds, rows, layout, statement, draw(st.integers(1, 9)), draw(st.booleans()))


@pytest.fixture(scope="module")
def workshop(server: Server) -> Generator[Connection]:
    """Give a database for the many examples of one test."""
    with cluster.throwaway_database(server.running) as conninfo, psycopg.connect(conninfo, autocommit=True) as found:
        # The tables of each example have the same names and other types.
        found.prepare_threshold = None
        found.execute("CREATE TYPE colour AS ENUM ('red', 'green', 'blue')")
        found.execute("CREATE DOMAIN positive AS integer CHECK (VALUE > 0)")
        found.execute("CREATE TABLE other (number int PRIMARY KEY, plus int)")
        found.execute("INSERT INTO other VALUES (0, 10), (2, 20), (4, 40), (5, 50)")
        yield found


def make(connection: Connection, name: str, case: Case) -> None:
    names = ['"' + column.replace('"', '""') + '"' for column in COLUMN_NAMES[: len(case.kinds)]]
    columns = [f"{column} {kind} NOT NULL" for column, kind in zip(names, case.kinds, strict=True)]
    others = "small int, note text, n int NOT NULL DEFAULT 0, done boolean NOT NULL DEFAULT false"
    partition = {"plain": "", "hash": "PARTITION BY HASH (small)", "list": "PARTITION BY LIST (note)"}[case.layout]
    connection.execute(f"DROP TABLE IF EXISTS {name}".encode())
    connection.execute(f"CREATE TABLE {name} ({', '.join(columns)}, {others}) {partition}".encode())
    if case.layout == "hash":
        for remainder in range(3):
            part = f"FOR VALUES WITH (MODULUS 3, REMAINDER {remainder})"
            connection.execute(f"CREATE TABLE {name}_{remainder} PARTITION OF {name} {part}".encode())
    if case.layout == "list":
        connection.execute(f"CREATE TABLE {name}_a PARTITION OF {name} FOR VALUES IN ('a')".encode())
        connection.execute(f"CREATE TABLE {name}_rest PARTITION OF {name} DEFAULT".encode())
    order = ", ".join(f"{column} DESC" if case.is_descending else column for column in names)
    connection.execute(f"CREATE INDEX ON {name} ({order})".encode())
    marks = ", ".join(["%s"] * (len(case.kinds) + 2))
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {name} VALUES ({marks})".encode(), case.rows)


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(case=cases())
def test_the_batches_together_do_what_the_one_statement_would(workshop: Connection, case: Case) -> None:
    make(workshop, "target", case)
    make(workshop, "wanted", case)
    workshop.execute(case.statement.replace("target", "wanted").encode())
    whimbrel.backfill(case.statement, workshop, by=COLUMN_NAMES[: len(case.kinds)], batch=case.batch)
    for one, two in (("target", "wanted"), ("wanted", "target")):
        rows = f"SELECT t::text FROM {one} t EXCEPT ALL SELECT t::text FROM {two} t"
        assert workshop.execute(rows.encode()).fetchall() == []


# ------------------------------------------------------------------------------------------------ a table at a time


def numbers(connection: Connection, rows: int = 100, key: str = "id bigint PRIMARY KEY") -> None:
    connection.execute(f"CREATE TABLE t ({key}, n int NOT NULL DEFAULT 0, done boolean DEFAULT false)".encode())
    connection.execute(f"INSERT INTO t (id) SELECT i FROM generate_series(1, {rows}) AS i".encode())


STATEMENT = "UPDATE t SET n = n + 1, done = true WHERE NOT done"


def counts(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT n, count(*) FROM t GROUP BY n ORDER BY n").fetchall()


def refusal(connection: Connection, statement: str = STATEMENT, by: Sequence[str] | str | None = None) -> WhimbrelError:
    with pytest.raises(WhimbrelError) as caught:
        whimbrel.backfill(statement, connection, by=by)
    return caught.value


def test_each_batch_is_a_transaction_of_its_own(dsn: str, connection: Connection) -> None:
    numbers(connection)
    done = whimbrel.backfill(STATEMENT, dsn, batch=7)
    assert (done.table, done.changed, done.walks, done.batches) == ("public.t", 100, 1, 15)
    assert counts(connection) == [(1, 100)]
    assert connection.execute("SELECT count(DISTINCT xmin::text) FROM t").fetchone() == (15,)


def test_it_tells_how_far_it_is(dsn: str, connection: Connection) -> None:
    numbers(connection)
    connection.execute("ANALYZE t")
    events: list[Event] = []
    whimbrel.backfill(STATEMENT, dsn, batch=50, emit=events.append)
    told = [event for event in events if isinstance(event, BackfillAdvanced)]
    assert (told[0].table, told[0].step, told[0].walked, told[0].total, told[0].batch) == (
        "public.t",
        None,
        50,
        100,
        50,
    )
    last = told[-1]
    assert (last.walked, last.total, last.changed, last.pause) == (100, 100, 100, None)
    assert last.rate > 0
    assert last.remaining is not None
    assert last.remaining.total_seconds() == 0


def test_done_once_there_is_nothing_to_do(dsn: str, connection: Connection) -> None:
    numbers(connection)
    whimbrel.backfill(STATEMENT, dsn)
    again = whimbrel.backfill(STATEMENT, dsn)
    assert (again.changed, counts(connection)) == (0, [(1, 100)])


def test_an_empty_table_is_done(dsn: str, connection: Connection) -> None:
    numbers(connection, 0)
    assert whimbrel.backfill(STATEMENT, dsn).changed == 0


def test_a_connection_that_was_given_has_the_settings_again_that_it_was_opened_with(connection: Connection) -> None:
    numbers(connection)
    connection.execute("SET statement_timeout = '7s'")
    connection.execute("SET application_name = 'mine'")
    before = connection.execute("SELECT pg_backend_pid()").fetchone()
    whimbrel.backfill(STATEMENT, connection)
    assert connection.execute("SELECT pg_backend_pid()").fetchone() == before
    assert connection.autocommit
    assert connection.execute("SELECT current_setting('statement_timeout')").fetchone() == ("0",)
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    assert connection.execute(locks).fetchone() == (0,)


def test_rows_that_come_in_behind_the_cursor_are_done_in_another_walk(dsn: str, connection: Connection) -> None:
    numbers(connection, 40)

    def insert(event: Event) -> None:
        if isinstance(event, BackfillAdvanced) and event.walked == 20 and event.pause is None:
            connection.execute("INSERT INTO t (id) SELECT -i FROM generate_series(1, 30) AS i ON CONFLICT DO NOTHING")

    done = whimbrel.backfill(STATEMENT, dsn, batch=20, emit=insert)
    assert (done.changed, done.walks, counts(connection)) == (70, 2, [(1, 70)])


def test_rows_that_come_in_before_the_cursor_are_done_in_the_same_walk(dsn: str, connection: Connection) -> None:
    numbers(connection, 40)

    def insert(event: Event) -> None:
        if isinstance(event, BackfillAdvanced) and event.walked == 20:
            connection.execute("INSERT INTO t (id) VALUES (1000) ON CONFLICT DO NOTHING")

    done = whimbrel.backfill(STATEMENT, dsn, batch=20, emit=insert)
    assert (done.changed, done.walks) == (41, 1)


def test_an_update_whose_rows_are_found_again_is_stopped_at_its_first_batch(dsn: str, connection: Connection) -> None:
    numbers(connection)
    with pytest.raises(StatementFailed, match="leaves rows that its own WHERE clause finds") as caught:
        whimbrel.backfill("UPDATE t SET n = n + 1 WHERE n >= 0 AND id > 41", dsn, batch=30)
    assert "(id) = (42)" in caught.value.message
    assert counts(connection) == [(0, 100)]


def test_rows_that_are_found_and_not_changed_end_it(dsn: str, connection: Connection) -> None:
    numbers(connection)
    connection.execute("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    connection.execute("CREATE TRIGGER keep BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.id = 50) EXECUTE FUNCTION keep()")
    with pytest.raises(StatementFailed, match=r"finds rows of public\.t and does not change them"):
        whimbrel.backfill(STATEMENT, dsn, batch=30)
    assert counts(connection) == [(0, 1), (1, 99)]


def test_an_error_of_the_server_names_the_place_in_the_statement(dsn: str, connection: Connection) -> None:
    numbers(connection)
    statement = "UPDATE t SET n = 1\nWHERE nonsense IS NULL"
    with pytest.raises(StatementFailed, match='"nonsense" does not exist') as caught:
        whimbrel.backfill(statement, dsn)
    assert caught.value.position is not None
    assert (caught.value.position.line, caught.value.position.column) == (2, 7)


def test_rows_of_an_error_are_rolled_back_with_their_batch_alone(dsn: str, connection: Connection) -> None:
    numbers(connection)
    with pytest.raises(StatementFailed, match="division by zero"):
        whimbrel.backfill("UPDATE t SET n = 1 / (id - 50), done = true WHERE NOT done", dsn, batch=20)
    assert connection.execute("SELECT count(*) FROM t WHERE done").fetchone() == (40,)


@pytest.mark.parametrize(
    ("key", "by", "message"),
    [
        ("id bigint", None, "has no primary key"),
        ("id bigint", ("id",), "may be null"),
        ("id bigint NOT NULL", ("id",), "has no index to be walked by"),
        ("id bigint PRIMARY KEY", ("nonsense",), 'has no column "nonsense"'),
        ("id bigint PRIMARY KEY", ("n",), 'sets column "n"'),
        ("id bigint PRIMARY KEY", ("id", "id"), "named twice"),
    ],
)
def test_a_table_that_cannot_be_walked_is_refused(
    connection: Connection, key: str, by: tuple[str, ...] | None, message: str
) -> None:
    numbers(connection, 1, key)
    error = refusal(connection, by=by)
    assert isinstance(error, SourceError)
    assert message in error.message
    assert (
        error.hint
        or message == 'has no column "nonsense" to be walked by'
        or "nonsense" in message
        or "twice" in message
    )
    assert counts(connection) == [(0, 1)]


@pytest.mark.parametrize(
    ("index", "detail"),
    [
        ("CREATE INDEX i ON t (id) WHERE id > 0", 'Index "i" is partial.'),
        ("CREATE INDEX i ON t USING hash (id)", 'Index "i" is no btree but hash.'),
        ("CREATE INDEX i ON t (n, id)", None),
        ("CREATE INDEX i ON t ((id + 0))", None),
        ("CREATE INDEX i ON t (n) INCLUDE (id)", None),
        ('CREATE INDEX i ON t (name COLLATE "C")', 'Index "i" has another collation than the column.'),
        ("CREATE INDEX i ON t (name text_pattern_ops)", 'Index "i" has another operator class than the type\'s own.'),
    ],
)
def test_an_index_that_does_not_serve_is_named(connection: Connection, index: str, detail: str | None) -> None:
    numbers(connection, 1, "id bigint NOT NULL, name text NOT NULL DEFAULT ''")
    connection.execute(index.encode())
    error = refusal(connection, by=("name",) if "name" in index else ("id",))
    assert error.detail == detail
    assert "CREATE INDEX CONCURRENTLY" in (error.hint or "")


def test_an_index_in_two_directions_does_not_serve(connection: Connection) -> None:
    numbers(connection, 1, "id bigint NOT NULL, k int NOT NULL DEFAULT 1")
    connection.execute("CREATE INDEX i ON t (id, k DESC)")
    error = refusal(connection, by=("id", "k"))
    assert error.detail == 'Index "i" is ascending in one column and descending in another.'
    connection.execute("CREATE INDEX j ON t (id DESC, k DESC)")
    whimbrel.backfill(STATEMENT, connection, by="id, k")
    assert counts(connection) == [(1, 1)]


def test_an_invalid_index_does_not_serve(connection: Connection) -> None:
    numbers(connection, 1, "id bigint NOT NULL")
    connection.execute("INSERT INTO t (id) VALUES (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY i ON t (id)")
    assert refusal(connection, by=("id",)).detail == 'Index "i" is not valid.'


@pytest.mark.parametrize(
    ("made", "statement", "message"),
    [
        ("CREATE VIEW v AS SELECT * FROM t", "UPDATE v SET n = 1, done = true WHERE NOT done", "is a view"),
        ("CREATE TABLE child () INHERITS (t)", STATEMENT, "inherit from it"),
        (
            "CREATE TABLE p (id int PRIMARY KEY, done bool) PARTITION BY HASH (id)",
            "UPDATE ONLY p SET done = true WHERE NOT done",
            "has no rows of its own",
        ),
    ],
)
def test_what_is_no_table_with_rows_of_its_own_is_refused(
    connection: Connection, made: str, statement: str, message: str
) -> None:
    numbers(connection, 1)
    connection.execute(made.encode())
    assert message in refusal(connection, statement, by=("id",)).message


def test_a_table_with_heirs_is_walked_alone_where_the_statement_says_only(connection: Connection) -> None:
    numbers(connection, 5)
    connection.execute("CREATE TABLE child () INHERITS (t)")
    connection.execute("INSERT INTO child (id) VALUES (6)")
    whimbrel.backfill("UPDATE ONLY t SET n = 1, done = true WHERE NOT done", connection)
    assert counts(connection) == [(0, 1), (1, 5)]


def test_another_table_than_is_named_is_refused(connection: Connection) -> None:
    numbers(connection, 1)
    connection.execute("CREATE SCHEMA s CREATE TABLE t (id int PRIMARY KEY)")
    with pytest.raises(SourceError, match=r"changes table public\.t, and s\.t is named"):
        whimbrel.backfill(STATEMENT, connection, table="s.t")
    whimbrel.backfill(STATEMENT, connection, table='public."t"')


def test_a_table_that_there_is_not(connection: Connection) -> None:
    error = refusal(connection)
    assert (error.message, error.sqlstate) == ('relation "t" does not exist', "42P01")


def test_a_table_of_rows_that_are_all_alike_to_the_statistics_is_walked_by_its_index(connection: Connection) -> None:
    connection.execute("CREATE TABLE t (tenant int, id int, done boolean DEFAULT false, PRIMARY KEY (tenant, id))")
    connection.execute("INSERT INTO t SELECT i % 2, i FROM generate_series(1, 60000) AS i")
    connection.execute("VACUUM ANALYZE t")
    connection.execute("SELECT pg_stat_reset()")
    whimbrel.backfill("UPDATE t SET done = true WHERE NOT done", connection, batch=2000)
    connection.execute("SELECT pg_stat_force_next_flush()" if connection.info.server_version >= 150000 else "SELECT 1")
    row = connection.execute("SELECT coalesce(seq_scan, 0) FROM pg_stat_user_tables WHERE relname = 't'").fetchone()
    # The proof at the end, with its workers; and not the 30 batches.
    assert row is not None
    assert row[0] < 10

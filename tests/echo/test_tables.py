"""What the tables are: their names and number, and the rules that each of them keeps."""

from __future__ import annotations

import re

import psycopg
from psycopg.rows import TupleRow

from .programs import SCHEMAS

TABLES = {
    "auth": "users sessions oauth_identities one_time_codes api_keys security_events",
    "users": "profiles contacts blocks settings",
    "messages": (
        "conversations participants conversation_settings conversation_invites messages message_revisions"
        " message_receipts reactions mentions attachments link_previews polls poll_options poll_votes pinned_messages"
        " bookmarks drafts message_reports calls call_participants"
    ),
    "media": "files file_variants",
    "notifications": "notifications deliveries",
    "analytics": "events user_sessions daily_active_users feature_usage funnels cohorts",
    "location": "ip_addresses user_locations",
    "presence": "user_status connections activity_log typing_indicators subscriptions status_history",
}

UNINDEXED_KEYS = {
    "presence.typing_indicators (user_id)": "the table holds seconds: to read it whole is cheaper than an index",
}

# Text columns whose name sounds like a closed set, but which are not one.
OPEN_SETS = {
    "auth.sessions.device_type": "a client newer than the database must be able to sign in",
    "presence.connections.device_type": "a client newer than the database must be able to connect",
    "media.files.content_type": "a media type",
    "media.file_variants.content_type": "a media type",
    "users.blocks.reason": "the user's own words",
}
CLOSED_SET = re.compile(
    r"(^|_)(status|kind|type|reason|role|channel|provider|purpose|platform|theme|visibility|source|variant|service)$"
    r"|^who_can_"
)

Database = psycopg.Connection[TupleRow]


def column(db: Database, query: bytes) -> list[str]:
    """Give the first column of a query about our schemas, which it takes as its parameter."""
    return [str(value) for (value, *_) in db.execute(query, (list(SCHEMAS),))]


def test_each_schema_has_exactly_its_tables(db: Database) -> None:
    rows = db.execute(
        "SELECT schemaname, array_agg(tablename ORDER BY tablename) FROM pg_tables"
        " WHERE schemaname !~ '^(pg_|information_schema|public)' GROUP BY 1"
    ).fetchall()
    assert dict(rows) == {schema: sorted(tables.split()) for schema, tables in TABLES.items()}


def test_the_schemas_have_6_4_20_2_2_6_2_and_6_tables() -> None:
    assert [len(tables.split()) for tables in TABLES.values()] == [6, 4, 20, 2, 2, 6, 2, 6]


def test_every_table_has_a_primary_key(db: Database) -> None:
    query = b"""
        SELECT c.oid::regclass FROM pg_class AS c
        WHERE c.relnamespace::regnamespace::text = ANY (%s) AND c.relkind = 'r'
            AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'p')
    """
    assert column(db, query) == []


def test_every_schema_table_and_function_has_a_comment(db: Database) -> None:
    query = b"""
        SELECT name FROM (
            SELECT nspname AS name, obj_description(oid, 'pg_namespace') AS comment, nspname AS schema FROM pg_namespace
            UNION ALL
            SELECT oid::regclass::text, obj_description(oid, 'pg_class'), relnamespace::regnamespace::text
            FROM pg_class WHERE relkind = 'r'
            UNION ALL
            SELECT oid::regprocedure::text, obj_description(oid, 'pg_proc'), pronamespace::regnamespace::text
            FROM pg_proc
        ) AS o
        WHERE schema = ANY (%s) AND comment IS NULL
    """
    assert column(db, query) == []


def test_every_point_in_time_has_a_time_zone(db: Database) -> None:
    query = b"""
        SELECT attrelid::regclass || '.' || attname FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
        WHERE c.relnamespace::regnamespace::text = ANY (%s) AND atttypid IN ('timestamp'::regtype, 'timetz'::regtype)
    """
    assert column(db, query) == []


def test_every_foreign_key_can_be_followed_backwards_by_an_index(db: Database) -> None:
    query = b"""
        SELECT k.conrelid::regclass || ' (' || string_agg(a.attname, ', ' ORDER BY n.position) || ')'
        FROM pg_constraint AS k
        CROSS JOIN unnest(k.conkey) WITH ORDINALITY AS n (attnum, position)
        JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = n.attnum
        WHERE k.connamespace::regnamespace::text = ANY (%s) AND k.contype = 'f'
            AND NOT EXISTS (
                SELECT FROM pg_index AS i
                WHERE i.indrelid = k.conrelid AND i.indisvalid
                    -- A partial index serves if it leaves out only rows whose key is null.
                    AND coalesce(pg_get_expr(i.indpred, i.indrelid) ~ '^\\(\\w+ IS NOT NULL\\)$', true)
                    AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
            )
        GROUP BY k.oid, k.conrelid
    """
    assert set(column(db, query)) == set(UNINDEXED_KEYS)


def test_no_column_is_set_to_null_that_may_not_be_null(db: Database) -> None:
    query = b"""
        SELECT k.conrelid::regclass || '.' || a.attname FROM pg_constraint AS k
        JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = ANY (coalesce(k.confdelsetcols, k.conkey))
        WHERE k.connamespace::regnamespace::text = ANY (%s) AND k.confdeltype = 'n' AND a.attnotnull
    """
    assert column(db, query) == []


def test_foreign_keys_point_only_backwards_in_the_load_order(db: Database) -> None:
    query = b"""
        SELECT k.conname FROM pg_constraint AS k
        JOIN pg_class AS f ON f.oid = k.confrelid, (SELECT %s::text[] AS schemas) AS o
        WHERE k.contype = 'f' AND array_position(o.schemas, f.relnamespace::regnamespace::text)
            > array_position(o.schemas, k.connamespace::regnamespace::text)
    """
    assert column(db, query) == []


def test_updated_at_is_maintained_wherever_it_exists(db: Database) -> None:
    query = b"""
        SELECT attrelid::regclass FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
        WHERE c.relnamespace::regnamespace::text = ANY (%s) AND attname = 'updated_at'
            AND NOT EXISTS (
                SELECT FROM pg_trigger AS t
                WHERE t.tgrelid = c.oid AND t.tgfoid = 'auth.set_updated_at'::regproc AND t.tgenabled = 'O'
            )
    """
    assert column(db, query) == []


def test_nothing_maintains_an_updated_at_that_does_not_exist(db: Database) -> None:
    """Script bug 31: such a trigger makes every UPDATE of its table fail."""
    query = b"""
        SELECT tgrelid::regclass FROM pg_trigger JOIN pg_class AS c ON c.oid = tgrelid
        WHERE c.relnamespace::regnamespace::text = ANY (%s) AND tgfoid = 'auth.set_updated_at'::regproc
            AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'updated_at')
    """
    assert column(db, query) == []


def test_every_closed_set_has_a_check(db: Database) -> None:
    query = b"""
        SELECT a.attrelid::regclass || '.' || a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
        WHERE c.relnamespace::regnamespace::text = ANY (%s) AND c.relkind = 'r' AND a.atttypid = 'text'::regtype
            AND NOT EXISTS (
                SELECT FROM pg_constraint AS k
                WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey @> ARRAY[a.attnum]
                    AND pg_get_constraintdef(k.oid) ~ (a.attname || ' = ANY \\(ARRAY\\[')
            )
    """
    unchecked = {name for name in column(db, query) if CLOSED_SET.search(name.rsplit(".", 1)[1])}
    assert unchecked == set(OPEN_SETS)


def test_functions_do_not_depend_on_the_search_path(db: Database) -> None:
    query = b"""
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace::regnamespace::text = ANY (%s)
            AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')
            AND NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog'], false)
    """
    assert column(db, query) == []


def test_triggers_on_many_rows_are_not_compiled_for_one(db: Database) -> None:
    """Their plans are kept with the row count of the first statement, and 10 000 rows are worth compiling."""
    query = b"""
        SELECT tgfoid::regproc FROM pg_trigger JOIN pg_proc AS f ON f.oid = tgfoid
        WHERE pronamespace::regnamespace::text = ANY (%s) AND num_nonnulls(tgoldtable, tgnewtable) > 0
            AND NOT coalesce(proconfig @> ARRAY['jit=off'], false)
    """
    assert column(db, query) == []


def test_no_function_runs_with_the_rights_of_its_owner(db: Database) -> None:
    query = b"SELECT oid::regprocedure FROM pg_proc WHERE pronamespace::regnamespace::text = ANY (%s) AND prosecdef"
    assert column(db, query) == []


def test_no_extension_is_needed(db: Database) -> None:
    assert db.execute("SELECT extname FROM pg_extension").fetchall() == [("plpgsql",)]


def test_the_heartbeat_column_is_in_no_index(db: Database) -> None:
    """Presence bug n and the hot spot beside it: heartbeats and keystrokes are HOT updates."""
    rows = db.execute(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'presence'"
        " AND indexdef ~ 'last_heartbeat_at|last_updated_at|typing_indicators.*expires_at'"
    ).fetchall()
    assert rows == []


def test_the_column_that_reading_moves_is_in_no_index(db: Database) -> None:
    """Each message that somebody reads moves it: those are HOT updates too."""
    rows = db.execute(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'messages' AND tablename = 'participants'"
        " AND indexdef ~ 'last_read_at|updated_at'"
    ).fetchall()
    assert rows == []


def test_no_table_whose_rows_lose_a_reference_claims_that_they_never_change(db: Database) -> None:
    query = b"""
        SELECT conrelid::regclass FROM pg_constraint
        WHERE connamespace::regnamespace::text = ANY (%s) AND contype = 'f' AND confdeltype = 'n'
            AND obj_description(conrelid, 'pg_class') ~* 'never changed'
    """
    assert column(db, query) == []


def test_typing_indicators_have_one_index_and_two_foreign_keys(db: Database) -> None:
    """Presence bug n: four indexes for each keystroke, and no foreign key."""
    assert db.execute(
        "SELECT (SELECT count(*) FROM pg_index WHERE indrelid = t), (SELECT count(*) FROM pg_constraint"
        " WHERE conrelid = t AND contype = 'f') FROM (SELECT 'presence.typing_indicators'::regclass) AS x (t)"
    ).fetchone() == (1, 2)


def test_every_index_is_valid(db: Database) -> None:
    assert db.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid").fetchall() == []

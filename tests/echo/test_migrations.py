"""Echo's migrations run by hand: forwards, backwards, over themselves, and where they have to refuse."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from .locks import await_lock_wait
from .people import ALICE, add_user
from .programs import MIGRATIONS, ProgramError, Server, downs, dump, psql, run_files, seeds, ups
from .test_tables import TABLES

INIT_DOWN = MIGRATIONS / "000001_init_schema.down.sql"
PRESENCE_UP = MIGRATIONS / "000002_add_presence_schema.up.sql"
PRESENCE_DOWN = MIGRATIONS / "000002_add_presence_schema.down.sql"

OURS = """
    SELECT 'schema ' || nspname FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_'
    UNION ALL SELECT 'relation ' || oid::regclass FROM pg_class
        WHERE oid >= 16384 AND oid::regclass::text !~ '^(schema_migrations|pg_toast)'
    UNION ALL SELECT 'type ' || oid::regtype FROM pg_type
        WHERE oid >= 16384 AND oid::regtype::text !~ '^(schema_migrations|pg_toast)'
    UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE oid >= 16384
"""

Database = psycopg.Connection[TupleRow]


def versions(conninfo: str) -> list[int]:
    with psycopg.connect(conninfo) as connection:
        return [int(row[0]) for row in connection.execute("SELECT version FROM schema_migrations ORDER BY 1")]


def test_up_records_each_version_with_a_description(server: Server, dsn: str) -> None:
    run_files(server, dsn, ups())
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT version, description, applied_at FROM schema_migrations ORDER BY 1"
        ).fetchall()
    assert [row[0] for row in rows] == [1, 2, 3, 4]
    assert all(row[1] and row[2] for row in rows)


def test_up_over_itself_changes_neither_definition_nor_data(server: Server, seeded: str) -> None:
    before = dump(server, seeded), run_data(server, seeded)
    run_files(server, seeded, ups())
    assert (dump(server, seeded), run_data(server, seeded)) == before


def run_data(server: Server, conninfo: str) -> str:
    return psql(server, conninfo, "--command=TABLE auth.users; TABLE presence.status_history; TABLE schema_migrations;")


def test_up_down_up_gives_the_same_definition(server: Server, dsn: str) -> None:
    run_files(server, dsn, ups())
    first = dump(server, dsn)
    run_files(server, dsn, downs())
    run_files(server, dsn, ups())
    assert dump(server, dsn) == first


def test_down_leaves_nothing_of_ours_but_the_history(server: Server, dsn: str) -> None:
    run_files(server, dsn, ups())
    run_files(server, dsn, seeds())
    run_files(server, dsn, downs())
    assert versions(dsn) == []
    with psycopg.connect(dsn) as connection:
        assert connection.execute(OURS.encode()).fetchall() == []


def test_each_down_undoes_its_own_up_and_no_more(server: Server, dsn: str) -> None:
    definitions: list[str] = []
    run_files(server, dsn, ups()[:1])
    for up in ups()[1:]:
        definitions.append(dump(server, dsn))
        run_files(server, dsn, [up])
    for down in downs()[:-1]:
        run_files(server, dsn, [down])
        assert dump(server, dsn) == definitions.pop()


def test_down_of_the_baseline_refuses_while_presence_stands_on_it(server: Server, seeded: str) -> None:
    """Script bug 12: it dropped seven schemas with all that hung on them, and left presence an orphan."""
    before = dump(server, seeded)
    with pytest.raises(ProgramError, match=r"cannot drop .* because other objects depend on"):
        psql(server, seeded, f"--file={INIT_DOWN}")
    assert dump(server, seeded) == before


@pytest.mark.parametrize("schema", ["auth", "messages", "location"])
def test_down_of_the_baseline_refuses_to_drop_somebody_elses_table(server: Server, dsn: str, schema: str) -> None:
    run_files(server, dsn, ups()[:1])
    psql(server, dsn, f"--command=CREATE TABLE {schema}.theirs AS SELECT 1 AS one")
    with pytest.raises(ProgramError, match=f"table {schema}.theirs depends on schema {schema}"):
        run_files(server, dsn, [INIT_DOWN])
    assert versions(dsn) == [1]
    assert psql(server, dsn, "--tuples-only", f"--command=TABLE {schema}.theirs").strip() == "1"
    assert psql(server, dsn, "--tuples-only", "--command=SELECT count(*) FROM auth.users").strip() == "0"


def test_down_of_presence_refuses_to_drop_somebody_elses_table(server: Server, echo: str) -> None:
    psql(server, echo, "--command=CREATE TABLE presence.theirs ()")
    with pytest.raises(ProgramError, match="because other objects depend on it"):
        run_files(server, echo, [PRESENCE_DOWN])
    assert versions(echo) == [1, 2, 3, 4]


def test_a_dropped_presence_schema_is_mended_by_its_up(server: Server, echo: str) -> None:
    before = dump(server, echo)
    psql(server, echo, "--command=DROP SCHEMA presence CASCADE")
    assert dump(server, echo) != before
    run_files(server, echo, [PRESENCE_UP])
    assert dump(server, echo) == before


def test_one_dropped_presence_table_is_mended_by_the_up(server: Server, echo: str) -> None:
    before = dump(server, echo)
    psql(server, echo, "--command=DROP TABLE presence.user_status, presence.connections")
    run_files(server, echo, [PRESENCE_UP])
    assert dump(server, echo) == before


def test_stale_connections_are_swept_after_the_statuses_were_dropped(server: Server, echo: str) -> None:
    with psycopg.connect(echo, autocommit=True) as db:
        add_user(db, ALICE)
        db.execute(
            "INSERT INTO presence.connections (connection_id, user_id, device_id, last_heartbeat_at)"
            " VALUES ('c1', %s, 'phone', now() - interval '1 minute')",
            (ALICE,),
        )
    before = dump(server, echo)
    psql(server, echo, "--command=DROP TABLE presence.user_status")
    run_files(server, echo, [PRESENCE_UP])
    assert dump(server, echo) == before
    with psycopg.connect(echo, autocommit=True) as db:
        assert db.execute("SELECT presence.cleanup_stale_connections()").fetchone() == (1,)
        assert db.execute("SELECT status, disconnect_reason FROM presence.connections").fetchall() == [
            ("disconnected", "timeout")
        ]
        assert db.execute("SELECT user_id, status, active_connections FROM presence.user_status").fetchall() == [
            (ALICE, "offline", 0)
        ]
        assert db.execute("SELECT presence.cleanup_stale_connections()").fetchone() == (0,)


@pytest.mark.parametrize("table", TABLES["presence"].split())
def test_a_presence_table_without_its_primary_key_is_refused_by_name(server: Server, echo: str, table: str) -> None:
    psql(server, echo, f"--command=CREATE TABLE presence.copy (LIKE presence.{table})")
    psql(server, echo, f"--command=DROP TABLE presence.{table}")
    psql(server, echo, f"--command=ALTER TABLE presence.copy RENAME TO {table}")
    with pytest.raises(ProgramError, match=rf"table presence.{table} lacks its PRIMARY KEY \(.*\n.*Drop or rename it"):
        run_files(server, echo, [PRESENCE_UP])
    psql(server, echo, f"--command=ALTER TABLE presence.{table} RENAME TO theirs")
    run_files(server, echo, [PRESENCE_UP])


def test_a_presence_table_with_another_primary_key_is_refused(server: Server, echo: str) -> None:
    psql(server, echo, "--command=ALTER TABLE presence.typing_indicators DROP CONSTRAINT typing_indicators_pkey")
    psql(server, echo, "--command=ALTER TABLE presence.typing_indicators ADD PRIMARY KEY (user_id)")
    with pytest.raises(ProgramError, match=r"lacks its PRIMARY KEY \(conversation_id, user_id\)"):
        run_files(server, echo, [PRESENCE_UP])


def test_a_migration_that_fails_leaves_no_trace(server: Server, dsn: str) -> None:
    with pytest.raises(ProgramError, match='schema "auth" does not exist'):
        run_files(server, dsn, [PRESENCE_UP])
    with psycopg.connect(dsn) as connection:
        assert connection.execute(OURS.encode()).fetchall() == []


def test_the_baseline_can_be_included_in_psql_without_a_transaction(server: Server, dsn: str) -> None:
    """As the guide's third option does."""
    for up in ups():
        psql(server, dsn, f"--command=\\i {up}")
    assert versions(dsn) == [1, 2, 3, 4]


def test_the_history_of_the_baseline_has_the_three_columns_of_the_guide(server: Server, dsn: str) -> None:
    run_files(server, dsn, ups()[:1])
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'schema_migrations'::regclass AND attnum > 0 ORDER BY attnum"
        ).fetchall()
    assert rows == [("version", "bigint"), ("description", "text"), ("applied_at", "timestamp with time zone")]


def test_search_is_added_without_blocking_a_writer(server: Server, dsn: str) -> None:
    run_files(server, dsn, ups()[:3])
    search = "--file", str(MIGRATIONS / "000004_message_search.up.sql")
    with psycopg.connect(dsn) as holder, ThreadPoolExecutor() as pool:
        # Whoever reads a message holds up a concurrent build's last phase, but the build holds up nobody.
        holder.execute("LOCK TABLE messages.messages IN ROW EXCLUSIVE MODE")
        build = pool.submit(psql, server, dsn, *search)
        with psycopg.connect(dsn, autocommit=True) as writer:
            await_lock_wait(writer)
            writer.execute("SET lock_timeout = '1s'")
            writer.execute("INSERT INTO messages.conversations (kind, title) VALUES ('group', 'Busy')")
            writer.execute(
                "INSERT INTO messages.messages (conversation_id, content) SELECT id, 'hi' FROM messages.conversations"
            )
        holder.commit()
        build.result()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone() == (0,)


@pytest.mark.parametrize("file", ups() + downs() + seeds(), ids=lambda file: file.name)
def test_a_file_is_plain_sql_without_transaction_control(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"^\s*(BEGIN|COMMIT|ROLLBACK|START TRANSACTION)\s*;", text, re.MULTILINE | re.IGNORECASE)
    assert not re.search(r"^\\", text, re.MULTILINE)
    assert "CASCADE;" not in text


@pytest.mark.parametrize("up", ups(), ids=lambda file: file.name)
def test_a_file_records_its_own_version_last(up: Path) -> None:
    version = int(up.name.split("_")[0])
    down = up.with_name(up.name.replace(".up.", ".down."))
    assert re.search(
        rf"INSERT INTO schema_migrations \(version, description\)\nVALUES \({version}, '.+'\)\n"
        r"ON CONFLICT \(version\) DO NOTHING;\n\Z",
        up.read_text(),
    )
    assert down.read_text().endswith(f"\nDELETE FROM schema_migrations WHERE version = {version};\n")

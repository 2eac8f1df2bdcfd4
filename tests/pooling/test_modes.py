"""What is refused behind PgBouncer, what works, and what is left on its server connections."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

import psycopg
import pytest
from psycopg.rows import TupleRow

import whimbrel
from tests.acceptance.programs import Project, applied, tables, value
from whimbrel.database import Mode, connect, find_mode
from whimbrel.errors import ConfigError

from .bouncer import Bouncer
from .conftest import Start

SEARCH_PATH = {"WHIMBREL_SEARCH_PATH": "app, public"}
CONCURRENTLY = "CREATE INDEX CONCURRENTLY t1_id ON t1 (id);"


def behind(project: Project, bouncer: Bouncer, **variables: str) -> Project:
    """Return the project as one whose DATABASE_URL leads through the pooler."""
    return replace(project, database=bouncer.dsn, variables={**project.variables, **variables})


@dataclass(frozen=True)
class Trace:
    """What an application finds on the server connection that the pooler gives it."""

    process: int
    settings: list[TupleRow]
    role: tuple[str, str, str]
    locks: int


def look(bouncer: Bouncer, size: int = 1) -> list[Trace]:
    """Look through the pooler, as applications would, at each of its `size` server connections."""
    with ExitStack() as stack:
        clients = [stack.enter_context(bouncer.connect()) for _ in range(size)]
        for client in clients:
            client.execute("BEGIN")
        traces = [_trace(client) for client in clients]
        for client in clients:
            client.execute("ROLLBACK")
    return sorted(traces, key=lambda trace: trace.process)


def _trace(connection: psycopg.Connection[TupleRow]) -> Trace:
    process = value(connection, "SELECT pg_backend_pid()")
    assert isinstance(process, int)
    settings = connection.execute(
        "SELECT name, setting FROM pg_settings WHERE source = 'session' ORDER BY name"
    ).fetchall()
    role = connection.execute("SELECT current_user, session_user, current_setting('role')").fetchone()
    assert role is not None
    locks = connection.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = %s", [process])
    return Trace(process, settings, (str(role[0]), str(role[1]), str(role[2])), len(locks.fetchall()))


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("size", [1, 3])
def test_the_mode_of_a_pooler_is_found_out(start_bouncer: Start, mode: Mode, size: int) -> None:
    """Also where it has one server connection only, which somebody has."""
    bouncer = start_bouncer(mode.value, default_pool_size=str(size))
    with connect(bouncer.dsn) as connection:
        assert find_mode(connection, lambda: connect(bouncer.dsn)) is mode


def test_transaction_mode_is_refused_with_both_ways_out(
    project: Project, start_bouncer: Start, connection: psycopg.Connection[TupleRow]
) -> None:
    """Nothing is done, not even the history tables; it is a matter of configuration."""
    project.three_tables()
    bouncer = start_bouncer("transaction")

    error = behind(project, bouncer).fail(2, "up")

    assert "is behind a pooler in transaction mode, where no session holds a lock" in error
    assert "direct_url" in error
    assert 'lock = "transaction"' in error
    assert tables(connection) == []
    assert value(connection, "SELECT to_regclass('schema_migrations')") is None


@pytest.mark.parametrize("arguments", [["baseline", "1"], ["repair"], ["resolve", "1", "--retry"], ["seed"]])
def test_transaction_mode_is_refused_by_whatever_takes_the_lock(
    project: Project, start_bouncer: Start, arguments: list[str]
) -> None:
    project.three_tables()
    project.write("seeds/1.sql", "SELECT 1;")

    assert "is behind a pooler in transaction mode" in behind(project, start_bouncer("transaction")).fail(2, *arguments)


@pytest.mark.parametrize("mode", list(Mode))
def test_what_only_reads_works_in_every_mode(project: Project, start_bouncer: Start, mode: Mode) -> None:
    """With the search_path and the role of the configuration, and whatever the session has."""
    project.three_tables()
    project.succeed("up", "--to", "2")
    pooled = behind(project, start_bouncer(mode.value, default_pool_size="1"))

    assert "000003_m3.up.sql (pending)" in pooled.succeed("status")
    assert pooled.run("status", "--check").code == 3
    assert "m2" in pooled.succeed("history")
    assert "000003_m3.up.sql" in pooled.succeed("up", "--plan")
    assert "Nothing to do" in pooled.succeed("up", "--to", "2")


@pytest.mark.parametrize("arguments", [["up"], ["up", "--lock", "transaction"], ["seed", "--lock", "transaction"]])
def test_statement_mode_is_refused(
    project: Project, start_bouncer: Start, connection: psycopg.Connection[TupleRow], arguments: list[str]
) -> None:
    """It has no transactions, so that nothing helps but the way around it."""
    project.three_tables()
    project.write("seeds/1.sql", "SELECT 1;")

    error = behind(project, start_bouncer("statement")).fail(2, *arguments)

    assert "is behind a pooler in statement mode, which has no transactions" in error
    assert "direct_url" in error
    assert tables(connection) == []


@pytest.mark.parametrize("lock", ["session", "transaction"])
@pytest.mark.parametrize("reset", ["DISCARD ALL", ""])
def test_session_mode_works_and_leaves_nothing(project: Project, start_bouncer: Start, lock: str, reset: str) -> None:
    """Whatever the pooler itself does with a connection that comes back (server_reset_query)."""
    project.three_tables()
    if lock == "session":
        project.migration(4, CONCURRENTLY, "DROP INDEX t1_id;")
    bouncer = start_bouncer("session", default_pool_size="2", server_reset_query=reset)
    pooled = behind(project, bouncer, WHIMBREL_LOCK=lock, **SEARCH_PATH)
    before = look(bouncer, 2)

    pooled.succeed("up")
    pooled.succeed("redo", "--yes")
    pooled.succeed("down", "--yes", "0")

    assert look(bouncer, 2) == before


def test_in_transaction_mode_nothing_stays_on_the_server_connection(
    project: Project, start_bouncer: Start, dsn: str
) -> None:
    """Of what whimbrel sets, of what the migrations set, and of what failed."""
    role = "pooling_worker"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role}")
    try:
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(f"CREATE SCHEMA app AUTHORIZATION {role}")
            admin.execute(f"GRANT ALL ON SCHEMA public TO {role}")
        project.migration(1, "CREATE TABLE t1 (id int);", "DROP TABLE t1;")
        project.migration(
            2,
            "SET search_path = pg_catalog; SET work_mem = '7MB'; SET my.setting = 'x';"
            "SELECT set_config('lock_timeout', '77s', false);",
            "RESET ALL;",
        )
        project.migration(
            3, "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE; SET ROLE postgres;", ""
        )
        bouncer = start_bouncer("transaction", default_pool_size="1")
        variables = {"WHIMBREL_LOCK": "transaction", "WHIMBREL_ROLE": role, **SEARCH_PATH}
        pooled = behind(project, bouncer, **variables)
        before = look(bouncer)

        pooled.succeed("status")
        pooled.fail(2, "up", "--lock", "session")
        pooled.succeed("up", "--rehearse")
        pooled.succeed("up")
        pooled.succeed("history")
        pooled.succeed("redo", "2", "--yes")
        pooled.succeed("force", "3")
        project.migration(4, "SET work_mem = '9MB'; SELECT 1/0;", "")
        pooled.fail(1, "up")
        pooled.succeed("down", "1", "--yes")

        assert look(bouncer) == before
        with bouncer.connect() as connection:
            assert value(connection, "SELECT coalesce(current_setting('my.setting', true), '')") == ""
        with psycopg.connect(dsn, autocommit=True) as admin:
            owner = value(admin, "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'schema_migrations_log'")
            assert owner == role
    finally:
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(f"DROP OWNED BY {role} CASCADE")
            admin.execute(f"DROP ROLE {role}")


def test_what_the_pooler_has_set_for_its_server_connections_stays(project: Project, start_bouncer: Start) -> None:
    """PgBouncer's connect_query runs once for each of them: nobody would set it again."""
    project.migration(1, "SET work_mem = '7MB'; SET search_path = pg_catalog;", "")
    project.migration(2, "SELECT 1/0;", "")
    query = "SET work_mem = ''33MB''; SET search_path = app, \"äpp\"; SET ROLE pg_monitor"
    bouncer = start_bouncer("transaction", f"connect_query='{query}'", default_pool_size="1")
    before = look(bouncer)
    assert ("work_mem", "33792") in before[0].settings

    behind(project, bouncer).fail(1, "up", "--lock", "transaction")

    assert look(bouncer) == before


def test_the_configured_role_and_search_path_hold_for_each_migration(
    project: Project, start_bouncer: Start, connection: psycopg.Connection[TupleRow]
) -> None:
    """They are the transaction's, and a migration's own do not reach the next one."""
    connection.execute("CREATE SCHEMA app")
    project.migration(1, "CREATE TABLE t1 (id int); SET search_path = pg_catalog; SET TimeZone = 'Asia/Tokyo';")
    project.migration(
        2, "CREATE TABLE t2 AS SELECT current_setting('TimeZone') AS zone, current_setting('role') AS role"
    )
    pooled = behind(project, start_bouncer("transaction"), WHIMBREL_ROLE="postgres", **SEARCH_PATH)

    pooled.succeed("up", "--lock", "transaction")

    rows = connection.execute("SELECT zone, role FROM app.t2").fetchall()
    assert rows == [("UTC", "postgres")]
    assert value(connection, "SELECT to_regclass('app.t1') IS NOT NULL") is True


def test_an_address_around_the_pooler_is_used_instead(
    project: Project, start_bouncer: Start, connection: psycopg.Connection[TupleRow], dsn: str
) -> None:
    """DIRECT_URL beside DATABASE_URL, as hosting platforms name them; also for what needs a session."""
    project.three_tables()
    project.migration(4, CONCURRENTLY)

    behind(project, start_bouncer("transaction"), DIRECT_URL=dsn).succeed("up")

    assert applied(connection) == [1, 2, 3, 4]


def test_an_open_connection_from_behind_a_pooler_is_seen_for_what_it_is(project: Project, start_bouncer: Start) -> None:
    """An application that hands over its own connection at start-up."""
    project.three_tables()
    bouncer = start_bouncer("transaction", default_pool_size="2")
    before = look(bouncer, 2)
    with bouncer.connect() as connection:
        with pytest.raises(ConfigError, match="behind a pooler in transaction mode"):
            whimbrel.migrate(project.migrations, connection)

        result = whimbrel.migrate(project.migrations, connection, lock="transaction")

        assert [step.version for step in result.finished] == [1, 2, 3]
        assert all(state.applied for state in whimbrel.read_status(project.migrations, connection))
    assert look(bouncer, 2) == before


def test_a_start_up_parameter_that_the_pooler_refuses_is_told(project: Project, start_bouncer: Start) -> None:
    """Of the address, not of whimbrel's own making: it sends none."""
    project.three_tables()
    bouncer = start_bouncer("session")

    error = replace(project, database=f"{bouncer.dsn} options='-c work_mem=4MB'").fail(8, "status")

    assert "unsupported startup parameter" in error


def test_what_would_be_lost_is_looked_up_with_the_configured_search_path(
    project: Project, start_bouncer: Start, connection: psycopg.Connection[TupleRow]
) -> None:
    """The session's own would find another table of that name, or none."""
    connection.execute("CREATE SCHEMA app")
    project.migration(1, "CREATE TABLE t1 AS SELECT generate_series(1, 7);", "DROP TABLE t1;")
    pooled = behind(project, start_bouncer("transaction"), WHIMBREL_LOCK="transaction", **SEARCH_PATH)
    pooled.succeed("up")
    connection.execute("CREATE TABLE public.t1 ()")

    shown = pooled.succeed("down", "--plan")

    assert "7 rows" in shown

"""Servers that cannot be reached, do not let us in, or are not to be written to."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from .programs import Project, applied, finish
from .servers import TcpServer, free_port

Connection = psycopg.Connection[TupleRow]
WHERE = "Where its address comes from is shown by: whimbrel status --origins\n"


@pytest.fixture
def homeless(tmp_path: Path) -> Project:
    """Give a project with three migrations and no database."""
    project = Project(tmp_path, None)
    project.three_tables()
    return project


@pytest.fixture
def dbname(tcp: TcpServer) -> Generator[str]:
    """Give a fresh database of the server with passwords."""
    name = f"test_{secrets.token_hex(6)}"
    tcp.admin(f"CREATE DATABASE {name}")
    yield name
    tcp.admin(f"DROP DATABASE {name} WITH (FORCE)")


def test_no_server(homeless: Project) -> None:
    port = free_port()
    url = {"DATABASE_URL": f"postgresql://me:secret@127.0.0.1:{port}/app"}
    error = (
        f'error: cannot connect: connection to server at "127.0.0.1", port {port} failed: Connection refused\n'
        f"Hint: Is the server running? {WHERE}"
    )
    for command in (("up",), ("status",), ("down", "--yes"), ("history",), ("baseline", "1"), ("seed",)):
        assert homeless.fail(8, *command, variables=url) == error


def test_no_socket(homeless: Project) -> None:
    assert homeless.fail(8, "up", "--database", "host=/nonexistent dbname=app") == (
        'error: cannot connect: connection to server on socket "/nonexistent/.s.PGSQL.5432" failed:'
        f" No such file or directory\nHint: Is the server running? {WHERE}"
    )


def test_no_such_host(homeless: Project) -> None:
    error = homeless.fail(8, "up", "--database", "postgresql://me:secret@nonexistent.invalid/app")
    assert error.startswith('error: cannot connect: host name "nonexistent.invalid" cannot be resolved: ')


def test_several_hosts_are_tried_and_each_failure_is_told(homeless: Project) -> None:
    one, two = free_port(), free_port()
    assert homeless.fail(8, "up", "--database", f"postgresql://me@127.0.0.1:{one},127.0.0.1:{two}/app") == (
        f'error: cannot connect: connection to server at "127.0.0.1", port {two} failed: Connection refused\n'
        f'Detail: connection to server at "127.0.0.1", port {one} failed: Connection refused\n'
        f'        connection to server at "127.0.0.1", port {two} failed: Connection refused\n'
        f"Hint: Is the server running? {WHERE}"
    )


def test_a_wrong_password(homeless: Project, tcp: TcpServer) -> None:
    tcp.make_role("mallory", "right")
    assert homeless.fail(8, "up", "--database", tcp.url("mallory", "wrong", "postgres")) == (
        'error: cannot connect: password authentication failed for user "mallory"\n'
        "Hint: Check the user and the password; ~/.pgpass and PGPASSWORD are read too.\n"
    )


def test_no_password(homeless: Project, tcp: TcpServer) -> None:
    tcp.make_role("mallory", "right")
    assert homeless.fail(8, "up", "--database", f"postgresql://mallory@127.0.0.1:{tcp.port}/postgres") == (
        f'error: cannot connect: connection to server at "127.0.0.1", port {tcp.port} failed: no password supplied\n'
        "Hint: Check the user and the password; ~/.pgpass and PGPASSWORD are read too.\n"
    )


def test_a_database_that_does_not_exist_and_the_command_that_creates_it(homeless: Project, tcp: TcpServer) -> None:
    name = f"new-{secrets.token_hex(6)}"
    target = {"DATABASE_URL": tcp.conninfo(name)}
    error = f'error: cannot connect: database "{name}" does not exist\nHint: Create it: whimbrel up --create-database\n'
    assert homeless.fail(8, "status", variables=target) == error
    assert homeless.fail(8, "up", variables=target) == error
    homeless.succeed("up", "--create-database", variables=target)
    assert homeless.succeed("status", "--check", variables=target).count("applied") == 3
    tcp.admin(f'DROP DATABASE "{name}"')


def test_a_database_named_by_a_variable_or_by_the_users_name_is_created_too(homeless: Project, tcp: TcpServer) -> None:
    name = f"new_{secrets.token_hex(6)}"
    place = {"PGHOST": str(tcp.data), "PGPORT": str(tcp.port)}
    homeless.succeed("up", "--create-database", variables={**place, "PGUSER": "postgres", "PGDATABASE": name})
    tcp.admin(f"DROP DATABASE {name}")
    tcp.admin(f"CREATE ROLE {name} LOGIN CREATEDB")
    homeless.succeed("up", "--create-database", variables={**place, "PGUSER": name})
    tcp.admin(f"DROP DATABASE {name}")


def test_a_role_that_may_not_create_the_database(homeless: Project, tcp: TcpServer) -> None:
    tcp.make_role("mallory", "right")
    assert homeless.fail(1, "up", "--create-database", "--database", tcp.url("mallory", "right", "nothing_here")) == (
        'error: database "nothing_here" cannot be created: permission denied to create database\n'
        "Hint: Ask for the database, or for the right to make it: ALTER ROLE … CREATEDB\n"
    )


def test_no_permission_on_schema_public(homeless: Project, tcp: TcpServer, dbname: str) -> None:
    tcp.make_role("mallory", "right")
    tcp.admin("REVOKE CREATE ON SCHEMA public FROM public", dbname)
    target = {"DATABASE_URL": tcp.url("mallory", "right", dbname)}
    assert homeless.fail(1, "up", variables=target) == (
        "error: the history tables cannot be made: permission denied for schema public\n"
        "Hint: Ask for the right: GRANT CREATE ON SCHEMA public TO …;"
        " or keep the history elsewhere: --history-table myschema.schema_migrations\n"
    )
    assert homeless.succeed("status", variables=target).count("pending") == 3
    assert homeless.run("status", "--check", variables=target).code == 3


def test_status_works_for_a_role_that_may_only_read(homeless: Project, tcp: TcpServer, dbname: str) -> None:
    admin = {"DATABASE_URL": tcp.conninfo(dbname)}
    homeless.succeed("up", "--to", "2", variables=admin)
    tcp.make_role("reader", "right")
    reader = {"DATABASE_URL": tcp.url("reader", "right", dbname)}
    error = homeless.fail(2, "status", variables=reader)
    assert error.startswith("error: the history cannot be read: permission denied for table schema_migrations\n")
    granted = "public.schema_migrations, public.schema_migrations_log, public.schema_migrations_journal"
    assert f"Hint: Ask for it: GRANT USAGE ON SCHEMA public TO …; GRANT SELECT ON {granted} TO …;\n" in error
    tcp.admin(f"GRANT SELECT ON {granted} TO reader", dbname)
    assert homeless.succeed("status", variables=reader).count("applied") == 2
    assert homeless.succeed("history", variables=reader).count("up ") == 2
    assert homeless.succeed("up", "--plan", variables=reader).startswith("000003_m3.up.sql")
    assert homeless.succeed("up", "--to", "2", variables=reader).startswith("Nothing to do")
    assert homeless.run("up", variables=reader).code == 1
    with psycopg.connect(tcp.conninfo(dbname)) as connection:
        assert applied(connection) == [1, 2]


def test_a_session_that_may_only_read(project: Project, connection: Connection) -> None:
    project.three_tables()
    read_only = {"PGOPTIONS": "-c default_transaction_read_only=on"}
    assert project.fail(1, "up", variables=read_only) == (
        "error: the history tables cannot be made: cannot execute CREATE TABLE in a read-only transaction\n"
        "Hint: The server is a read-only replica, or the session is read-only: connect to the primary.\n"
    )
    assert project.succeed("status", variables=read_only).count("pending") == 3
    assert applied(connection) == []


def test_a_replica_shows_its_status_and_refuses_to_be_changed(
    homeless: Project, tcp: TcpServer, dbname: str, tmp_path: Path
) -> None:
    homeless.succeed("up", "--to", "2", variables={"DATABASE_URL": tcp.conninfo(dbname)})
    standby = tcp.copy(Path(tcp.data.parent))
    standby.start()
    try:
        target = {"DATABASE_URL": standby.conninfo(dbname)}
        assert homeless.succeed("status", variables=target).count("applied") == 2
        error = (
            f'error: "{dbname}" on a local socket is a read-only replica\n'
            "Hint: Connect to the primary; with several hosts in the address: target_session_attrs=read-write\n"
        )
        for command in (("up",), ("up", "--rehearse"), ("down", "--yes"), ("redo", "--yes"), ("force", "1")):
            assert homeless.fail(2, *command, variables=target) == error
        both = (
            f"host={standby.data},{tcp.data} port={standby.port},{tcp.port} dbname={dbname} user=postgres"
            " target_session_attrs=read-write"
        )
        homeless.succeed("up", "--database", both)
    finally:
        standby.stop()


def test_a_server_that_takes_the_connection_and_never_answers(homeless: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port: int = silent.getsockname()[1]
        start = time.monotonic()
        error = homeless.fail(8, "up", "--database", f"host=127.0.0.1 port={port} connect_timeout=2")
        assert time.monotonic() - start < 10
    assert error == (
        "error: cannot connect: connection timeout expired\n"
        "Hint: Nobody answered. Where the address comes from is shown by: whimbrel status --origins\n"
    )


def test_sslmode_is_respected(homeless: Project, tcp: TcpServer) -> None:
    tcp.make_role("mallory", "right")
    url = tcp.url("mallory", "right", "postgres")
    assert homeless.fail(8, "up", "--database", f"{url}?sslmode=require") == (
        f'error: cannot connect: connection to server at "127.0.0.1", port {tcp.port} failed:'
        " server does not support SSL, but SSL was required\n"
    )
    homeless.succeed("status", "--database", f"{url}?sslmode=disable")


def test_every_way_of_writing_an_address_leads_to_the_same_database(project: Project, dsn: str) -> None:
    project.migration(1, "CREATE TABLE t1 (id int);\n")
    project.succeed("up")
    parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items()}
    host, port, name, user = parts["host"], parts["port"], parts["dbname"], parts["user"]
    project.write("services.conf", f"[here]\nhost={host}\nport={port}\ndbname={name}\nuser={user}\n")
    addresses = (
        f"postgresql://{user}@{quote(host, safe='')}:{port}/{name}",
        f"postgres://{user}@/{name}?host={host}&port={port}",
        f"postgresql:///?host={quote(host, safe='')}&port={port}&dbname={name}&user={user}",
        f"dbname='{name}' host={host} port={port} user={user} application_name='my tool'",
        "service=here",
        "postgresql:///?service=here",
    )
    service_file = {"PGSERVICEFILE": str(project.root / "services.conf")}
    for address in addresses:
        assert project.succeed("status", "--database", address, variables=service_file) == (
            "✓ 000001_m1.up.sql (applied)\n"
        )
    alone = Project(project.root, None)
    variables = {"PGHOST": host, "PGPORT": port, "PGDATABASE": name, "PGUSER": user}
    assert alone.succeed("status", variables=variables) == "✓ 000001_m1.up.sql (applied)\n"
    assert alone.succeed("status", variables={"PGSERVICE": "here", **service_file}).count("applied") == 1


BAD_ADDRESSES = ("postgre://me:hunter2@host/app", "mysql://me:hunter2@host/app", "hunter2", "host=h password=hunter2 x")


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_an_address_that_cannot_be_read_is_not_shown(homeless: Project, address: str) -> None:
    assert homeless.fail(2, "up", variables={"DATABASE_URL": address}) == (
        "error: the database address cannot be read\n"
        "Detail: It is not shown, since it may hold a password.\n"
        'Hint: Write it as "postgresql://user:password@host:5432/dbname", or as "host=… dbname=…".\n'
    )


def test_an_address_that_is_read_and_makes_no_sense(homeless: Project) -> None:
    for address, fact in (
        ("host=127.0.0.1 port=x", 'invalid integer value "x" for connection option "port"'),
        ("postgresql://127.0.0.1/d?sslmode=perhaps", 'invalid sslmode value: "perhaps"'),
        ("service=nothing", 'definition of service "nothing" not found'),
    ):
        assert homeless.fail(8, "up", "--database", address) == f"error: cannot connect: {fact}\n"


def test_a_lost_connection_says_what_became_of_the_work(project: Project, connection: Connection) -> None:
    project.migration(1, "CREATE TABLE t1 (id int);\n")
    project.migration(2, "CREATE TABLE t2 (id int); SELECT pg_terminate_backend(pg_backend_pid());\n")
    done = project.run("up")
    assert done.code == 8
    assert done.err.startswith("error: connection lost: ")
    assert done.err.endswith("Hint: Run the same command again: it goes on where the last committed migration ended.\n")
    assert applied(connection) == [1]


def test_the_process_list_never_shows_the_password(homeless: Project, tcp: TcpServer, dbname: str) -> None:
    """While a statement runs, and while psql does."""
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("no /proc")
    tcp.make_role("walter", "hunter2hunter2")
    tcp.admin("GRANT ALL ON SCHEMA public TO walter", dbname)
    target = {"DATABASE_URL": tcp.url("walter", "hunter2hunter2", dbname)}
    homeless.migration(1, "SELECT pg_sleep(1.5);\n")
    for command in (("up",), ("psql", "--", "-c", "SELECT pg_sleep(1.5)")):
        process = homeless.start(*command, variables=target)
        seen: list[str] = []
        with psycopg.connect(tcp.conninfo(dbname), autocommit=True) as connection:
            while process.poll() is None:
                seen += _commands()
                row = connection.execute("SELECT string_agg(a::text, '') FROM pg_stat_activity AS a").fetchone()
                seen.append(str(row))
                time.sleep(0.1)
        assert finish(process).code == 0
        assert any("pg_sleep" in text for text in seen)
        assert not any("hunter2hunter2" in text for text in seen)


def _commands() -> list[str]:
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return found

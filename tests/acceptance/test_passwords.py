"""A password with any character works, wherever it comes from, and shows nowhere."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Generator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from whimbrel.database import conninfo, without_password

from .programs import Done, Project, finish
from .servers import TcpServer

# Every printable ASCII character and some beyond; the last ones would be trimmed by a careless reader.
PASSWORD = "".join(map(chr, range(32, 127))) + "äß€🐦 @/:# "
ENCODED = quote(PASSWORD, safe="")


@pytest.fixture(scope="module")
def dbname(tcp: TcpServer) -> Generator[str]:
    """Give a database that belongs to the role peggy, whose password is the worst there is."""
    name = f"test_{secrets.token_hex(6)}"
    tcp.make_role("peggy", PASSWORD)
    tcp.admin(f"CREATE DATABASE {name} OWNER peggy")
    yield name
    tcp.admin(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def place(tcp: TcpServer, dbname: str) -> dict[str, str]:
    """Give the PG* variables of the database but for the password."""
    return {"PGHOST": "127.0.0.1", "PGPORT": str(tcp.port), "PGUSER": "peggy", "PGDATABASE": dbname}


@pytest.fixture
def alone(tmp_path: Path) -> Project:
    """Give a project with one migration and no database."""
    project = Project(tmp_path, None)
    project.migration(1, "SELECT 1;\n")
    return project


def check(done: Done) -> None:
    """Check that a command worked and told nobody the password."""
    assert done.code == 0, done
    for spelling in (PASSWORD, PASSWORD[1:40], ENCODED, ENCODED[:40]):
        assert spelling not in done.out + done.err


def test_in_a_url(alone: Project, tcp: TcpServer, dbname: str) -> None:
    for password in (PASSWORD, ENCODED):
        url = tcp.url("peggy", password, dbname)
        check(alone.run("status", variables={"DATABASE_URL": url}))
        check(alone.run("status", "--origins", "--database", url))


def test_in_a_connection_string(alone: Project, tcp: TcpServer, dbname: str) -> None:
    text = make_conninfo("", host="127.0.0.1", port=tcp.port, user="peggy", dbname=dbname, password=PASSWORD)
    check(alone.run("up", "--database", text))
    check(alone.run("status", "--origins", "--json", "--database", text))


def test_in_the_environment(alone: Project, place: dict[str, str]) -> None:
    check(alone.run("up", "--json", variables={**place, "PGPASSWORD": PASSWORD}))
    check(alone.run("status", "--origins", variables={**place, "PGPASSWORD": PASSWORD}))


def test_in_a_password_file(alone: Project, place: dict[str, str]) -> None:
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    alone.write(".pgpass", f"127.0.0.1:*:*:peggy:{escaped}\n").chmod(0o600)
    check(alone.run("status", variables=place))


def test_in_dotenv(alone: Project, tcp: TcpServer, dbname: str, place: dict[str, str]) -> None:
    """Single quotes keep everything but themselves, double quotes have escapes; a URL may be percent-encoded."""
    lines = "".join(f"{name}={value}\n" for name, value in place.items())
    escaped = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
    alone.write(".env", f'{lines}PGPASSWORD="{escaped}"\n')
    check(alone.run("status"))
    check(alone.run("status", "--origins"))
    alone.write(".env", f"export DATABASE_URL={tcp.url('peggy', ENCODED, dbname)}  # the one\n")
    check(alone.run("status"))
    check(alone.run("status", "--origins"))


def test_in_the_configuration_file(alone: Project, tcp: TcpServer, dbname: str) -> None:
    url = tcp.url("peggy", PASSWORD, dbname)
    escaped = url.replace("\\", "\\\\").replace('"', '\\"')
    alone.write("whimbrel.toml", f'database = "{escaped}"\n')
    check(alone.run("status"))
    check(alone.run("status", "--origins"))


def test_in_a_service_file(alone: Project, place: dict[str, str]) -> None:
    # libpq takes the value as it stands, up to 1024 bytes, but for white space at its end.
    password = PASSWORD.rstrip()
    assert len(password) < 1000
    lines = f"host={place['PGHOST']}\nport={place['PGPORT']}\nuser=peggy\ndbname={place['PGDATABASE']}\n"
    path = alone.write("services.conf", f"[here]\n{lines}password={password}\n")
    done = alone.run("status", "--database", "service=here", variables={"PGSERVICEFILE": str(path)})
    # The role's password ends with a space, so that this is one character short: and still it is not shown.
    assert done.code == 8
    assert password[1:40] not in done.out + done.err


def test_psql_gets_the_password_and_does_not_show_it(alone: Project, tcp: TcpServer, dbname: str) -> None:
    query = "SELECT session_user, current_database()"
    for url in (tcp.url("peggy", PASSWORD, dbname), tcp.url("peggy", ENCODED, dbname)):
        done = alone.run("psql", "--", "-XAtc", query, variables={"DATABASE_URL": url})
        check(done)
        assert done.out == f"peggy|{dbname}\n"


def test_the_history_does_not_hold_it(alone: Project, tcp: TcpServer, dbname: str) -> None:
    alone.migration(2, "SELECT nonsense;\n")
    url = {"DATABASE_URL": tcp.url("peggy", ENCODED, dbname)}
    assert alone.run("up", variables=url).code == 1
    check(alone.run("history", "--json", variables=url))
    with psycopg.connect(tcp.conninfo(dbname)) as connection:
        rows = connection.execute("SELECT t::text FROM schema_migrations_log AS t").fetchall()
    assert rows
    assert PASSWORD[1:40] not in str(rows)


def test_a_wrong_one_is_not_shown_either(alone: Project, tcp: TcpServer, dbname: str) -> None:
    for wrong in ("wr0ng/p@ss", "wr0ng:p@ss/?x=1", "wr0ng%pass", "12/wr0ngpass", "wr0ng pass"):
        done = alone.run("up", "--json", variables={"DATABASE_URL": tcp.url("peggy", wrong, dbname)})
        assert done.code == 8, done
        assert not re.search("wr0ng|p@ss", done.out + done.err)


def test_the_traceback_of_a_bug_does_not_hold_it(alone: Project, tcp: TcpServer, dbname: str) -> None:
    """An error that nobody thought of, which carries the address in its text."""
    program = (
        "import sys, whimbrel.cli, whimbrel.database as database\n"
        "def broken(address):\n"
        "    raise RuntimeError(f'{address} {sys.argv}')\n"
        "database.connect = broken\n"
        "whimbrel.cli.main()\n"
    )
    alone.write("broken.py", program)
    for password in (PASSWORD, ENCODED, "short"):
        url = tcp.url("peggy", password, dbname)
        before = (sys.executable, str(alone.root / "broken.py"))
        done = finish(alone.start("up", "--json", variables={"DATABASE_URL": url}, program=before))
        assert done.code == 1
        assert done.err.startswith("Traceback (most recent call last):\n")
        assert "RuntimeError: " in done.err
        assert done.err.endswith(
            "error: this is a bug in whimbrel\n"
            "Detail: What was not committed is rolled back by the server.\n"
            "Hint: Please report it with the lines above.\n"
        )
        for spelling in (password, quote(password, safe="")):
            assert spelling not in done.out + done.err


CHARACTERS = st.sampled_from([*map(chr, range(32, 127)), *"@:/?#%&= '\"\\\t\näß€🐦"])


@given(st.text(CHARACTERS, min_size=1, max_size=12))
def test_any_password_in_a_url_is_found_bare_or_encoded(password: str) -> None:
    expected = {"user": "me", "host": "db", "port": "5432", "dbname": "app", "sslmode": "disable", "password": password}
    for text in (quote(password, safe=""), password):
        if text == password:
            # What looks percent-encoded is taken for it.
            assume(not re.search("%[0-9a-fA-F]{2}", password))
        address = f"postgresql://me:{text}@db:5432/app?sslmode=disable"
        assert conninfo_to_dict(conninfo(address)) == expected
        assert conninfo_to_dict(without_password(address)) == {**expected, "password": "********"}


def test_every_secret_of_a_connection_string_is_hidden() -> None:
    secret_keys = ("password", "sslpassword")
    shown = without_password(make_conninfo("", host="db", **dict.fromkeys(secret_keys, "hunter2")))
    assert conninfo_to_dict(shown) == {"host": "db", **dict.fromkeys(secret_keys, "********")}


def test_an_at_sign_in_the_rest_of_a_url_is_not_taken_for_the_end_of_a_password() -> None:
    found = conninfo_to_dict(conninfo("postgresql://me:pass@db/app?application_name=me@home"))
    assert found == {
        "user": "me",
        "password": "pass",
        "host": "db",
        "dbname": "app",
        "application_name": "me@home",
    }

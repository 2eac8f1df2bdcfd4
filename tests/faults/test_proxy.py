"""The proxy strikes exactly where it says."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from tests.acceptance.programs import eventually
from tests.faults.bench import socket_folder
from tests.faults.messages import Message, Splitter
from tests.faults.proxy import Blow, Point, Proxy

QUERIES = 5


@pytest.fixture
def folder() -> Generator[Path]:
    """Give a folder whose path is short enough for a socket."""
    with socket_folder() as name:
        yield name


@pytest.fixture
def table(connection: psycopg.Connection[TupleRow]) -> psycopg.Connection[TupleRow]:
    """Give a connection to a database with an empty table t."""
    connection.execute("CREATE TABLE t (n int)")
    return connection


def insert(dsn: str) -> list[int]:
    """Insert one number a query, each a message of its own; return those whose answers came."""
    answered: list[int] = []
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(QUERIES):
            connection.execute(f"INSERT INTO t VALUES ({number})".encode())
            answered.append(number)
    return answered


def rows(connection: psycopg.Connection[TupleRow]) -> list[int]:
    return [int(row[0]) for row in connection.execute("SELECT n FROM t ORDER BY n")]


def test_everything_passes_where_nothing_strikes(folder: Path, dsn: str, table: psycopg.Connection[TupleRow]) -> None:
    """And every message is counted."""
    with Proxy(folder, dsn) as proxy:
        assert insert(proxy.dsn) == list(range(QUERIES))
        # The client says goodbye and does not wait for an answer.
        eventually(lambda: proxy.seen.frontend[-1].kind == "X")

    assert [message.kind for message in proxy.seen.frontend] == ["startup", *("Q" * QUERIES), "X"]
    assert [message.text for message in proxy.seen.frontend[1:3]] == [
        "INSERT INTO t VALUES (0)",
        "INSERT INTO t VALUES (1)",
    ]
    kinds = "".join(message.kind for message in proxy.seen.backend)
    assert kinds.endswith("Z" + "CZ" * QUERIES)
    assert proxy.seen.struck_at is None


@pytest.mark.parametrize("queries", range(QUERIES + 1))
def test_a_cut_behind_a_message_delivers_that_one_and_no_other(
    folder: Path, dsn: str, table: psycopg.Connection[TupleRow], queries: int
) -> None:
    """The server does what it was told, and its answer is lost."""
    with Proxy(folder, dsn, Point("frontend", 1 + queries)) as proxy:
        answered = insert(proxy.dsn)

    assert answered == list(range(max(0, queries - 1)))
    assert rows(table) == list(range(queries))
    assert proxy.seen.struck_at is not None
    assert proxy.seen.struck_at[0] == 1 + queries


def test_a_cut_before_the_first_message_delivers_nothing(
    folder: Path, dsn: str, table: psycopg.Connection[TupleRow]
) -> None:
    """There was a way, and then there was none."""
    with Proxy(folder, dsn, Point("frontend", 0)) as proxy:
        assert insert(proxy.dsn) == []

    assert proxy.seen.struck_at == (0, 0)
    assert proxy.seen.backend == []


@pytest.mark.parametrize("answers", range(QUERIES))
def test_a_cut_before_an_answer_lets_those_before_it_through(
    folder: Path, dsn: str, table: psycopg.Connection[TupleRow], answers: int
) -> None:
    """The client knows of what it was told, and of nothing else."""
    with Proxy(folder, dsn) as whole:
        insert(whole.dsn)
    table.execute("TRUNCATE t")
    begin = next(n for n, message in enumerate(whole.seen.backend, 1) if message.kind == "Z")
    (folder / ".s.PGSQL.5432").unlink()

    with Proxy(folder, dsn, Point("backend", begin + 2 * answers)) as proxy:
        answered = insert(proxy.dsn)

    assert answered == list(range(answers))
    assert rows(table) == list(range(answers + 1))
    assert proxy.seen.struck_at == (answers + 2, begin + 2 * answers)


def test_a_commit_whose_answer_is_lost_is_committed(
    folder: Path, dsn: str, table: psycopg.Connection[TupleRow]
) -> None:
    """The hardest place for who wants to know what happened."""
    with (
        Proxy(folder, dsn, Point("frontend", 4)) as proxy,
        contextlib.closing(psycopg.connect(proxy.dsn, autocommit=True)) as connection,
    ):
        connection.execute("BEGIN")
        connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("COMMIT")

    assert rows(table) == [1]


def test_what_is_done_to_the_server_is_done_once_and_between_two_messages(
    folder: Path, dsn: str, table: psycopg.Connection[TupleRow]
) -> None:
    """The connection is left alone, and its process is known."""
    struck: list[tuple[int | None, list[int]]] = []
    with Proxy(folder, dsn, Point("frontend", 3), Blow.SERVER, lambda pid: struck.append((pid, rows(table)))) as proxy:
        assert insert(proxy.dsn) == list(range(QUERIES))

    # The second query was passed on; whether it is done already is a race.
    [(pid, seen)] = struck
    assert pid == proxy.seen.pid
    assert seen in ([0], [0, 1])


def test_only_the_first_connection_is_struck(folder: Path, dsn: str, table: psycopg.Connection[TupleRow]) -> None:
    """One fault, and then the way is free."""
    with Proxy(folder, dsn, Point("frontend", 1)) as proxy:
        assert insert(proxy.dsn) == []
        assert insert(proxy.dsn) == list(range(QUERIES))


def test_a_request_for_encryption_is_a_message_and_its_answer_a_byte(folder: Path, dsn: str) -> None:
    """Also where it comes byte by byte."""
    user, dbname = conninfo_to_dict(dsn)["user"], conninfo_to_dict(dsn)["dbname"]
    body = struct.pack("!I", 196608) + f"user\0{user}\0database\0{dbname}\0\0".encode()
    with Proxy(folder, dsn) as proxy, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / ".s.PGSQL.5432"))
        for byte in struct.pack("!II", 8, 80877103):
            client.sendall(bytes([byte]))
        assert client.recv(10) == b"N"
        client.sendall(struct.pack("!I", len(body) + 4) + body)
        assert client.recv(1) == b"R"

    assert [message.kind for message in proxy.seen.frontend] == ["encryption", "startup"]
    assert [message.kind for message in proxy.seen.backend[:2]] == ["answer", "R"]


def whole(kind: str, body: bytes) -> Message:
    return Message(kind, kind.encode() + struct.pack("!I", len(body) + 4) + body)


messages = st.lists(st.builds(whole, st.sampled_from("PBDESQHdcX"), st.binary(max_size=300)))


@given(messages, st.lists(st.integers(min_value=1, max_value=40), min_size=1))
def test_messages_are_the_same_however_the_bytes_arrive(sent: list[Message], sizes: list[int]) -> None:
    """A message may come in pieces, and several in one."""
    startup = Message("startup", struct.pack("!II", 8, 196608))
    data = startup.data + b"".join(message.data for message in sent)
    splitter = Splitter(is_frontend=True)
    found: list[Message] = []
    position = 0
    while position < len(data):
        size = sizes[position % len(sizes)]
        found += splitter.feed(data[position : position + size])
        position += size

    assert found == [startup, *sent]

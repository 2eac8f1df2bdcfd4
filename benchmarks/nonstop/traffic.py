"""The application: clients that read and write messages at a steady rate, in a process of its own.

`python -m benchmarks.nonstop.traffic CONNINFO CLIENTS RATE FILE` writes "ready" once all are connected. On its standard
input it takes "deploy SECONDS", upon which one client after the other begins to use the new name of a renamed column
("deployed" when all do), and "stop". Then it writes its transactions to FILE, as `stalls.read` reads them.

A transaction is due at a time that does not depend on how long those before it took, and is late from then on: a client
that was held up starts what it missed at once.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from benchmarks.nonstop.stalls import Transaction, write

Connection = AsyncConnection[TupleRow]

# How often each kind of transaction comes, of 100.
_MIX = {"read": 45, "page": 25, "edit": 15, "send": 15}
_OLD_NAME, _NEW_NAME = "client", "client_name"
_SAMPLED = 20_000
_READ = "SELECT id, sender_id, kind, content, sequence_number, {client}, edited_at FROM messages.messages WHERE id = %s"
_PAGE = """
    SELECT id, sender_id, kind, content, sequence_number, {client}, edited_at
    FROM messages.messages
    WHERE conversation_id = %s
    ORDER BY created_at DESC, id DESC
    LIMIT 20
    """
_LOOK = "SELECT content, {client} FROM messages.messages WHERE id = %s FOR UPDATE"
_EDIT = """
    UPDATE messages.messages
    SET content = %s, content_length = char_length(%s), edited_at = now(), {client} = 'web'
    WHERE id = %s
    """
_SEND = """
    INSERT INTO messages.messages (id, conversation_id, sender_id, content, content_length, sequence_number, {client})
    VALUES (%s, %s, %s, %s, char_length(%s), %s, 'web')
    """
_RECEIVE = "INSERT INTO messages.message_receipts (message_id, user_id, delivered_at) VALUES (%s, %s, now())"
_KEYS = {
    "messages": "SELECT id FROM messages.messages ORDER BY hashtext(id::text) LIMIT %s",
    "conversations": "SELECT id FROM messages.conversations ORDER BY hashtext(id::text) LIMIT %s",
    "users": "SELECT id FROM auth.users ORDER BY hashtext(id::text) LIMIT %s",
}
# Beyond every number that the rows have which were there before.
_FIRST_NUMBER = 1_000_000
# So that all are waiting when the first is due, in seconds.
_LEAD = 0.2
# How long a client waits before it connects again, in seconds.
_RECONNECTION = 0.05


class Application:
    """All clients, what they know of the database, and what they did."""

    def __init__(self, conninfo: str, clients: int, rate: float) -> None:
        self._conninfo = conninfo
        self._rate = rate
        self._count = clients
        self._keys: dict[str, Sequence[UUID]] = {}
        self._last_number = _FIRST_NUMBER
        self._ends = float("inf")
        self._clients: list[Client] = []
        self.done: list[Transaction] = []

    async def run(self, commands: asyncio.StreamReader) -> None:
        """Work until "stop" comes, and until everything due by then has been done."""
        connections = [await self.connect() for _ in range(self._count)]
        for name, query in _KEYS.items():
            cursor = await connections[0].execute(query.encode(), [_SAMPLED])
            self._keys[name] = [row[0] for row in await cursor.fetchall()]
        self._clients = [Client(self, number, connection) for number, connection in enumerate(connections)]
        start = time.monotonic() + _LEAD
        print("ready", flush=True)
        # A collection of garbage would be a stall of its own.
        gc.collect()
        gc.freeze()
        gc.disable()
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(client.work(start, self._count / self._rate))
            while (words := (await commands.readline()).split()) and words[0] != b"stop":
                await self._deploy(float(words[1]))
            self._ends = time.monotonic()
        for client in self._clients:
            await client.close()

    async def connect(self) -> Connection:
        """Connect as the application does. Nothing is prepared, as behind a pooler: see docs/nonstop.md."""
        return await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, prepare_threshold=None, application_name="echo"
        )

    def is_due(self, moment: float) -> bool:
        return moment < self._ends

    def choose(self, name: str, source: random.Random) -> UUID:
        return source.choice(self._keys[name])

    def next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    async def _deploy(self, seconds: float) -> None:
        for client in self._clients:
            client.column = _NEW_NAME
            await asyncio.sleep(seconds / len(self._clients))
        print("deployed", flush=True)


class Client:
    """One connection with its own times; `column` is the name that it uses for the column that may be renamed."""

    def __init__(self, application: Application, number: int, connection: Connection) -> None:
        self._application = application
        self._number = number
        self._connection = connection
        self._random = random.Random(number)
        self.column = _OLD_NAME

    async def work(self, start: float, period: float) -> None:
        """Do one transaction every `period` seconds; those of all clients are spread evenly."""
        due = start + self._random.random() * period
        while self._application.is_due(due):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            kind = self._random.choices(list(_MIX), weights=list(_MIX.values()))[0]
            error = await self._try(kind)
            self._application.done.append(Transaction(due, time.monotonic(), kind, error))
            due += period

    async def close(self) -> None:
        await self._connection.close()

    async def _try(self, kind: str) -> str:
        """Do a transaction; return its SQLSTATE if it failed, or else nothing."""
        try:
            if self._connection.closed:
                self._connection = await self._application.connect()
            await self._do(kind)
        except psycopg.Error as error:
            if self._connection.closed:
                await asyncio.sleep(_RECONNECTION)
            return error.sqlstate or type(error).__name__
        return ""

    async def _do(self, kind: str) -> None:
        choose, source = self._application.choose, self._random
        match kind:
            case "read":
                await self._fetch(_READ, choose("messages", source))
            case "page":
                await self._fetch(_PAGE, choose("conversations", source))
            case "edit":
                text, message = f"edited by client {self._number}", choose("messages", source)
                async with self._connection.transaction():
                    await self._fetch(_LOOK, message)
                    await self._execute(_EDIT, text, text, message)
            case _:
                text, message, user = f"sent by client {self._number}", uuid4(), choose("users", source)
                conversation, number = choose("conversations", source), self._application.next_number()
                async with self._connection.transaction():
                    await self._execute(_SEND, message, conversation, user, text, text, number)
                    await self._execute(_RECEIVE, message, user)

    async def _fetch(self, query: str, key: UUID) -> None:
        cursor = await self._execute(query, key)
        await cursor.fetchall()

    async def _execute(self, query: str, *values: object) -> psycopg.AsyncCursor[TupleRow]:
        named = sql.SQL(query).format(client=sql.Identifier(self.column))  # pyright: ignore[reportArgumentType]
        return await self._connection.execute(named, values)


async def _main(conninfo: str, clients: int, rate: float, file: Path) -> None:
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    application = Application(conninfo, clients, rate)
    await application.run(commands)
    write(application.done, file)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])))

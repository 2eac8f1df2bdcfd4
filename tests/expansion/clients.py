"""Clients that write without pause while the table is changed, and remember all that they wrote."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

# A number to write, to the value that a column of the type takes for it.
Make = Callable[[int], object]


@dataclass
class Client:
    """A version of the application, which knows the column by one name.

    Every UPDATE counts the row's `revision` up under its lock: of two writes to a row it tells which was later,
    whoever did them. `written` is (id, revision) to the value; a failure of any statement ends it.
    """

    dsn: str
    column: str
    number: int
    make: Make = str
    written: dict[tuple[int, int], object] = field(default_factory=dict[tuple[int, int], object])
    failure: BaseException | None = None
    rounds: int = 0

    def run(self, is_over: threading.Event) -> None:
        chance = random.Random(self.number)  # noqa: S311  (which statement comes next is no secret)
        column = sql.Identifier(self.column)
        try:
            with psycopg.connect(self.dsn, autocommit=True, prepare_threshold=None) as connection:
                while not is_over.is_set():
                    self.number += 1
                    number = self.number
                    match chance.randrange(5):
                        case 0:
                            text, values = "INSERT INTO app.notes (id, {}) VALUES (%s, %s)", [number, self.make(number)]
                        case 1:
                            text = (
                                "INSERT INTO app.notes (id, {0}) VALUES (%s, %s) ON CONFLICT (id)"
                                " DO UPDATE SET {0} = EXCLUDED.{0}, revision = app.notes.revision + 1"
                            )
                            values = [chance.randrange(1, 500), self.make(number)]
                        case 2:
                            with connection.cursor() as cursor:
                                query = sql.SQL("COPY app.notes (id, {}) FROM STDIN").format(column)
                                with cursor.copy(query) as copy:
                                    copy.write_row((number, self.make(number)))
                            self.written[number, 0] = self.make(number)
                            continue
                        case _:
                            text = "UPDATE app.notes SET {} = %s, revision = revision + 1 WHERE id = %s"
                            values = [self.make(number), chance.randrange(1, 500)]
                    query = sql.SQL(text + " RETURNING id, revision").format(column)
                    row = connection.execute(query, values).fetchone()
                    assert row is not None
                    self.written[row[0], row[1]] = self.make(number)
                    self.rounds += 1
        except BaseException as error:  # noqa: BLE001  (told by whoever waits for the thread)
            self.failure = error


@contextmanager
def writing(*clients: Client) -> Generator[None]:
    """Let clients write during the block, and wait at its end until each has written at least a little."""
    is_over = threading.Event()
    threads = [threading.Thread(target=client.run, args=[is_over]) for client in clients]
    starts = [client.rounds for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
        for client, start, thread in zip(clients, starts, threads, strict=True):
            while client.rounds < start + 50 and thread.is_alive():
                thread.join(0.01)
    finally:
        is_over.set()
        for thread in threads:
            thread.join(60)
    for client in clients:
        if client.failure is not None:
            raise client.failure


def latest(*clients: Client) -> dict[int, object]:
    """Return the last value that was written to each row."""
    found: dict[int, object] = {}
    for number, revision in sorted(key for client in clients for key in client.written):
        (found[number],) = [
            client.written[number, revision] for client in clients if (number, revision) in client.written
        ]
    return found

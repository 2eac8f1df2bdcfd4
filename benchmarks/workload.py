"""What is applied: folders of small migrations, or one large file, for all contestants the same SQL."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.floor import END_OF_MIGRATION, migration_records, record

# Runs every file in one psql process, each in a transaction of its own.
PSQL_SCRIPT = "all.psql"
# The statements of all files, for the floor.
FLOOR_STATEMENTS = "statements.floor"
# Wide enough for the table, its index and its column to be told apart by their version.
_SMALL = (
    """\
CREATE TABLE item_{version:06d} (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)""",
    "CREATE INDEX item_{version:06d}_name_idx ON item_{version:06d} (name)",
    "ALTER TABLE item_{version:06d} ADD COLUMN note text",
)
_EVENT_TABLE = "CREATE TABLE event (id bigint, kind text, body text)"
_COPY = "COPY event (id, kind, body) FROM stdin;\n"
_FUNCTION = """\
CREATE FUNCTION work_{number:06d}(a integer, b text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text := 'it''s; ' || b;
BEGIN
    IF a > {number} THEN
        result := result || a;
    END IF;
    RETURN result;
END
$$"""
_WORDS = ("anchor", "breeze", "current", "dune", "estuary", "flock", "gale", "harbour", "island", "jetty", "kelp")
# Lines of COPY data that are written again and again.
_COPY_BLOCK = 10_000


@dataclass(frozen=True, slots=True)
class Workload:
    """A folder with `migrations/` in it. `check` is a query, and `expected` what it gives once all is applied.

    `size` is in bytes; `statements` counts those of all files.
    """

    folder: Path
    files: tuple[Path, ...]
    size: int
    statements: int
    check: str
    expected: int


def write_small(folder: Path, count: int) -> Workload:
    """Write `count` migrations of three statements each: a table, an index and an added column."""
    files: list[Path] = []
    records: list[bytes] = []
    for version in range(1, count + 1):
        statements = [text.format(version=version) for text in _SMALL]
        files.append(_write(folder, version, "add_item", "".join(f"{text};\n" for text in statements)))
        records.append(migration_records(text.encode() for text in statements))
    (folder / FLOOR_STATEMENTS).write_bytes(b"".join(records))
    script = "".join(f"BEGIN;\n\\i {file.relative_to(folder)}\nCOMMIT;\n" for file in files)
    (folder / PSQL_SCRIPT).write_text(script)
    check = """
        SELECT count(*) FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_class AS t ON t.oid = a.attrelid
        JOIN pg_catalog.pg_class AS i ON i.relname = t.relname || '_name_idx'
        WHERE t.relname LIKE 'item\\_%' AND t.relkind = 'r' AND a.attname = 'note'
        """
    return Workload(folder, tuple(files), _size(files), 3 * count, check, count)


def write_large(folder: Path, size: int) -> Workload:
    """Write one migration of at least `size` bytes: a table, then one-line INSERTs of some 150 bytes, always the same.

    Every tenth text holds what makes a lexer work: a doubled quote, a semicolon, two hyphens, letters beyond ASCII.
    """
    file = _write(folder, 1, "add_events", f"{_EVENT_TABLE};\n")
    rows = 0
    written = file.stat().st_size
    with file.open("ab") as stream, (folder / FLOOR_STATEMENTS).open("wb") as records:
        records.write(record(_EVENT_TABLE.encode()))
        for statement in map(str.encode, _inserts()):
            if written >= size:
                break
            stream.write(statement + b";\n")
            records.write(record(statement))
            written += len(statement) + 2
            rows += 1
        records.write(END_OF_MIGRATION)
    return Workload(folder, (file,), file.stat().st_size, rows + 1, "SELECT count(*) FROM event", rows)


def write_copy(folder: Path, size: int) -> Workload:
    """Write one migration of at least `size` bytes: a table, then COPY with its data in the file."""
    file = _write(folder, 1, "copy_events", f"{_EVENT_TABLE};\n{_COPY}")
    source = random.Random(7)
    lines = "".join(f"{number}\t{source.choice(_WORDS)}\t{_body(source)}\n" for number in range(_COPY_BLOCK)).encode()
    blocks = -(-size // len(lines))
    with file.open("ab") as stream:
        for _ in range(blocks):
            stream.write(lines)
        stream.write(b"\\.\n")
    rows = blocks * _COPY_BLOCK
    return Workload(folder, (file,), file.stat().st_size, 2, "SELECT count(*) FROM event", rows)


def write_functions(folder: Path, count: int) -> Workload:
    """Write one migration of `count` PL/pgSQL functions of some 250 bytes."""
    statements = [_FUNCTION.format(number=number) for number in range(1, count + 1)]
    file = _write(folder, 1, "add_functions", "".join(f"{text};\n" for text in statements))
    (folder / FLOOR_STATEMENTS).write_bytes(migration_records(text.encode() for text in statements))
    check = "SELECT count(*) FROM pg_catalog.pg_proc WHERE proname LIKE 'work\\_%'"
    return Workload(folder, (file,), file.stat().st_size, count, check, count)


def _inserts() -> Iterator[str]:
    source = random.Random(7)
    number = 0
    while True:
        number += 1
        body = _body(source)
        if number % 10 == 0:
            body = f"it''s ø; -- {body}"
        yield f"INSERT INTO event (id, kind, body) VALUES ({number}, '{source.choice(_WORDS)}', '{body}')"


def _body(source: random.Random) -> str:
    return " ".join(source.choices(_WORDS, k=12))


def _size(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _write(folder: Path, version: int, name: str, text: str) -> Path:
    file = folder / "migrations" / f"{version:06d}_{name}.up.sql"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")
    return file

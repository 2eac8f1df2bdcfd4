"""What is applied: folders of small migrations, or one large file, for whimbrel and for psql."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Runs every file in one psql process, each in a transaction of its own.
PSQL_SCRIPT = "all.psql"
# Wide enough for the table, its index and its column to be told apart by their version.
_SMALL = """\
CREATE TABLE item_{version:06d} (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX item_{version:06d}_name_idx ON item_{version:06d} (name);
ALTER TABLE item_{version:06d} ADD COLUMN note text;
"""
_EVENT_TABLE = "CREATE TABLE event (id bigint, kind text, body text);\n"
_WORDS = ("anchor", "breeze", "current", "dune", "estuary", "flock", "gale", "harbour", "island", "jetty", "kelp")


@dataclass(frozen=True, slots=True)
class Workload:
    """A folder with `migrations/` in it. `check` is a query, and `expected` what it gives once all is applied."""

    folder: Path
    files: tuple[Path, ...]
    size: int
    statements: int
    check: str
    expected: int


def write_small(folder: Path, count: int) -> Workload:
    """Write `count` migrations of three statements each: a table, an index and an added column."""
    files = tuple(
        _write(folder, version, "add_item", _SMALL.format(version=version)) for version in range(1, count + 1)
    )
    script = "".join(f"BEGIN;\n\\i {file.relative_to(folder)}\nCOMMIT;\n" for file in files)
    (folder / PSQL_SCRIPT).write_text(script)
    check = """
        SELECT count(*) FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_class AS t ON t.oid = a.attrelid
        JOIN pg_catalog.pg_class AS i ON i.relname = t.relname || '_name_idx'
        WHERE t.relname LIKE 'item\\_%' AND t.relkind = 'r' AND a.attname = 'note'
        """
    return Workload(folder, files, sum(file.stat().st_size for file in files), 3 * count, check, count)


def write_large(folder: Path, size: int) -> Workload:
    """Write one migration of at least `size` bytes: a table, then one-line INSERTs of some 150 bytes, always the same.

    Every tenth text holds what makes a lexer work: a doubled quote, a semicolon, two hyphens, letters beyond ASCII.
    """
    file = _write(folder, 1, "add_events", _EVENT_TABLE)
    rows = 0
    written = len(_EVENT_TABLE)
    with file.open("a", encoding="utf-8", newline="\n") as stream:
        for line in _inserts():
            if written >= size:
                break
            stream.write(line)
            written += len(line.encode())
            rows += 1
    return Workload(folder, (file,), file.stat().st_size, rows + 1, "SELECT count(*) FROM event", rows)


def _inserts() -> Iterator[str]:
    source = random.Random(7)
    number = 0
    while True:
        number += 1
        body = " ".join(source.choices(_WORDS, k=12))
        if number % 10 == 0:
            body = f"it''s ø; -- {body}"
        yield f"INSERT INTO event (id, kind, body) VALUES ({number}, '{source.choice(_WORDS)}', '{body}');\n"


def _write(folder: Path, version: int, name: str, text: str) -> Path:
    file = folder / "migrations" / f"{version:06d}_{name}.up.sql"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")
    return file

"""Which locks the scripts of a run are going to take on tables that are there already, as far as their text says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from whimbrel.database import Connection
from whimbrel.execution.reach import find_existing
from whimbrel.execution.retry import Nature
from whimbrel.execution.task import Task
from whimbrel.statements import Statement
from whimbrel.statements.locks import TableLock, find_locks
from whimbrel.statements.script import KEPT_SIZE

# What takes no stronger lock on a table than the one for writing rows, with a CREATE that nobody else can see yet.
_ROWS = re.compile(rb"(?:insert|update|delete|merge|with|copy|values|create\s+table|begin|commit|end)\b", re.IGNORECASE)
# SET SCHEMA 'app' is another way to set the search_path.
_PATH = re.compile(rb"search_path|^set\s+(?:local\s+|session\s+)?schema\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Claims:
    """What one script asks of tables: `locks` are those on relations that were there before the run.

    `statement` is the first that takes one of them.
    """

    nature: Nature
    locks: tuple[TableLock, ...] = ()
    statement: Statement | None = None


def find_claims(connection: Connection, tasks: Sequence[Task]) -> list[Claims]:
    """Return what each task claims. A database without tables costs one look, and nothing is parsed."""
    if not _has_tables(connection, tasks):
        return [Claims(Nature.TABLES)] * len(tasks)
    found = [_read(task) for task in tasks]
    locks = [lock for _, pairs in found for _, lock in pairs]
    existing = find_existing(connection, locks) if locks else frozenset[TableLock]()
    return [_claims(nature, [(by, lock) for by, lock in pairs if lock in existing]) for nature, pairs in found]


def claim(connection: Connection, statement: Statement) -> Claims:
    """Return what one statement claims of the tables that are there now."""
    locks = find_locks(statement.sql)
    existing = find_existing(connection, locks) if locks else frozenset[TableLock]()
    nature = Nature.ROWS if not locks and _ROWS.match(statement.sql) else Nature.TABLES
    return _claims(nature, [(statement, lock) for lock in locks if lock in existing])


def _read(task: Task) -> tuple[Nature, list[tuple[Statement, TableLock]]]:
    # Splitting a large file once more would take longer than what is won by it.
    if task.step.script.size > KEPT_SIZE:
        return Nature.UNKNOWN, []
    statements = list(task.statements())
    pairs = [(statement, lock) for statement in statements for lock in find_locks(statement.sql)]
    is_rows = not pairs and bool(statements) and all(_ROWS.match(statement.sql) for statement in statements)
    if any(_moves(statement) for statement in statements):
        # Where a bare name leads is known only when it is run.
        pairs = [(statement, lock) for statement, lock in pairs if '"."' in lock.relation]
    return Nature.ROWS if is_rows else Nature.TABLES, pairs


def _moves(statement: Statement) -> bool:
    return _PATH.search(statement.sql) is not None


def _claims(nature: Nature, pairs: Sequence[tuple[Statement, TableLock]]) -> Claims:
    locks = tuple(dict.fromkeys(lock for _, lock in pairs))
    return Claims(nature, locks, pairs[0][0] if pairs else None)


def _has_tables(connection: Connection, tasks: Sequence[Task]) -> bool:
    if not tasks:
        return False
    name = tasks[0].config.history_name
    row = connection.execute(
        """
        SELECT EXISTS (
            SELECT FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'm') AND oid >= 16384
            AND relname <> ALL (%s))
        """,
        # 16384 is FirstNormalObjectId: what initdb made is below.
        [[name, *(f"{name}_{suffix}" for suffix in ("log", "journal", "backfill"))]],
    ).fetchone()
    return row is not None and bool(row[0])

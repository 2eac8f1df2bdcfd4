"""What a statement that cannot run in a transaction works on, so that its outcome can be looked up afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from whimbrel.statements import parser

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import Node, RangeVar


class Operation(Enum):
    """What kind of work was interrupted."""

    CREATE_INDEX = "create index"
    DROP_INDEX = "drop index"
    # Running it once more does no harm and ends in the same state.
    REPEATABLE = "repeatable"


@dataclass(frozen=True, slots=True)
class Concurrent:
    """`table` is the quoted name of what to look at: the index's table, or the dropped index itself.

    `index` is the name of an index to be created, without a schema; empty where the statement gives it none.
    """

    operation: Operation
    table: str = ""
    index: str = ""


def find_concurrent(sql: bytes) -> Concurrent | None:
    """Return what a statement works on, or None where its outcome cannot be looked up."""
    try:
        tree = parser.parse(sql)
    except parser.ParserError:
        return None
    return _find(tree) if tree is not None else None


def _find(tree: Node) -> Concurrent | None:
    match tree.WhichOneof("node"):
        case "index_stmt" if tree.index_stmt.idxname:
            return Concurrent(Operation.CREATE_INDEX, _quoted(tree.index_stmt.relation), tree.index_stmt.idxname)
        case "drop_stmt" if tree.drop_stmt.concurrent:
            names = [part.string.sval for part in tree.drop_stmt.objects[0].list.items]
            return Concurrent(Operation.DROP_INDEX, ".".join(_quote(name) for name in names))
        case "vacuum_stmt" | "alter_system_stmt" | "cluster_stmt":
            return Concurrent(Operation.REPEATABLE)
        case _:
            return None


def _quoted(relation: RangeVar) -> str:
    names = (relation.schemaname, relation.relname) if relation.schemaname else (relation.relname,)
    return ".".join(_quote(name) for name in names)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

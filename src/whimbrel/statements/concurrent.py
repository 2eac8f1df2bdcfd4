"""What a statement that cannot run in a transaction works on, so that its outcome can be looked up afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from whimbrel.statements import parser

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import Node, RangeVar


class Operation(Enum):
    """What kind of work a statement does."""

    CREATE_INDEX = "create index"
    DROP_INDEX = "drop index"
    REINDEX_INDEX = "reindex index"
    REINDEX_TABLE = "reindex table"
    REINDEX_SCHEMA = "reindex schema"
    DETACH_PARTITION = "detach partition"
    CREATE_DATABASE = "create database"
    DROP_DATABASE = "drop database"
    # Running it once more does no harm and ends in the same state.
    REPEATABLE = "repeatable"


@dataclass(frozen=True, slots=True)
class Concurrent:
    """What a statement works on; names are quoted as SQL wants them, but for `index` and `partition`.

    `target` is the index's table for CREATE INDEX, the index for DROP INDEX, the partitioned table for DETACH, else
    what is named. `index` is the bare name of an index to be created, empty where the statement gives none.
    """

    operation: Operation
    target: str = ""
    index: str = ""
    partition: str = ""


def find_concurrent(sql: bytes) -> Concurrent | None:
    """Return what a statement works on, or None where its outcome cannot be looked up."""
    try:
        tree = parser.parse(sql)
    except parser.ParserError:
        return None
    return _find(tree) if tree is not None else None


def _find(tree: Node) -> Concurrent | None:
    match tree.WhichOneof("node"):
        case "index_stmt":
            statement = tree.index_stmt
            return Concurrent(Operation.CREATE_INDEX, _quoted(statement.relation), index=statement.idxname)
        case "drop_stmt" if tree.drop_stmt.concurrent:
            names = [part.string.sval for part in tree.drop_stmt.objects[0].list.items]
            return Concurrent(Operation.DROP_INDEX, ".".join(_quote(name) for name in names))
        case "reindex_stmt":
            return _find_reindex(tree)
        case "alter_table_stmt":
            return _find_detach(tree)
        case "createdb_stmt":
            return Concurrent(Operation.CREATE_DATABASE, tree.createdb_stmt.dbname)
        case "dropdb_stmt":
            return Concurrent(Operation.DROP_DATABASE, tree.dropdb_stmt.dbname)
        case "vacuum_stmt" | "alter_system_stmt" | "cluster_stmt":
            return Concurrent(Operation.REPEATABLE)
        case _:
            return None


def _find_reindex(tree: Node) -> Concurrent:
    from postgast import pg_query_pb2 as pb

    statement = tree.reindex_stmt
    match statement.kind:
        case pb.REINDEX_OBJECT_INDEX:
            return Concurrent(Operation.REINDEX_INDEX, _quoted(statement.relation))
        case pb.REINDEX_OBJECT_TABLE:
            return Concurrent(Operation.REINDEX_TABLE, _quoted(statement.relation))
        case pb.REINDEX_OBJECT_SCHEMA:
            return Concurrent(Operation.REINDEX_SCHEMA, statement.name)
        case _:
            return Concurrent(Operation.REPEATABLE)


def _find_detach(tree: Node) -> Concurrent | None:
    from postgast import pg_query_pb2 as pb

    for command in tree.alter_table_stmt.cmds:
        if command.alter_table_cmd.subtype == pb.AT_DetachPartition:
            partition = getattr(command.alter_table_cmd, "def").partition_cmd.name
            return Concurrent(
                Operation.DETACH_PARTITION, _quoted(tree.alter_table_stmt.relation), partition=_quoted(partition)
            )
    return None


def _quoted(relation: RangeVar) -> str:
    names = (relation.schemaname, relation.relname) if relation.schemaname else (relation.relname,)
    return ".".join(_quote(name) for name in names)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

"""What a statement would destroy, read from its tree: tables, schemas, columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whimbrel.statements import parser

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import Node


@dataclass(frozen=True, slots=True)
class Drop:
    """One thing that a statement names to be dropped or emptied.

    `schema` is empty where the statement gives none; `table` is empty for a schema; `column` only for a column.
    """

    schema: str
    table: str = ""
    column: str = ""


def find_drops(sql: bytes) -> list[Drop]:
    """Return what a statement drops or truncates by name; nothing for what the grammar refuses, or for functions."""
    lowered = sql.lower()
    if b"drop" not in lowered and b"truncate" not in lowered:
        return []
    try:
        tree = parser.parse(sql)
    except parser.ParserError:
        return []
    return _find(tree) if tree is not None else []


def _find(tree: Node) -> list[Drop]:
    from postgast import pg_query_pb2 as pb

    match tree.WhichOneof("node"):
        case "drop_stmt" if tree.drop_stmt.remove_type in (pb.OBJECT_TABLE, pb.OBJECT_MATVIEW):
            return [_table([part.string.sval for part in each.list.items]) for each in tree.drop_stmt.objects]
        case "drop_stmt" if tree.drop_stmt.remove_type == pb.OBJECT_SCHEMA:
            return [Drop(each.string.sval) for each in tree.drop_stmt.objects]
        case "truncate_stmt":
            return [Drop(each.range_var.schemaname, each.range_var.relname) for each in tree.truncate_stmt.relations]
        case "alter_table_stmt":
            relation = tree.alter_table_stmt.relation
            return [
                Drop(relation.schemaname, relation.relname, command.alter_table_cmd.name)
                for command in tree.alter_table_stmt.cmds
                if command.alter_table_cmd.subtype == pb.AT_DropColumn
            ]
        case _:
            return []


def _table(names: list[str]) -> Drop:
    return Drop(names[-2] if len(names) > 1 else "", names[-1])

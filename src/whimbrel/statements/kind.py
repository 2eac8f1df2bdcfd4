"""What a statement is to the executor: inside a transaction, outside one, a COPY, or transaction control."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from whimbrel.statements import parser

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import Node


class Kind(Enum):
    """How a statement has to be run."""

    ORDINARY = "ordinary"
    # PostgreSQL refuses it inside a transaction block (PreventInTransactionBlock in the server's source, 18).
    AUTOCOMMIT = "autocommit"
    COPY_IN = "copy from stdin"
    COPY_OUT = "copy to stdout"
    BEGIN = "begin"
    COMMIT = "commit"
    # SAVEPOINT, ROLLBACK, PREPARE TRANSACTION …
    CONTROL = "transaction control"


# A tree costs ten times what a split costs, so one is built only for what begins like a statement that matters.
_FIRST_LETTERS = b"aAbBcCdDeEpPrRsSvV"
_SUSPECT = re.compile(
    rb"(?:abort|begin|cluster|commit|copy|end|prepare|reindex|release|rollback|savepoint|start|vacuum)\b"
    # A comment would hide the second word.
    rb"|(?:alter|create|drop)(?:\s+(?:database|subscription|system|tablespace)\b|\s*(?:--|/\*))",
    re.IGNORECASE,
)
_ORDINARY = Kind.ORDINARY
_DEFINITION = re.compile(rb"(?:alter|create|drop)\b", re.IGNORECASE)


def is_suspect(text: bytes, start: int) -> bool:
    """Whether what begins there has to be classified, by its first letter alone."""
    return text[start] in _FIRST_LETTERS


def classify(sql: bytes) -> Kind:
    """Return how a statement has to be run. `sql` begins with its first token.

    What the grammar refuses is ORDINARY: the server is the judge.
    """
    if not sql or sql[0] not in _FIRST_LETTERS or not (_SUSPECT.match(sql) or _may_be_concurrent(sql)):
        return _ORDINARY
    try:
        tree = parser.parse(sql)
    except parser.ParserError:
        return Kind.ORDINARY
    return Kind.ORDINARY if tree is None else _classify_tree(tree)


def _may_be_concurrent(sql: bytes) -> bool:
    return _DEFINITION.match(sql) is not None and b"concurrently" in sql.lower()


def _classify_tree(tree: Node) -> Kind:
    match tree.WhichOneof("node"):
        case "transaction_stmt":
            return _classify_control(tree)
        case "copy_stmt":
            if tree.copy_stmt.filename:
                return Kind.ORDINARY
            return Kind.COPY_IN if tree.copy_stmt.is_from else Kind.COPY_OUT
        case (
            "createdb_stmt"
            | "dropdb_stmt"
            | "create_table_space_stmt"
            | "drop_table_space_stmt"
            | "alter_system_stmt"
            | "create_subscription_stmt"
            | "drop_subscription_stmt"
        ):
            return Kind.AUTOCOMMIT
        case _:
            return Kind.AUTOCOMMIT if _is_barred_by_options(tree) else Kind.ORDINARY


def _classify_control(tree: Node) -> Kind:
    from postgast import pg_query_pb2 as pb

    statement = tree.transaction_stmt
    if statement.kind in (pb.TRANS_STMT_BEGIN, pb.TRANS_STMT_START) and not statement.options:
        return Kind.BEGIN
    if statement.kind == pb.TRANS_STMT_COMMIT and not statement.chain:
        return Kind.COMMIT
    return Kind.CONTROL


def _is_barred_by_options(tree: Node) -> bool:
    from postgast import pg_query_pb2 as pb

    match tree.WhichOneof("node"):
        case "index_stmt":
            return tree.index_stmt.concurrent
        case "drop_stmt":
            return tree.drop_stmt.concurrent
        case "vacuum_stmt":
            return tree.vacuum_stmt.is_vacuumcmd
        case "cluster_stmt":
            return not tree.cluster_stmt.HasField("relation")
        case "reindex_stmt":
            return tree.reindex_stmt.kind in (
                pb.REINDEX_OBJECT_SCHEMA,
                pb.REINDEX_OBJECT_SYSTEM,
                pb.REINDEX_OBJECT_DATABASE,
            ) or any(option.def_elem.defname == "concurrently" for option in tree.reindex_stmt.params)
        case "alter_table_stmt":
            return any(
                command.alter_table_cmd.subtype == pb.AT_DetachPartition
                and getattr(command.alter_table_cmd, "def").partition_cmd.concurrent
                for command in tree.alter_table_stmt.cmds
            )
        case "alter_database_stmt":
            return any(option.def_elem.defname == "tablespace" for option in tree.alter_database_stmt.options)
        case "alter_subscription_stmt":
            return tree.alter_subscription_stmt.kind != pb.ALTER_SUBSCRIPTION_ENABLED
        case _:
            return False


def recorded_version(sql: bytes, table: str) -> int | None:
    """Return the version that a statement records in, or removes from, the history table, or None.

    That is `INSERT INTO table (version, …) VALUES (3, …)` and `DELETE FROM table WHERE version = 3`, with or without
    the schema; `table` is the history table's name without its schema.
    """
    if table.encode() not in sql.lower():
        return None
    try:
        tree = parser.parse(sql)
    except parser.ParserError:
        return None
    if tree is None:
        return None
    match tree.WhichOneof("node"):
        case "insert_stmt" if tree.insert_stmt.relation.relname == table:
            return _inserted_version(tree)
        case "delete_stmt" if tree.delete_stmt.relation.relname == table:
            return _deleted_version(tree)
        case _:
            return None


def _inserted_version(tree: Node) -> int | None:
    insert = tree.insert_stmt
    names = [column.res_target.name for column in insert.cols] or ["version"]
    rows = insert.select_stmt.select_stmt.values_lists
    if "version" not in names or len(rows) != 1:
        return None
    values = rows[0].list.items
    index = names.index("version")
    return _integer(values[index]) if index < len(values) else None


def _deleted_version(tree: Node) -> int | None:
    condition = tree.delete_stmt.where_clause.a_expr
    fields = condition.lexpr.column_ref.fields
    if [name.string.sval for name in condition.name] != ["="] or not fields or fields[-1].string.sval != "version":
        return None
    return _integer(condition.rexpr)


def _integer(node: Node) -> int | None:
    constant = node.a_const
    match constant.WhichOneof("val"):
        case "ival":
            return constant.ival.ival
        case "fval" if constant.fval.fval.isdigit():
            # Integers beyond 32 bits, as timestamps are, come as text.
            return int(constant.fval.fval)
        case "sval" if constant.sval.sval.isdigit():
            return int(constant.sval.sval)
        case _:
            return None

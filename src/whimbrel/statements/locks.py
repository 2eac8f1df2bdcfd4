"""Which table locks a statement takes, as far as its text tells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from whimbrel.statements import parser
from whimbrel.statements.alterations import find_alterations, find_references
from whimbrel.statements.removals import find_drop, find_truncate
from whimbrel.statements.tablelock import (
    ACCESS_EXCLUSIVE,
    EXCLUSIVE,
    MODES,
    SHARE,
    SHARE_ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    Reach,
    TableLock,
    named,
    quoted,
    strength,
)

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import (
        CommentStmt,
        CreateStmt,
        DefElem,
        Node,
        ReindexStmt,
        RenameStmt,
        SecLabelStmt,
        VacuumStmt,
    )

__all__ = ["Reach", "TableLock", "find_locks"]

# A tree costs ten times what a split costs, so one is built only for what begins like a statement that locks. A comment
# would hide the next word.
_SUSPECT = re.compile(
    rb"""
    (?:analy[sz]e|cluster|lock|refresh|reindex|security|truncate|vacuum)\b
    | (?:alter|comment|create|drop)\s*(?:--|/\*)
    | alter\s+(?:domain|foreign|index|materialized|policy|publication|rule|sequence|table|trigger|view)\b
    | comment\s+on\s+(?:column|foreign|index|materialized|sequence|table|view|--|/\*)
    | create\s+(?:constraint|index|policy|publication|rule|statistics|trigger|unique)\b
    | create\s+or\s+(?:--|/\*|replace\s+(?!aggregate|function|language|proced|transform|trusted))
    | drop\s+(?:foreign|index|materialized|policy|rule|schema|sequence|table|trigger|view)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_CREATION = re.compile(rb"create\s+(?:foreign|global|local|schema|table|temp|temporary|unlogged)\b", re.IGNORECASE)
_CONNECTION = re.compile(rb"\b(?:inherits|references|partition\s*(?:\sof\b|--|/\*))", re.IGNORECASE)


def find_locks(sql: bytes) -> tuple[TableLock, ...]:
    """Return the locks from SHARE UPDATE EXCLUSIVE upwards that a statement takes on what it names, each once.

    `sql` begins with its first token. Nothing is returned for what the grammar refuses, for functions, DO blocks and
    what triggers do, nor of DROP … CASCADE for other objects than relations and schemas. Where PostgreSQL 13 to 18
    differ it is the strongest lock of them.
    """
    if not _SUSPECT.match(sql) and not (_CREATION.match(sql) and _CONNECTION.search(sql)):
        return ()
    try:
        tree = parser.parse(sql)
    except parser.ParserError:
        return ()
    return _without_covered(_find(tree)) if tree is not None else ()


def _without_covered(locks: Iterable[TableLock]) -> tuple[TableLock, ...]:
    found = list(dict.fromkeys(locks))
    return tuple(one for one in found if not any(_covers(other, one) for other in found if other != one))


def _covers(one: TableLock, other: TableLock) -> bool:
    return (
        (one.relation, one.reach) == (other.relation, other.reach)
        and one.part in ("", other.part)
        and one.with_children >= other.with_children
        and strength(one.mode) >= strength(other.mode)
    )


def _find(tree: Node) -> Iterator[TableLock]:
    match tree.WhichOneof("node"):
        case "alter_table_stmt":
            yield from find_alterations(tree.alter_table_stmt)
        case "create_stmt":
            yield from _find_creation(tree.create_stmt)
        case "create_foreign_table_stmt":
            yield from _find_creation(tree.create_foreign_table_stmt.base_stmt)
        case "create_schema_stmt":
            for element in tree.create_schema_stmt.schema_elts:
                yield from _find(element)
        case "drop_stmt":
            yield from find_drop(tree.drop_stmt)
        case "rename_stmt":
            yield from _find_rename(tree.rename_stmt)
        case "comment_stmt":
            yield from _find_remark(tree.comment_stmt)
        case "sec_label_stmt":
            yield from _find_remark(tree.sec_label_stmt)
        case "reindex_stmt":
            yield from _find_reindex(tree.reindex_stmt)
        case "vacuum_stmt":
            yield from _find_vacuum(tree.vacuum_stmt)
        case _:
            yield from _find_simple(tree)


def _find_simple(tree: Node) -> Iterator[TableLock]:
    match tree.WhichOneof("node"):
        case "index_stmt":
            index = tree.index_stmt
            mode = SHARE_UPDATE_EXCLUSIVE if index.concurrent else SHARE
            yield TableLock(named(index.relation), mode, with_children=index.relation.inh)
        case "truncate_stmt":
            yield from find_truncate(tree.truncate_stmt)
        case "lock_stmt":
            # MODES has no NoLock, which is 0.
            mode = MODES[tree.lock_stmt.mode - 1]
            if strength(mode) >= strength(SHARE_UPDATE_EXCLUSIVE):
                for each in tree.lock_stmt.relations:
                    yield TableLock(named(each.range_var), mode, with_children=each.range_var.inh)
        case "create_trig_stmt":
            # Partitions get a copy of a trigger for each row.
            trigger = tree.create_trig_stmt
            yield TableLock(named(trigger.relation), SHARE_ROW_EXCLUSIVE, with_children=trigger.row)
        case "rule_stmt":
            yield TableLock(named(tree.rule_stmt.relation), ACCESS_EXCLUSIVE)
        case "create_policy_stmt":
            yield TableLock(named(tree.create_policy_stmt.table), ACCESS_EXCLUSIVE)
        case "alter_policy_stmt":
            yield TableLock(named(tree.alter_policy_stmt.table), ACCESS_EXCLUSIVE)
        case "view_stmt" if tree.view_stmt.replace:
            yield TableLock(named(tree.view_stmt.view), ACCESS_EXCLUSIVE)
        case "refresh_mat_view_stmt":
            view = tree.refresh_mat_view_stmt
            yield TableLock(named(view.relation), EXCLUSIVE if view.concurrent else ACCESS_EXCLUSIVE)
        case "cluster_stmt" if tree.cluster_stmt.HasField("relation"):
            yield TableLock(named(tree.cluster_stmt.relation), ACCESS_EXCLUSIVE)
        case "create_stats_stmt":
            for each in tree.create_stats_stmt.relations:
                yield TableLock(named(each.range_var), SHARE_UPDATE_EXCLUSIVE)
        case "alter_seq_stmt":
            yield TableLock(named(tree.alter_seq_stmt.sequence), SHARE_ROW_EXCLUSIVE)
        case "alter_object_schema_stmt" if tree.alter_object_schema_stmt.HasField("relation"):
            yield TableLock(named(tree.alter_object_schema_stmt.relation), ACCESS_EXCLUSIVE)
        case "alter_domain_stmt":
            yield from _find_domain(tree)
        case "create_publication_stmt":
            yield from _find_published(tree.create_publication_stmt.pubobjects)
        case "alter_publication_stmt":
            yield from _find_published(tree.alter_publication_stmt.pubobjects)
        case _:
            pass


def _find_creation(statement: CreateStmt) -> Iterator[TableLock]:
    for parent in statement.inh_relations:
        name = named(parent.range_var)
        if not statement.HasField("partbound"):
            yield TableLock(name, SHARE_UPDATE_EXCLUSIVE)
            continue
        yield TableLock(name, ACCESS_EXCLUSIVE)
        yield TableLock(name, ACCESS_EXCLUSIVE, Reach.DEFAULT, with_children=True)
        yield TableLock(name, SHARE_ROW_EXCLUSIVE, Reach.REFERENCED)
        yield TableLock(name, SHARE_ROW_EXCLUSIVE, Reach.REFERENCING)
    yield from find_references([*statement.table_elts, *statement.constraints])


def _find_rename(statement: RenameStmt) -> Iterator[TableLock]:
    from postgast import pg_query_pb2 as pb

    match statement.rename_type:
        case pb.OBJECT_INDEX:
            yield TableLock(named(statement.relation), SHARE_UPDATE_EXCLUSIVE)
        case pb.OBJECT_COLUMN | pb.OBJECT_TABCONSTRAINT | pb.OBJECT_TRIGGER:
            yield TableLock(named(statement.relation), ACCESS_EXCLUSIVE, with_children=statement.relation.inh)
        case (
            pb.OBJECT_TABLE
            | pb.OBJECT_FOREIGN_TABLE
            | pb.OBJECT_VIEW
            | pb.OBJECT_MATVIEW
            | pb.OBJECT_SEQUENCE
            | pb.OBJECT_POLICY
            | pb.OBJECT_RULE
        ):
            yield TableLock(named(statement.relation), ACCESS_EXCLUSIVE)
        case _:
            pass


def _find_remark(statement: CommentStmt | SecLabelStmt) -> Iterator[TableLock]:
    from postgast import pg_query_pb2 as pb

    names = [part.string.sval for part in statement.object.list.items]
    match statement.objtype:
        case pb.OBJECT_COLUMN:
            yield TableLock(quoted(names[:-1]), SHARE_UPDATE_EXCLUSIVE)
        case (
            pb.OBJECT_TABLE
            | pb.OBJECT_FOREIGN_TABLE
            | pb.OBJECT_VIEW
            | pb.OBJECT_MATVIEW
            | pb.OBJECT_SEQUENCE
            | pb.OBJECT_INDEX
        ):
            yield TableLock(quoted(names), SHARE_UPDATE_EXCLUSIVE)
        case _:
            pass


def _find_reindex(statement: ReindexStmt) -> Iterator[TableLock]:
    from postgast import pg_query_pb2 as pb

    is_concurrent = any(option.def_elem.defname == "concurrently" for option in statement.params)
    mode = SHARE_UPDATE_EXCLUSIVE if is_concurrent else SHARE
    name = named(statement.relation)
    match statement.kind:
        case pb.REINDEX_OBJECT_INDEX:
            yield TableLock(name, mode, Reach.INDEXED, with_children=True)
            if not is_concurrent:
                yield TableLock(name, ACCESS_EXCLUSIVE, with_children=True)
        case pb.REINDEX_OBJECT_TABLE:
            yield TableLock(name, mode, with_children=True)
            if not is_concurrent:
                yield TableLock(name, ACCESS_EXCLUSIVE, Reach.INDEXES, with_children=True)
        case _:
            # Whole schemas and databases go table by table, each in its own transaction.
            pass


def _find_vacuum(statement: VacuumStmt) -> Iterator[TableLock]:
    is_full = any(option.def_elem.defname == "full" and _is_on(option.def_elem) for option in statement.options)
    for each in statement.rels:
        relation = each.vacuum_relation.relation
        mode = ACCESS_EXCLUSIVE if is_full else SHARE_UPDATE_EXCLUSIVE
        yield TableLock(named(relation), mode, with_children=relation.inh)


def _is_on(option: DefElem) -> bool:
    """Whether an option is on, which it is where it has no value (defGetBoolean in the server's source)."""
    match option.arg.WhichOneof("node"):
        case "integer":
            return option.arg.integer.ival != 0
        case "string":
            return option.arg.string.sval not in ("false", "off")
        case _:
            return True


def _find_domain(tree: Node) -> Iterator[TableLock]:
    # C adds a constraint, V validates one, O sets NOT NULL; the others look at no table (AlterDomainStmt, 18).
    statement = tree.alter_domain_stmt
    if statement.subtype in ("C", "V", "O") and not getattr(statement, "def").constraint.skip_validation:
        names = [part.string.sval for part in statement.type_name]
        yield TableLock(quoted(names), SHARE, Reach.DOMAIN)


def _find_published(objects: Iterable[Node]) -> Iterator[TableLock]:
    for each in objects:
        table = each.publication_obj_spec.pubtable
        if table.HasField("relation"):
            yield TableLock(named(table.relation), SHARE_UPDATE_EXCLUSIVE, with_children=table.relation.inh)

"""Which table locks ALTER TABLE takes, and ALTER of what else has columns or storage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from whimbrel.statements.tablelock import (
    ACCESS_EXCLUSIVE,
    SHARE_ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    Reach,
    TableLock,
    named,
    strength,
)

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import AlterTableCmd, AlterTableStmt, Node

# Storage parameters whose change stops readers (src/backend/access/common/reloptions.c, 18); no other one's does.
_STRONG_OPTIONS = frozenset(
    {
        "autosummarize",
        "buffering",
        "check_option",
        "fastupdate",
        "gin_pending_list_limit",
        "pages_per_range",
        "security_barrier",
        "security_invoker",
        "user_catalog_table",
    }
)


def find_alterations(statement: AlterTableStmt) -> Iterator[TableLock]:
    """Yield the locks of ALTER TABLE, INDEX, VIEW, MATERIALIZED VIEW, SEQUENCE and FOREIGN TABLE.

    The relation gets the strongest lock that any of the subcommands asks for (AlterTableGetLockLevel in
    src/backend/commands/tablecmds.c, 18).
    """
    from postgast import pg_query_pb2 as pb

    if statement.objtype == pb.OBJECT_TYPE:
        return
    name, with_children = named(statement.relation), statement.relation.inh
    commands = [each.alter_table_cmd for each in statement.cmds]
    modes, own = [_mode(command) for command in commands], _own_subcommands()
    yield TableLock(
        name,
        max(modes, key=strength),
        with_children=with_children and any(command.subtype not in own for command in commands),
    )
    for command, mode in zip(commands, modes, strict=True):
        yield from _find_others(name, with_children, command, mode)


def _mode(command: AlterTableCmd) -> str:
    from postgast import pg_query_pb2 as pb

    weak, middle = _weaker_subcommands()
    definition = _definition(command)
    match command.subtype:
        case subtype if subtype in weak:
            return SHARE_UPDATE_EXCLUSIVE
        case subtype if subtype in middle:
            return SHARE_ROW_EXCLUSIVE
        case pb.AT_DetachPartition if definition.partition_cmd.concurrent:
            return SHARE_UPDATE_EXCLUSIVE
        case pb.AT_AddConstraint if definition.constraint.contype == pb.CONSTR_FOREIGN:
            return SHARE_ROW_EXCLUSIVE
        case pb.AT_SetRelOptions | pb.AT_ResetRelOptions:
            options = {option.def_elem.defname for option in definition.list.items}
            return ACCESS_EXCLUSIVE if options & _STRONG_OPTIONS else SHARE_UPDATE_EXCLUSIVE
        case _:
            return ACCESS_EXCLUSIVE


@cache
def _weaker_subcommands() -> tuple[frozenset[int], frozenset[int]]:
    """Return the subcommands that take SHARE UPDATE EXCLUSIVE, and those that take SHARE ROW EXCLUSIVE."""
    from postgast import pg_query_pb2 as pb

    weak = (
        pb.AT_AttachPartition,
        pb.AT_ClusterOn,
        pb.AT_DetachPartitionFinalize,
        pb.AT_DropCluster,
        pb.AT_ResetOptions,
        pb.AT_SetOptions,
        pb.AT_SetStatistics,
        pb.AT_ValidateConstraint,
    )
    middle = (
        pb.AT_DisableTrig,
        pb.AT_DisableTrigAll,
        pb.AT_DisableTrigUser,
        pb.AT_EnableAlwaysTrig,
        pb.AT_EnableReplicaTrig,
        pb.AT_EnableTrig,
        pb.AT_EnableTrigAll,
        pb.AT_EnableTrigUser,
    )
    return frozenset(weak), frozenset(middle)


@cache
def _own_subcommands() -> frozenset[int]:
    """Return the subcommands that concern the named relation alone, whatever its children."""
    from postgast import pg_query_pb2 as pb

    return frozenset(
        {
            pb.AT_AddIndexConstraint,
            pb.AT_AddInherit,
            pb.AT_AddOf,
            pb.AT_AlterColumnGenericOptions,
            pb.AT_AttachPartition,
            pb.AT_ChangeOwner,
            pb.AT_ClusterOn,
            pb.AT_DetachPartition,
            pb.AT_DetachPartitionFinalize,
            pb.AT_DisableRowSecurity,
            pb.AT_DisableRule,
            pb.AT_DropCluster,
            pb.AT_DropInherit,
            pb.AT_DropOf,
            pb.AT_EnableAlwaysRule,
            pb.AT_EnableReplicaRule,
            pb.AT_EnableRowSecurity,
            pb.AT_EnableRule,
            pb.AT_ForceRowSecurity,
            pb.AT_GenericOptions,
            pb.AT_NoForceRowSecurity,
            pb.AT_ReplicaIdentity,
            pb.AT_ResetOptions,
            pb.AT_ResetRelOptions,
            pb.AT_SetAccessMethod,
            pb.AT_SetLogged,
            pb.AT_SetOptions,
            pb.AT_SetRelOptions,
            pb.AT_SetTableSpace,
            pb.AT_SetUnLogged,
        }
    )


def _find_others(name: str, with_children: bool, command: AlterTableCmd, mode: str) -> Iterator[TableLock]:
    """Yield the locks on further relations."""
    from postgast import pg_query_pb2 as pb

    definition = _definition(command)
    match command.subtype:
        case pb.AT_AddConstraint:
            yield from find_references([definition])
        case pb.AT_AddColumn:
            yield from find_references(definition.column_def.constraints)
        case pb.AT_AlterConstraint if definition.atalter_constraint.alter_enforceability:
            conname = definition.atalter_constraint.conname
            yield TableLock(name, ACCESS_EXCLUSIVE, Reach.REFERENCED, with_children, conname)
        case pb.AT_AlterColumnType:
            yield TableLock(name, ACCESS_EXCLUSIVE, Reach.REFERENCED, with_children, command.name)
            yield TableLock(name, ACCESS_EXCLUSIVE, Reach.REFERENCING, with_children, command.name)
        case pb.AT_DropColumn | pb.AT_DropConstraint:
            yield TableLock(name, ACCESS_EXCLUSIVE, Reach.REFERENCED, with_children, command.name)
            if command.behavior == pb.DROP_CASCADE:
                yield TableLock(name, ACCESS_EXCLUSIVE, Reach.REFERENCING, with_children, command.name)
                yield TableLock(name, ACCESS_EXCLUSIVE, Reach.DEPENDENT, with_children, command.name)
        case pb.AT_AddInherit:
            yield TableLock(named(definition.range_var), SHARE_UPDATE_EXCLUSIVE)
        case pb.AT_AttachPartition:
            yield TableLock(named(definition.partition_cmd.name), ACCESS_EXCLUSIVE, with_children=True)
            yield TableLock(name, ACCESS_EXCLUSIVE, Reach.DEFAULT, with_children=True)
            yield TableLock(name, SHARE_ROW_EXCLUSIVE, Reach.REFERENCED)
            yield TableLock(name, SHARE_ROW_EXCLUSIVE, Reach.REFERENCING)
        case pb.AT_DetachPartition | pb.AT_DetachPartitionFinalize:
            partition = named(definition.partition_cmd.name)
            yield TableLock(partition, ACCESS_EXCLUSIVE)
            yield TableLock(partition, SHARE_ROW_EXCLUSIVE, Reach.REFERENCED)
            yield TableLock(name, ACCESS_EXCLUSIVE, Reach.REFERENCING)
            if mode == ACCESS_EXCLUSIVE:
                yield TableLock(name, ACCESS_EXCLUSIVE, Reach.DEFAULT)
        case _:
            pass


def find_references(elements: Iterable[Node]) -> Iterator[TableLock]:
    """Yield the locks on the tables that foreign keys are to reference, from constraints and column definitions."""
    from postgast import pg_query_pb2 as pb

    for element in elements:
        match element.WhichOneof("node"):
            case "constraint" if element.constraint.contype == pb.CONSTR_FOREIGN:
                yield TableLock(named(element.constraint.pktable), SHARE_ROW_EXCLUSIVE, with_children=True)
            case "column_def":
                yield from find_references(element.column_def.constraints)
            case _:
                pass


def _definition(command: AlterTableCmd) -> Node:
    return getattr(command, "def")

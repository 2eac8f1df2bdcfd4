"""Which table locks DROP and TRUNCATE take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from whimbrel.statements.tablelock import (
    ACCESS_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    Reach,
    TableLock,
    named,
    quoted,
)

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import DropStmt, TruncateStmt


def find_drop(statement: DropStmt) -> Iterator[TableLock]:
    from postgast import pg_query_pb2 as pb

    is_cascade = statement.behavior == pb.DROP_CASCADE
    for each in statement.objects:
        names = [part.string.sval for part in each.list.items]
        match statement.remove_type:
            case pb.OBJECT_TABLE | pb.OBJECT_FOREIGN_TABLE:
                yield from _find_drop_table(quoted(names), is_cascade)
            case pb.OBJECT_VIEW | pb.OBJECT_MATVIEW:
                yield TableLock(quoted(names), ACCESS_EXCLUSIVE)
                if is_cascade:
                    yield TableLock(quoted(names), ACCESS_EXCLUSIVE, Reach.DEPENDENT)
            case pb.OBJECT_SEQUENCE:
                yield TableLock(quoted(names), ACCESS_EXCLUSIVE)
            case pb.OBJECT_INDEX:
                mode = SHARE_UPDATE_EXCLUSIVE if statement.concurrent else ACCESS_EXCLUSIVE
                yield TableLock(quoted(names), mode, Reach.INDEXED, with_children=True)
            case pb.OBJECT_TRIGGER:
                yield TableLock(quoted(names[:-1]), ACCESS_EXCLUSIVE, with_children=True)
            case pb.OBJECT_RULE | pb.OBJECT_POLICY:
                yield TableLock(quoted(names[:-1]), ACCESS_EXCLUSIVE)
            case pb.OBJECT_SCHEMA if is_cascade:
                yield TableLock(quoted([each.string.sval]), ACCESS_EXCLUSIVE, Reach.SCHEMA)
            case _:
                pass


def _find_drop_table(name: str, is_cascade: bool) -> Iterator[TableLock]:
    yield TableLock(name, ACCESS_EXCLUSIVE, with_children=True)
    yield TableLock(name, ACCESS_EXCLUSIVE, Reach.PARENT)
    yield TableLock(name, ACCESS_EXCLUSIVE, Reach.REFERENCED, with_children=True)
    if is_cascade:
        yield TableLock(name, ACCESS_EXCLUSIVE, Reach.REFERENCING, with_children=True)
        yield TableLock(name, ACCESS_EXCLUSIVE, Reach.DEPENDENT, with_children=True)


def find_truncate(statement: TruncateStmt) -> Iterator[TableLock]:
    from postgast import pg_query_pb2 as pb

    for each in statement.relations:
        name, with_children = named(each.range_var), each.range_var.inh
        yield TableLock(name, ACCESS_EXCLUSIVE, with_children=with_children)
        if statement.behavior == pb.DROP_CASCADE:
            yield TableLock(name, ACCESS_EXCLUSIVE, Reach.CASCADED, with_children)

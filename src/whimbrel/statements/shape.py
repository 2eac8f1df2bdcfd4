"""What an index is made of, as far as a statement and the server's own definition of an index can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whimbrel.statements import parser

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import IndexElem, Node


@dataclass(frozen=True, slots=True)
class Shape:
    """An index without its name: `columns` are names, empty for an expression, which the server writes in its own way.

    Two indexes of one shape need not be alike; of two shapes they are not.
    """

    method: str
    is_unique: bool
    columns: tuple[str, ...]
    included: tuple[str, ...]
    is_partial: bool


def find_shape(sql: bytes) -> Shape | None:
    """Return the shape of the index that a CREATE INDEX makes, None for what is none or cannot be parsed."""
    try:
        tree = parser.parse(sql)
    except parser.ParserError:
        return None
    if tree is None or tree.WhichOneof("node") != "index_stmt":
        return None
    statement = tree.index_stmt
    return Shape(
        statement.access_method,
        statement.unique,
        tuple(_column(each.index_elem) for each in statement.index_params),
        tuple(_column(each.index_elem) for each in statement.index_including_params),
        statement.HasField("where_clause"),
    )


def _column(element: IndexElem) -> str:
    if element.name or not element.HasField("expr"):
        return element.name
    # To the server a column in parentheses is the column.
    return _bare(element.expr)


def _bare(expression: Node) -> str:
    match expression.WhichOneof("node"):
        case "collate_clause":
            return _bare(expression.collate_clause.arg)
        case "column_ref" if len(expression.column_ref.fields) == 1:
            return expression.column_ref.fields[0].string.sval
        case _:
            return ""

"""One UPDATE or DELETE → the same for a part of its rows, and the question which rows it would still find.

Both are made from the statement's own text, cut at the tokens that begin its clauses, and are then parsed again: what
comes of that has to be the statement's own tree but for the one condition that is added, or it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from whimbrel.statements import parser

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import Node, RangeVar, WithClause

_WHERE = "Give it a WHERE clause that no longer finds a row once the row is done: UPDATE … WHERE new_column IS NULL"


class BatchError(Exception):
    """A statement that cannot be run in batches; `index` is a 0-based character index into it."""

    def __init__(self, message: str, hint: str | None, index: int = 0) -> None:
        self.message = message
        self.hint = hint
        self.index = index
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Batch:
    """A statement that can be run for a part of its rows.

    `schema` is empty where the statement gives none. `assigned` are the columns that it sets.
    """

    verb: str
    schema: str
    relation: str
    is_only: bool
    assigned: tuple[str, ...]
    # How the statement's own clauses call the table.
    reference: str
    _sql: str = field(repr=False)
    _before: str = field(repr=False)
    _from: str = field(repr=False)
    # Behind the word WHERE, as a character index.
    _condition: int = field(repr=False)

    @property
    def target(self) -> str:
        """The table as the statement names it, quoted, with ONLY where that is said; without its alias."""
        names = (self.schema, self.relation) if self.schema else (self.relation,)
        return ("ONLY " if self.is_only else "") + ".".join(quote(name) for name in names)

    def column(self, name: str) -> str:
        """Return how a condition for `restricted` and `select` names a column of the table."""
        return f"{self.reference}.{quote(name)}"

    def restricted(self, condition: str) -> bytes:
        """Return the statement for those of its rows for which a condition holds, too.

        What stands before the added condition keeps its place, so that the server's positions are those of the file.
        """
        text = f"{self._sql[: self._condition]}{self._parenthesised()} AND {condition}"
        tree, whole, added = _parsed(self._sql), _parsed(text), _parsed(f"SELECT WHERE {condition}")
        expected = [*_conjuncts(_body(tree).where_clause), *_conjuncts(added.select_stmt.where_clause)]
        found = _conjuncts(_body(whole).where_clause)
        for each in (tree, whole):
            _body(each).ClearField("where_clause")
        if tree != whole or expected != found:
            raise BatchError("statement cannot be cut into batches", "Write its condition in another way.")
        return text.encode()

    def select(self, head: str, tail: str = "") -> bytes:
        """Return a query over the rows that the statement finds: `head`, its FROM and WHERE clauses, `tail`."""
        return f"{self._before}{head}\nFROM {self._from}\nWHERE{self._parenthesised()}{tail}".encode()

    def _parenthesised(self) -> str:
        condition = self._sql[self._condition :]
        # A line comment may stand at its end; and an index into it is to stay one.
        return f"({condition[1:] if condition[:1].isspace() else condition}\n)"


def read_batch(sql: bytes) -> Batch:
    """Read a statement that is to be run in batches. Raises BatchError for one that cannot be."""
    try:
        tree = _parsed(sql.decode())
    except parser.ParserError as error:
        raise BatchError(error.message, None, error.index or 0) from None
    kind = tree.WhichOneof("node")
    if kind not in ("update_stmt", "delete_stmt"):
        raise BatchError("only an UPDATE or DELETE can be run in batches", "Put it directly above the statement.")
    body = _body(tree)
    condition = body.where_clause.WhichOneof("node")
    if condition is None:
        raise BatchError("statement without a WHERE clause cannot be run in batches", _WHERE)
    if condition == "current_of_expr":
        raise BatchError("WHERE CURRENT OF cannot be run in batches", _WHERE)
    if body.HasField("returning_clause"):
        raise BatchError("RETURNING cannot be run in batches", "Nobody would see the rows: remove it.")
    if body.relation.catalogname:
        raise BatchError("a table's name with a database in it cannot be run in batches", "Remove the database.")
    for each in _walk(tree):
        name = each.DESCRIPTOR.name
        if name == "ParamRef":
            raise BatchError("statement has a parameter", "There is no value for it: write the value.")
        if name == "CommonTableExpr" and each.ctequery.WhichOneof("node") != "select_stmt":
            raise BatchError(
                "WITH that changes rows cannot be run in batches",
                "It would be run anew for each batch: make it a statement of its own.",
            )
    return _cut(sql, tree)


def quote(name: str) -> str:
    """Return a name as SQL takes it exactly."""
    return '"' + name.replace('"', '""') + '"'


def _cut(sql: bytes, tree: Node) -> Batch:
    """Find the clauses: of all the places where they might begin, those that give the statement's own tree again."""
    is_update = tree.WhichOneof("node") == "update_stmt"
    body = _body(tree)
    tables = tree.update_stmt.from_clause if is_update else tree.delete_stmt.using_clause
    words = list(_words(sql))

    def places(word: bytes) -> list[tuple[int, int]]:
        return [(start, end) for start, end, text in words if text == word]

    expected = _question(body.relation, tables, body.where_clause, body.with_clause)
    clauses = [
        places(b"update" if is_update else b"delete"),
        places(b"set" if is_update else b"from"),
        places(b"from" if is_update else b"using") if tables else [(0, 0)],
        places(b"where"),
    ]
    for verb, second, third, where in product(*clauses):
        if is_update:
            target = sql[verb[1] : second[0]]
            others = sql[third[1] : where[0]]
        else:
            target = sql[second[1] : third[0] if tables else where[0]]
            others = sql[third[1] : where[0]]
        names = target.decode().strip() + (f"\n, {others.decode().strip()}" if tables else "")
        relation = body.relation
        found = Batch(
            verb="UPDATE" if is_update else "DELETE",
            schema=relation.schemaname,
            relation=relation.relname,
            is_only=not relation.inh,
            assigned=tuple(each.res_target.name for each in tree.update_stmt.target_list) if is_update else (),
            reference=quote(relation.alias.aliasname or relation.relname),
            _sql=sql.decode(),
            _before=sql[: verb[0]].decode(),
            _from=names,
            _condition=len(sql[: where[1]].decode()),
        )
        try:
            if _parsed(found.select("SELECT EXISTS (SELECT", ")").decode()) == expected:
                # Raises where the condition does not end with the statement.
                found.restricted("true")
                return found
        except parser.ParserError:
            continue
    raise BatchError("statement cannot be cut into batches", "Write it without what is unusual in it.")


def _words(sql: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the words outside parentheses that may begin a clause, with their byte offsets."""
    depth = 0
    for token in parser.scan(sql):
        text = sql[token.start : token.end]
        if text in (b"(", b"["):
            depth += 1
        elif text in (b")", b"]"):
            depth -= 1
        elif token.is_word and depth == 0:
            yield token.start, token.end, text.lower()


def _question(relation: RangeVar, tables: Sequence[Node], condition: Node, with_clause: WithClause) -> Node:
    """Return the tree of: does the statement find a row?"""
    question = _parsed("SELECT EXISTS (SELECT)")
    select = question.select_stmt.target_list[0].res_target.val.sub_link.subselect.select_stmt
    select.from_clause.add().range_var.CopyFrom(relation)
    select.from_clause.extend(tables)
    select.where_clause.CopyFrom(condition)
    if with_clause.ctes:
        question.select_stmt.with_clause.CopyFrom(with_clause)
    return question


def _parsed(sql: str) -> Node:
    """Return the tree of a statement without places in the text."""
    tree = parser.parse(sql.encode())
    if tree is None:
        raise parser.ParserError("there is no statement", None)
    for each in _walk(tree):
        for name in [place.name for place, _ in each.ListFields() if place.name in _PLACES]:
            each.ClearField(name)
    return tree


# Where the fields of pg_query.proto say where something stands; libpg_query 18.
_PLACES = {
    "list_end",
    "list_start",
    "location",
    "name_location",
    "rexpr_list_end",
    "rexpr_list_start",
    "stmt_len",
    "stmt_location",
}


def _walk(message: Any) -> Iterator[Any]:  # protobuf messages of any kind
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for each in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _walk(each)


def _body(tree: Node) -> Any:  # an UpdateStmt or a DeleteStmt, which have much in common but no class
    return getattr(tree, tree.WhichOneof("node") or "update_stmt")


def _conjuncts(condition: Node) -> list[Node]:
    from postgast import pg_query_pb2 as pb

    if condition.WhichOneof("node") == "bool_expr" and condition.bool_expr.boolop == pb.AND_EXPR:
        return list(condition.bool_expr.args)
    return [condition]

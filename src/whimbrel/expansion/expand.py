"""A request and a database → an Expansion, or everything that stands in its way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg

from whimbrel import database
from whimbrel.config import Config
from whimbrel.database import Connection
from whimbrel.errors import ConfigError
from whimbrel.expansion import reading, rehearsal, target
from whimbrel.expansion.conversion import Retyping
from whimbrel.expansion.names import MAX_BYTES
from whimbrel.expansion.parts import last_trigger
from whimbrel.expansion.rename import find_rename_obstacles, rename_column
from whimbrel.expansion.retype import Targets, find_retype_obstacles, names_of
from whimbrel.expansion.step import Expansion
from whimbrel.expansion.subject import Subject
from whimbrel.expansion.swap import retype_column


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of a column: another name or another type, one of both. Names are written as in SQL."""

    column: str
    name: str | None = None
    type: str | None = None
    using: str | None = None


def expand(connection: Connection, request: Request, config: Config) -> Expansion:
    """Return the migrations that do what is wanted. Changes nothing, and waits for nobody longer than five seconds.

    The database has to be as it will be when they run: what it holds beside the column decides what is written. Needs
    a role that may read the table and make temporary tables. Raises ConfigError with every obstacle.
    """
    try:
        with rehearsal.transaction(connection, config):
            place = reading.find_column(connection, request.column)
            new = reading.read_name(connection, request.name, "name") if request.name is not None else None
            rehearsal.qualify(connection)
            subject = reading.read_subject(connection, place)
            if new is not None:
                return _rename(connection, subject, new)
            assert request.type is not None
            return _retype(connection, subject, Retyping(request.type, request.using, config.search_path))
    except psycopg.Error as error:
        raise database.explain(error) from None


def _rename(connection: Connection, subject: Subject, new: str) -> Expansion:
    what = (subject.column.name, new)
    found = [*subject.obstacles, *_of_names(subject, (new,), what), *find_rename_obstacles(subject)]
    if domain := target.find_constrained(connection, subject.qualified, subject.column.name):
        found.append(f"its type {domain} is a domain with constraints, of which no column can be added in an instant")
    _refuse(subject, found)
    return rename_column(subject, target.renamed(connection, subject, new), new)


def _retype(connection: Connection, subject: Subject, change: Retyping) -> Expansion:
    new, kept = names_of(subject)
    found = [*subject.obstacles, *_of_names(subject, (new, kept), (subject.column.name, new))]
    _refuse(subject, [*found, *find_retype_obstacles(subject, change.using)])
    as_new, as_final = target.retyped(connection, subject, new, kept, change)
    is_same = (as_new.type, as_new.collation) == (subject.column.type, subject.column.collation)
    if is_same and not change.using:
        raise ConfigError(f"column {subject.column.name} of {subject.qualified} is of type {as_new.type} already")
    return retype_column(subject, Targets(as_new, as_final, target.renamed(connection, subject, kept)))


def _of_names(subject: Subject, names: Iterable[str], what: tuple[str, str]) -> list[str]:
    found: list[str] = []
    for name in names:
        if name in subject.columns:
            found.append(f'the table has a column "{name}" already')
        if len(name.encode()) > MAX_BYTES:
            found.append(f"the name {name} has {len(name.encode())} bytes, of which PostgreSQL keeps {MAX_BYTES}")
    if not subject.key:
        found.append("the table has no primary key and no other unique index of columns that are NOT NULL: add one")
    if not last_trigger(subject, what):
        found.append("a trigger of the table has a name behind which no other comes: give it another one")
    return found


def _refuse(subject: Subject, obstacles: list[str]) -> None:
    if not obstacles:
        return
    rest = "" if len(obstacles) == 1 else "s"
    raise ConfigError(
        f"column {subject.column.name} of {subject.qualified} cannot be expanded: {len(obstacles)} obstacle{rest}",
        detail="\n        ".join(obstacles),
        hint="Nothing was written. Remove what stands in the way, in a migration of its own, and try again.",
    )

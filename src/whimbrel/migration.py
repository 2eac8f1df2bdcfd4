"""Migration (as written), Applied (as recorded), and the Outline of a script: what is known before it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from whimbrel.annotations import (
    Annotations,
    Backfill,
    file_annotations,
    position_of,
    read_annotations,
    read_backfill,
    refuse_annotations,
)
from whimbrel.errors import Position, SourceError
from whimbrel.statements import Kind, Run, Script, Statement, Trailing, recorded_version


class Direction(Enum):
    """Which of a migration's two scripts is meant."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Migration:
    """A pair of files. `name` is what stands between the version and `.up.sql`."""

    version: int
    name: str
    up: Script
    down: Script | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """A row of the history table.

    The seed's three columns come first; the rest is None in a row that was not written by whimbrel (`is_by_hand`).
    `ordinal` gives the order of application, `duration_ms` how long the up script took. The stored down SQL is read
    on its own, when it is needed; `has_down` says that there is one.
    """

    version: int
    description: str | None
    applied_at: datetime | None
    ordinal: int | None = None
    name: str | None = None
    checksum: str | None = None
    token_checksum: str | None = None
    duration_ms: float | None = None
    applied_by: str | None = None
    tool_version: str | None = None
    has_down: bool = False

    @property
    def is_by_hand(self) -> bool:
        """Whether the row was written by the migration's own SQL, or by a person, and not by whimbrel."""
        return self.tool_version is None


@dataclass(frozen=True, slots=True)
class Interruption:
    """An autocommit migration that was left in the middle, at a statement that counts from 1.

    `is_started`: the statement was sent and not seen to end; otherwise it was not sent, or left nothing behind.
    """

    version: int
    direction: Direction
    statement: int
    started_at: datetime
    is_started: bool = True


@dataclass(frozen=True, slots=True)
class Outline:
    """What a script is, known without running it.

    `statements` counts those that are sent, without a BEGIN and COMMIT around them and, in an autocommit script,
    without those that record the migration (whimbrel's own record replaces them). `autocommit_at` is the position of
    the first statement that cannot run in a transaction, if there is one.
    """

    statements: int
    is_transactional: bool
    has_data: bool
    annotations: Annotations = field(default_factory=Annotations)
    autocommit_at: Position | None = None


def describe(name: str) -> str:
    """Return the description of a migration from its name: `add_presence_schema` → `add presence schema`."""
    return name.replace("_", " ").strip()


def outline(script: Script, version: int, history_table: str) -> Outline:
    """Read a script through and return its outline.

    `history_table` is the table's name without its schema. Raises SourceError for transaction control other than one
    BEGIN before and one COMMIT behind everything else, for annotations that are unknown or out of place, for COPY TO
    stdout, and for a file that records another version than its own.
    """
    annotations = Annotations()
    count = 0
    has_data = False
    records = 0
    autocommit: Statement | None = None
    opening: Statement | None = None
    closing: Statement | None = None
    asked_for: Position | None = None
    is_first = True
    for part in script.skim(history_table):
        if isinstance(part, Run):
            if closing is not None:
                raise _control_error(script, closing)
            count += part.count
            is_first = False
            continue
        if is_first:
            annotations = read_annotations(part.comments, script.path)
            asked_for = position_of("transaction", part.comments, script.path)
            is_first = False
        elif part.comments:
            refuse_annotations(file_annotations(part.comments, script.path), script.path)
        if isinstance(part, Trailing):
            refuse_annotations(
                (each for each in part.comments if not file_annotations([each], script.path)), script.path
            )
            break
        if closing is not None:
            raise _control_error(script, closing)
        if part.comments and backfill_of(script, part) is not None:
            if asked_for is not None and annotations.transaction:
                raise SourceError(
                    "file asks for a transaction, and a backfill commits each of its batches",
                    hint='Remove the annotation "transaction", or the annotation "backfill".',
                    position=asked_for,
                )
            autocommit = autocommit or part
        match part.kind:
            case Kind.ORDINARY:
                records += _records_itself(script, part, version, history_table)
            case Kind.BEGIN if count == 0 and opening is None:
                opening = part
                continue
            case Kind.COMMIT if opening is not None:
                closing = part
                continue
            case Kind.BEGIN | Kind.COMMIT | Kind.CONTROL:
                raise _control_error(script, part)
            case Kind.COPY_OUT:
                raise SourceError(
                    "COPY TO stdout has nowhere to write to",
                    hint="A migration changes the database; remove the statement.",
                    position=script.position(part),
                )
            case Kind.AUTOCOMMIT:
                autocommit = autocommit or part
            case Kind.COPY_IN:
                has_data = True
        count += 1
    if opening is not None and closing is None:
        raise _control_error(script, opening, "BEGIN without a COMMIT at the end of the file")
    is_transactional = autocommit is None and annotations.transaction
    if opening is not None and not annotations.transaction:
        raise SourceError(
            "file opens a transaction and asks to be run without one",
            hint='Remove BEGIN and COMMIT, or the annotation "transaction".',
            position=script.position(opening),
        )
    if opening is not None and autocommit is not None:
        raise SourceError(
            "statement cannot run inside the transaction that this file opens",
            hint="Remove BEGIN and COMMIT: whimbrel then runs the file statement by statement.",
            position=script.position(autocommit),
        )
    return Outline(
        count if is_transactional else count - records,
        is_transactional,
        has_data,
        annotations,
        script.position(autocommit) if autocommit is not None else None,
    )


def backfill_of(script: Script, statement: Statement) -> Backfill | None:
    """Return what the annotation above a statement says of running it in batches, None where there is none.

    Raises SourceError, with the place, for a statement that cannot be, or that works on another table.
    """
    found = read_backfill(statement.comments, script.path)
    if found is None:
        return None
    # A tree is built only where it is needed.
    from whimbrel.statements.batch import BatchError, read_batch

    try:
        batch = read_batch(statement.sql)
    except BatchError as error:
        raise SourceError(error.message, hint=error.hint, position=script.position(statement, error.index)) from None
    if not found.names(batch.schema, batch.relation):
        raise SourceError(
            f"annotation names table {'.'.join(found.table)}, and the statement below it another one",
            hint=f"Name the table that it changes: {f'{batch.schema}.' if batch.schema else ''}{batch.relation}",
            position=found.position,
        )
    return found


def body(script: Script, outline: Outline, history_table: str) -> Iterator[Statement]:
    """Yield the statements of a script that are to be sent; see Outline for those that are left out."""
    for statement in script.statements():
        if statement.kind in (Kind.BEGIN, Kind.COMMIT):
            continue
        if not outline.is_transactional and recorded_version(statement.sql, history_table) is not None:
            continue
        yield statement


def _records_itself(script: Script, statement: Statement, version: int, history_table: str) -> bool:
    recorded = recorded_version(statement.sql, history_table)
    if recorded is None:
        return False
    if recorded != version:
        raise SourceError(
            f"file of version {version} records version {recorded}",
            hint=f"Write {version} here, or leave the statement out: whimbrel records the migration by itself.",
            position=script.position(statement),
        )
    return True


def _control_error(
    script: Script, statement: Statement, message: str = "transaction control inside a migration"
) -> SourceError:
    return SourceError(
        message,
        detail="whimbrel runs the file in a transaction of its own, together with its history row.",
        hint="Remove it; one BEGIN before and one COMMIT behind everything else are accepted.",
        position=script.position(statement),
    )

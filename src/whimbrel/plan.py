"""Migrations and what was Applied → States and Plans. Pure: nothing here reads a file's statements or a database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from whimbrel.errors import MissingDown, Modified, OutOfOrder, PlanError, Unsettled
from whimbrel.migration import Applied, Direction, Interruption, Migration
from whimbrel.statements import Script


class Condition(Enum):
    """Whether the history holds a version."""

    APPLIED = "applied"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class State:
    """One version as the files and the history see it; at least one of `migration` and `applied` is there.

    `is_modified`: the file holds other statements than were applied. `is_reformatted`: only its layout or comments
    changed. `is_late`: pending, and below the newest applied version.
    """

    version: int
    migration: Migration | None
    applied: Applied | None
    is_modified: bool = False
    is_reformatted: bool = False
    is_late: bool = False
    interruption: Interruption | None = None

    @property
    def condition(self) -> Condition:
        """Whether the version is applied or pending."""
        return Condition.PENDING if self.applied is None else Condition.APPLIED

    @property
    def is_missing(self) -> bool:
        """Whether the version is applied, or was begun, and its file is gone."""
        return self.migration is None

    @property
    def name(self) -> str:
        """The migration's name, from the file if there is one, else as recorded."""
        if self.migration is not None:
            return self.migration.name
        return (self.applied.name if self.applied else None) or ""


@dataclass(frozen=True, slots=True)
class Step:
    """One script to run. `down_is_stored` marks a down script that comes from the history: its file is gone."""

    direction: Direction
    version: int
    name: str
    script: Script
    migration: Migration | None
    applied: Applied | None = None
    is_late: bool = False
    down_is_stored: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a run in order, with warnings that stop nothing."""

    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()


def compare(
    migrations: Iterable[Migration],
    applied: Iterable[Applied],
    interruptions: Iterable[Interruption] = (),
) -> list[State]:
    """Set the files against the history: one State a version, in the order of the versions.

    Reads a file's tokens only where its raw checksum differs from the recorded one.
    """
    files = {migration.version: migration for migration in migrations}
    rows = {row.version: row for row in applied}
    stopped = {each.version: each for each in interruptions}
    newest = max(rows, default=0)
    states: list[State] = []
    for version in sorted(files.keys() | rows.keys() | stopped.keys()):
        migration, row = files.get(version), rows.get(version)
        differs = (
            migration is not None
            and row is not None
            and row.checksum is not None
            and row.checksum != migration.up.checksum
        )
        is_modified = differs and not _has_same_tokens(migration, row)
        states.append(
            State(
                version,
                migration,
                row,
                is_modified=is_modified,
                is_reformatted=differs and not is_modified,
                is_late=row is None and version < newest,
                interruption=stopped.get(version),
            )
        )
    return states


def _has_same_tokens(migration: Migration | None, row: Applied | None) -> bool:
    if migration is None or row is None or row.token_checksum is None:
        return False
    return migration.up.token_checksum() == row.token_checksum


def plan_up(states: Sequence[State], to: int | None = None, *, refuse_late: bool = False) -> Plan:
    """Plan what is pending, up to and with version `to`.

    Raises Modified for applied files that hold other statements now, OutOfOrder for late versions where they are
    refused, and PlanError where `to` is no known version. A missing file is a warning.
    """
    _check_known(states, to)
    _refuse_interrupted(states, Direction.UP)
    modified = [state for state in states if state.is_modified]
    if modified:
        raise Modified(
            _listed("applied migration", modified, "was changed since", "were changed since"),
            hint="Undo the change and write a new migration; or, if the database is right, run: whimbrel repair",
        )
    pending = [
        state
        for state in states
        if state.migration is not None
        # A forced one was applied before, and was interrupted all the same.
        and (state.applied is None or state.interruption is not None)
        and (to is None or state.version <= to)
    ]
    late = [state for state in pending if state.is_late]
    if late and refuse_late:
        raise OutOfOrder(
            _listed("pending migration", late, "is", "are") + " below the newest applied version",
            hint='Give it a higher number, or set out_of_order = "apply".',
        )
    steps = tuple(
        Step(
            Direction.UP,
            state.version,
            state.migration.name,
            state.migration.up,
            state.migration,
            is_late=state.is_late,
        )
        for state in pending
        if state.migration is not None
    )
    return Plan(steps, tuple(_missing_warnings(states)))


def plan_down(states: Sequence[State], stored: dict[int, Script], to: int | None = None) -> Plan:
    """Plan to undo the last applied migration, or everything above version `to`, in reverse order of application.

    `stored` holds the down scripts that the history keeps, by version; one is used where the file is gone. Raises
    MissingDown before anything runs if a migration has no down script.
    """
    _refuse_interrupted(states, Direction.DOWN)
    applied = [state for state in states if state.applied is not None]
    if to is not None and to != 0:
        _check_known(states, to)
    applied.sort(key=lambda state: _application_order(state), reverse=True)
    chosen = applied[:1] if to is None else [state for state in applied if state.version > to]
    return Plan(tuple(_down_step(state, stored) for state in chosen))


def plan_redo(states: Sequence[State], stored: dict[int, Script], version: int | None = None) -> Plan:
    """Plan the down and then the up of a version, by default the one that was applied last."""
    for direction in Direction:
        _refuse_interrupted(states, direction)
    applied = sorted((state for state in states if state.applied is not None), key=_application_order)
    if version is not None:
        applied = [state for state in applied if state.version == version]
    if not applied:
        raise PlanError("nothing is applied" if version is None else f"version {version} is not applied")
    state = applied[-1]
    if state.migration is None:
        raise PlanError(
            f"version {state.version} cannot be done again: its file is gone",
            hint="Restore the file, or undo the migration alone: whimbrel down",
        )
    migration = state.migration
    up = Step(Direction.UP, state.version, migration.name, migration.up, migration, state.applied)
    return Plan((_down_step(state, stored), up))


def plan_force(states: Sequence[State], version: int) -> Plan:
    """Plan to run a version's up script whether or not it is applied."""
    _check_known(states, version)
    _refuse_interrupted([state for state in states if state.version == version], Direction.UP)
    state = next(each for each in states if each.version == version)
    if state.migration is None:
        raise PlanError(f"version {version} cannot be run again: its file is gone", hint="Restore the file.")
    migration = state.migration
    return Plan((Step(Direction.UP, version, migration.name, migration.up, migration, state.applied),))


def plan_baseline(states: Sequence[State], version: int) -> tuple[Migration, ...]:
    """Return the migrations up to and with `version` that are to be recorded without being run."""
    _check_known(states, version)
    for direction in Direction:
        _refuse_interrupted([state for state in states if state.version <= version], direction)
    return tuple(
        state.migration
        for state in states
        if state.version <= version and state.applied is None and state.migration is not None
    )


def _refuse_interrupted(states: Iterable[State], direction: Direction) -> None:
    """Raise Unsettled for an autocommit migration that was left in the middle of the other direction."""
    for state in states:
        stopped = state.interruption
        if stopped is not None and stopped.direction is not direction:
            raise Unsettled(
                f"the {stopped.direction.value} of version {stopped.version} was interrupted"
                f" at statement {stopped.statement}",
                hint=f"Let it end first: whimbrel {stopped.direction.value}",
            )


def _application_order(state: State) -> tuple[int, int]:
    row = state.applied
    return (row.ordinal or 0 if row is not None else 0, state.version)


def _down_step(state: State, stored: dict[int, Script]) -> Step:
    migration = state.migration
    written = migration.down if migration is not None else None
    script = written or stored.get(state.version)
    if script is None:
        label = f"version {state.version}" + (f" ({state.name})" if state.name else "")
        if migration is not None:
            raise MissingDown(
                f"{label} has no down file",
                hint=f"Write {migration.up.path.removesuffix('.up.sql')}.down.sql.",
            )
        raise MissingDown(
            f"{label} has neither a down file nor a stored down script",
            hint="Restore its files.",
        )
    is_stored = written is None
    return Step(Direction.DOWN, state.version, state.name, script, migration, state.applied, down_is_stored=is_stored)


def _check_known(states: Sequence[State], version: int | None) -> None:
    if version is not None and all(state.version != version for state in states):
        known = ", ".join(str(state.version) for state in states[-5:])
        raise PlanError(
            f"there is no version {version}",
            hint=f"The newest versions are: {known}." if known else "There are no migrations.",
        )


def _missing_warnings(states: Iterable[State]) -> Iterable[str]:
    for state in states:
        if state.is_missing:
            label = f"{state.version}" + (f" ({state.name})" if state.name else "")
            condition = "applied" if state.applied is not None else "in the middle of a run"
            yield f"version {label} is {condition}, but its file is missing"


def _listed(noun: str, states: Sequence[State], one: str, many: str) -> str:
    names = ", ".join(f"{state.version} ({state.name})" for state in states)
    return f"{noun}{'' if len(states) == 1 else 's'} {names} {one if len(states) == 1 else many}"

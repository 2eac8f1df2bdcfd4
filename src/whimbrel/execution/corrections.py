"""Correct the record without running anything: baseline, repair, resolve."""

from __future__ import annotations

from whimbrel import history
from whimbrel.errors import PlanError, StatementFailed
from whimbrel.events import Listener, ignore
from whimbrel.execution.opening import Session
from whimbrel.migration import Interruption, Migration
from whimbrel.plan import compare, plan_baseline
from whimbrel.source import Source


def baseline(session: Session, source: Source, version: int, *, emit: Listener = ignore) -> tuple[Migration, ...]:
    """Record the migrations up to and with `version` as applied without running them; return those recorded."""
    session.refuse_replica()
    with session.hold_lock(emit):
        before = session.read_history()
        migrations = plan_baseline(compare(source.migrations, before.applied), version)
        if migrations and not before.is_current:
            history.ensure_history(session.connection, session.config)
        records = [
            history.record_applied(session.config, migration, "baseline", run=session.run) for migration in migrations
        ]
        failure = history.write(session.connection, records)
        if failure is not None:
            raise StatementFailed(f"the baseline cannot be recorded: {failure.message}", sqlstate=failure.sqlstate)
    return migrations


def repair(session: Session, source: Source, *, emit: Listener = ignore) -> tuple[Migration, ...]:
    """Accept applied files as they are now: record their checksums and down scripts; return those corrected."""
    session.refuse_replica()
    with session.hold_lock(emit):
        before = session.read_history()
        states = compare(source.migrations, before.applied)
        changed = tuple(
            state.migration
            for state in states
            if state.migration is not None
            and state.applied is not None
            and (state.is_modified or state.is_reformatted or state.applied.is_by_hand)
        )
        if changed:
            if not before.is_current:
                history.ensure_history(session.connection, session.config)
            history.accept_checksums(session.connection, session.config, changed, run=session.run)
    return changed


def resolve(session: Session, version: int, *, is_done: bool, emit: Listener = ignore) -> Interruption:
    """Say what became of the statement at which an autocommit migration was interrupted; return which one that is.

    Done: the next run goes on behind it. Not done: the next run sends it again. Raises PlanError if there is none.
    """
    with session.hold_lock(emit):
        before = session.read_history()
        stopped = next((each for each in before.interruptions if each.version == version), None)
        if stopped is None or not stopped.is_started:
            state = "is not in the middle of anything" if stopped is None else "was stopped between two statements"
            raise PlanError(
                f"version {version} {state}",
                hint="Look: whimbrel status"
                if stopped is None
                else f"There is nothing to resolve; go on: whimbrel {stopped.direction.value}",
            )
        if not before.is_current:
            history.ensure_history(session.connection, session.config)
        history.resolve_statement(session.connection, session.config, stopped, is_done=is_done, run=session.run)
    return stopped

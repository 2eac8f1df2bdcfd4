"""States, Plans, Events, errors → the JSON forms of docs/reference/json.md. Pure, and frozen by version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, assert_never

from whimbrel import events
from whimbrel.errors import WhimbrelError
from whimbrel.execution.task import Task
from whimbrel.history import Attempt
from whimbrel.migration import Migration
from whimbrel.plan import Plan, State, Step

if TYPE_CHECKING:
    from whimbrel.execution.destruction import Loss

VERSION = 1
Document = dict[str, Any]


def document(kind: str, **values: Any) -> Document:
    """Return a document of a kind with its version in front."""
    return {"whimbrel": kind, "version": VERSION, **values}


def dump(value: Document) -> str:
    """Return a document on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def file_name(state: State) -> str:
    """Return the up file's name, with the digits that it has on disk."""
    if state.migration is not None:
        return PurePath(state.migration.up.path).name
    return f"{state.version:06d}_{state.name}.up.sql" if state.name else f"{state.version:06d}"


def state_form(state: State) -> Document:
    """Return one version as `status` tells it."""
    row = state.applied
    return {
        "version": state.version,
        "name": state.name,
        "file": file_name(state),
        "state": state.condition.value,
        "is_modified": state.is_modified,
        "is_reformatted": state.is_reformatted,
        "is_missing": state.is_missing,
        "is_late": state.is_late,
        "is_by_hand": row is not None and row.is_by_hand,
        "interrupted_at": state.interruption.statement if state.interruption else None,
        "description": row.description if row else None,
        "applied_at": row.applied_at.isoformat() if row and row.applied_at else None,
        "applied_by": row.applied_by if row else None,
        "duration_ms": row.duration_ms if row else None,
    }


def step_form(step: Step) -> Document:
    """Return one step of a plan or of a run."""
    return {
        "version": step.version,
        "name": step.name,
        "direction": step.direction.value,
        "file": step.script.path,
        "is_late": step.is_late,
        "is_stored": step.down_is_stored,
    }


def _event_step_form(step: Step) -> Document:
    # A document's own `version` is that of the JSON forms.
    form = step_form(step)
    return {"step": form.pop("version"), **form}


def task_form(task: Task) -> Document:
    """Return one step of a plan with its statements: line, and first words."""
    return {
        **step_form(task.step),
        "is_transactional": task.outline.is_transactional,
        "statements": [
            {"line": statement.line, "column": statement.column, "sql": head(statement.sql)}
            for statement in task.statements()
        ],
    }


def head(sql: bytes, width: int = 72) -> str:
    """Return the beginning of a statement on one line."""
    text = " ".join(sql[: 4 * width].decode(errors="ignore").split())
    return text if len(text) <= width else text[: width - 1] + "…"


def plan_form(plan: Plan, tasks: Sequence[Task], losses: Sequence[Loss]) -> Document:
    """Return the document of `--plan`."""
    return document(
        "plan",
        steps=[task_form(task) for task in tasks],
        losses=[
            {
                "version": loss.version,
                "table": loss.table,
                "column": loss.column,
                "rows": loss.rows,
                "is_estimate": loss.is_estimate,
            }
            for loss in losses
        ],
        warnings=list(plan.warnings),
    )


def attempt_form(attempt: Attempt) -> Document:
    """Return one row of the log."""
    return {
        "version": attempt.version,
        "name": attempt.name,
        "action": attempt.action,
        "outcome": attempt.outcome,
        "started_at": attempt.started_at.isoformat(),
        "finished_at": attempt.finished_at.isoformat(),
        "sqlstate": attempt.sqlstate,
        "message": attempt.message,
        "role": attempt.role,
        "host": attempt.host,
    }


def migration_form(migration: Migration) -> Document:
    """Return a migration whose record was changed."""
    return {"version": migration.version, "name": migration.name, "file": migration.up.path}


def error_form(error: WhimbrelError, exit_code: int) -> Document:
    """Return the document of an error."""
    position = error.position
    return document(
        "error",
        exit_code=exit_code,
        message=error.message,
        detail=error.detail,
        hint=error.hint,
        context=error.context,
        sqlstate=error.sqlstate,
        position={"file": position.path, "line": position.line, "column": position.column} if position else None,
    )


def event_form(event: events.Event) -> Document:
    """Return the document of an event."""
    match event:
        case events.RunStarted():
            return document(
                "run_started",
                verb=event.verb,
                database=event.database,
                server_version=event.server_version,
                steps=[step_form(step) for step in event.plan.steps],
            )
        case events.LockHeld():
            return document(
                "lock_held",
                pid=event.pid,
                application=event.application,
                client=event.client,
                since=event.since.isoformat() if event.since else None,
                age_seconds=event.age.total_seconds() if event.age is not None else None,
                query=event.query,
            )
        case events.StepStarted():
            return document(
                "step_started",
                **_event_step_form(event.step),
                statements=event.statements,
                is_transactional=event.is_transactional,
            )
        case events.StepAdvanced():
            return document(
                "step_advanced",
                step=event.step.version,
                direction=event.step.direction.value,
                done=event.done,
                statements=event.statements,
            )
        case events.LockAwaited():
            return document(
                "lock_awaited",
                step=event.step.version,
                name=event.step.name,
                direction=event.step.direction.value,
                attempt=event.attempt,
                timeout_ms=_milliseconds(event.timeout) if event.timeout is not None else None,
                pause_ms=_milliseconds(event.pause),
                budget_ms=_milliseconds(event.budget),
                blockers=[_blocker_form(blocker) for blocker in event.blockers],
            )
        case events.StatementRunning():
            return document(
                "statement_running",
                step=event.step.version,
                name=event.step.name,
                direction=event.step.direction.value,
                sql=event.sql,
                passed_ms=_milliseconds(event.passed),
                phase=event.phase,
                fraction=round(event.fraction, 4) if event.fraction is not None else None,
                remaining_ms=_milliseconds(event.remaining) if event.remaining is not None else None,
                blockers=[_blocker_form(blocker) for blocker in event.blockers],
            )
        case events.BackfillAdvanced():
            return document(
                "backfill_advanced",
                step=event.step.version if event.step is not None else None,
                direction=event.step.direction.value if event.step is not None else None,
                table=event.table,
                walked=event.walked,
                total=event.total,
                changed=event.changed,
                batch=event.batch,
                rate=round(event.rate, 3),
                remaining_ms=_milliseconds(event.remaining) if event.remaining is not None else None,
                pause=event.pause,
            )
        case events.StatementSkipped():
            return document("statement_skipped", step=event.step.version, number=event.number, reason=event.reason)
        case events.StepFinished():
            return document("step_finished", **_event_step_form(event.step), duration_ms=_milliseconds(event.duration))
        case events.StepFailed():
            return document("step_failed", **_event_step_form(event.step), message=event.error.message)
        case events.ServerNotice():
            return document("notice", severity=event.severity, message=event.message)
        case events.Warned():
            return document("warning", message=event.message)
        case events.RunFinished():
            return document(
                "run_finished",
                finished=event.applied,
                remaining=event.remaining,
                duration_ms=_milliseconds(event.duration),
            )
        case _:
            assert_never(event)


def _blocker_form(blocker: events.Blocker) -> Document:
    return {
        "pid": blocker.pid,
        "application": blocker.application,
        "client": blocker.client,
        "state": blocker.state,
        "age_seconds": blocker.age.total_seconds() if blocker.age is not None else None,
        "query": blocker.query,
        "relation": blocker.relation,
        "mode": blocker.mode,
        "is_autovacuum": blocker.is_autovacuum,
        "is_wraparound": blocker.is_wraparound,
    }


def _milliseconds(duration: timedelta) -> float:
    return round(duration.total_seconds() * 1000, 3)

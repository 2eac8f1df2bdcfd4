"""Why a backfill cannot go on: the errors, each with how far it came."""

from __future__ import annotations

import re
from datetime import timedelta

from whimbrel import database
from whimbrel.backfills import transaction
from whimbrel.backfills.cursor import Progress
from whimbrel.backfills.transaction import Part, Refused, Terms
from whimbrel.backfills.work import Work
from whimbrel.durations import show_duration
from whimbrel.errors import LockNotObtained, StatementFailed, Unsettled, WhimbrelError
from whimbrel.statements.batch import Batch

_LEFT = re.compile(r'"whimbrel left (.*)"', re.DOTALL)


def changes_nothing(batch: Batch, progress: Progress) -> StatementFailed:
    """Return the error for a walk that has changed nothing while rows are left: the next would change none either."""
    return StatementFailed(
        f"the {batch.verb} finds rows of {progress.table} and does not change them",
        detail=f"Walk {progress.walk} through the table changed none. {_done(progress)}",
        hint="A trigger or a rule may keep it from changing them; look at them with its WHERE clause.",
    )


def gets_no_further(progress: Progress, refused: Refused, holder: str | None, seconds: float) -> LockNotObtained:
    """Return the error for a backfill that was refused again and again for as long as the budget says."""
    return LockNotObtained(
        f"backfill of {progress.table} got no further for {show_duration(timedelta(seconds=seconds))}:"
        f" {refused.diagnostic.message}",
        detail=f"{f'In the way may be {holder}. ' if holder else ''}{_done(progress)}",
        hint="Run the same command again: it goes on at the cursor. To wait longer: --lock-budget 1h",
        sqlstate=refused.diagnostic.sqlstate,
    )


def final(terms: Terms, work: Work, progress: Progress, refused: Refused) -> WhimbrelError:
    """Return the error for what is refused once and for all."""
    part, diagnostic = refused.part, refused.diagnostic
    if part is Part.SETTING and diagnostic.sqlstate == transaction.DIVISION_BY_ZERO:
        return database.swapped(terms.process)
    if part is Part.CURSOR and diagnostic.sqlstate == transaction.DIVISION_BY_ZERO:
        return Unsettled(
            f"another run has moved the backfill of {progress.table} on",
            detail="The batch under way was rolled back.",
            hint="Let it end. See: whimbrel backfill --status",
        )
    left = _LEFT.search(diagnostic.message)
    if part is Part.CHECK and diagnostic.sqlstate == transaction.INVALID_TEXT and left is not None:
        key = ", ".join(work.keyset.columns)
        return StatementFailed(
            f"the UPDATE leaves rows that its own WHERE clause finds, such as ({key}) = ({left[1]})",
            detail=f"It would never be done with them; the batch was rolled back. {_done(progress)}",
            hint="Let its WHERE clause find only what it can do, such as: WHERE new IS NULL AND old IS NOT NULL",
        )
    return terms.error(diagnostic, part is Part.STATEMENT)


def _done(progress: Progress) -> str:
    return f"{progress.walked:,} of about {progress.rows:,} rows are walked, {progress.changed:,} changed."

"""Events of what takes long → words for a person: how far it is, for whom it waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from whimbrel import events
from whimbrel.cli.documents import head
from whimbrel.cli.output import mark
from whimbrel.durations import show_duration
from whimbrel.execution.blockers import describe

_BAR = 24
# A running statement is told of every two seconds, who waits for a lock every five.
_BELIEF = 7.0


def living(
    event: events.LockAwaited | events.StatementRunning | events.BackfillAdvanced, since: float
) -> tuple[str, str]:
    """Return what a terminal shows behind the step's name, and the line under it; either may be empty.

    `since` is how long ago the event was told, in seconds: it is believed for as long as no news of it are due.
    """
    if since > _BELIEF + (event.pause.total_seconds() if isinstance(event, events.LockAwaited) else 0.0):
        return "", ""
    event = _aged(event, timedelta(seconds=since))
    match event:
        case events.LockAwaited():
            return _attempt(event), f"waiting for {_who(event.blockers)}" if event.blockers else ""
        case events.StatementRunning() if event.blockers:
            return event.phase or "", f"waiting for {_who(event.blockers)}"
        case events.StatementRunning():
            how_far = _how_far(event.fraction, event.remaining, with_bar=True)
            return "", f"{event.phase or head(event.sql.encode(), 200)}{f'  {how_far}' if how_far else ''}"
        case events.BackfillAdvanced():
            fraction = min(1.0, event.walked / event.total) if event.total > 0 else None
            how_far = _how_far(fraction, event.remaining, with_bar=True)
            return (
                f"pauses: {event.pause}" if event.pause else ""
            ), f"{_rows(event)}{f'  {how_far}' if how_far else ''}"


def telling(event: events.LockAwaited | events.StatementRunning | events.BackfillAdvanced, name: str) -> str:
    """Return the line that tells the same where nothing lives; `name` is the step's."""
    match event:
        case events.LockAwaited():
            who = f": {_who(event.blockers)}" if event.blockers else ""
            return f"  {name} {_attempt(event)}{who}"
        case events.StatementRunning():
            rest = ""
            if event.blockers:
                is_told = event.phase is not None and event.phase.startswith("waiting for ")
                rest = (
                    f", {event.phase}: {_who(event.blockers)}" if is_told else f", waiting for {_who(event.blockers)}"
                )
            elif event.phase:
                how_far = _how_far(event.fraction, event.remaining, with_bar=False)
                rest = f", {event.phase}{f': {how_far}' if how_far else ''}"
            elif event.sql:
                rest = f": {head(event.sql.encode())}"
            return f"  {name} has been running for {_about(event.passed)}{rest}"
        case events.BackfillAdvanced():
            left = f", about {_about(event.remaining)} left" if event.remaining is not None else ""
            pause = f"; pauses: {event.pause}" if event.pause else ""
            return f"  {name}: {_rows(event)}{left}{pause}"


def _aged(
    event: events.LockAwaited | events.StatementRunning | events.BackfillAdvanced, since: timedelta
) -> events.LockAwaited | events.StatementRunning | events.BackfillAdvanced:
    """Return an event as it would be told some time later, if nothing has changed."""
    if isinstance(event, events.LockAwaited):
        budget = max(event.budget - since, timedelta(0))
        return replace(event, budget=budget, blockers=_older(event.blockers, since))
    remaining = max(event.remaining - since, timedelta(0)) if event.remaining is not None else None
    if isinstance(event, events.StatementRunning):
        return replace(event, remaining=remaining, blockers=_older(event.blockers, since))
    return replace(event, remaining=remaining)


def _older(blockers: Sequence[events.Blocker], since: timedelta) -> tuple[events.Blocker, ...]:
    return tuple(replace(each, age=each.age + since if each.age is not None else None) for each in blockers)


def _attempt(event: events.LockAwaited) -> str:
    tables = list(dict.fromkeys(each.relation for each in event.blockers if each.relation))
    where = f" on {' and '.join(tables[:2])}" if tables else ""
    tried = f"attempt {event.attempt}, " if event.timeout is not None else ""
    return f"waits for a lock{where} ({tried}gives up in {_about(event.budget)})"


def _who(blockers: Sequence[events.Blocker]) -> str:
    # In front, since the end may be cut off.
    many = f"{len(blockers)} sessions, the first " if len(blockers) > 1 else ""
    return many + describe(blockers[0])


def _rows(event: events.BackfillAdvanced) -> str:
    of = f" of about {event.total:,}" if event.total > 0 else ""
    rate = f", {event.rate:,.0f} a second" if event.rate > 0 else ""
    return f"{event.table}: {event.walked:,}{of} rows, {event.changed:,} changed{rate}"


def _how_far(fraction: float | None, remaining: timedelta | None, *, with_bar: bool) -> str:
    if fraction is None:
        return ""
    # An estimate that has run out is none.
    left = f", about {_about(remaining)} left" if remaining is not None and remaining.total_seconds() >= 1 else ""
    return f"{_bar(fraction) + ' ' if with_bar else ''}{fraction:.0%}{left}"


def _bar(fraction: float) -> str:
    full, empty = ("━", "─") if mark("done") == "✓" else ("#", ".")
    done = int(fraction * _BAR)
    return full * done + empty * (_BAR - done)


def _about(duration: timedelta) -> str:
    seconds = round(duration.total_seconds())
    return f"{seconds} s" if seconds < 60 else show_duration(timedelta(seconds=seconds)).removesuffix(" 0 s")

"""Which points of a run are tried."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from tests.faults.bench import Prepared
from tests.faults.judgement import Fault
from tests.faults.messages import Message, last_statement
from tests.faults.proxy import Point, Side

# What makes the server act: Execute, Query, Sync, CopyData, CopyDone. Parse, Bind and Describe only prepare.
_ACTING = frozenset("EQSdc")
# What ends a statement or asks for something: CommandComplete, ReadyForQuery, CopyInResponse.
_ENDING = frozenset("CZG")
# A cut may come anywhere. A process that is killed, and a backend that is terminated, between two messages that only
# prepare leaves what a cut at that place leaves: they are tried where a message made the server act, or ended a
# statement; of those that only read or set something, one in five, drawn by the seed.
_READING = re.compile(r"\s*(?:select|set|reset|show)\b", re.IGNORECASE)
_READING_ENDS = re.compile(rb"(?:SELECT|SET|RESET|SHOW)\b")
_SHARE = 5
# Stopping a server takes seconds: only some of those.
_STOPS = 6


def choose_points(prepared: Prepared, fault: Fault, sample: int | None, seed: int) -> list[Point]:
    """Return the points to try, in order; at most `sample` of each kind, drawn by `seed`, where that is given.

    Waits are tried all, but with a sample they count like the others.
    """
    frontend, backend = prepared.seen.frontend, prepared.seen.backend
    front = range(len(frontend))
    back = range(len(backend))
    waits = [Point(Side.WAITING.value, number) for number in range(prepared.waits)]
    if fault is not Fault.CUT:
        dice = _dice(prepared, fault, seed)
        front = [count for count in front if count and _acts(frontend[:count]) and dice(_reads(frontend[:count]))]
        back = [
            count
            for count in back
            if count
            and backend[count - 1].kind in _ENDING
            and dice(backend[count - 1].kind == "C" and _READING_ENDS.match(backend[count - 1].data[5:]) is not None)
        ]
    if fault in (Fault.TERMINATE, Fault.STOP):
        # Before it there is no process to terminate, or no connection yet to be lost.
        begin = next(count for count, message in enumerate(backend) if message.kind == "Z")
        front = [count for count in front if count > 1]
        back = [count for count in back if count > begin]
    points = [Point(Side.FRONTEND.value, count) for count in front]
    points += [Point(Side.BACKEND.value, count) for count in back]
    if fault is Fault.STOP:
        points = _drawn(points, sample if sample is not None else _STOPS, _random(prepared, fault, seed))
        return points + (waits if sample is None else [])
    if sample is None:
        return points + waits
    return _drawn(points + waits, sample, _random(prepared, fault, seed))


def _acts(messages: Sequence[Message]) -> bool:
    return messages[-1].kind in _ACTING


def _reads(messages: Sequence[Message]) -> bool:
    """Whether the last message executes a statement that changes nothing."""
    return messages[-1].kind in "EQ" and _READING.match(last_statement(messages)) is not None


def _dice(prepared: Prepared, fault: Fault, seed: int) -> Callable[[bool], bool]:
    dice = _random(prepared, fault, seed)
    return lambda is_reading: not is_reading or dice.randrange(_SHARE) == 0


def _random(prepared: Prepared, fault: Fault, seed: int) -> random.Random:
    return random.Random(f"{seed} {prepared.scenario.name} {fault.value}")  # noqa: S311


def _drawn(points: Sequence[Point], number: int, dice: random.Random) -> list[Point]:
    return sorted(dice.sample(points, min(number, len(points))))

"""Transactions of the application → how long it stood still. Pure, but for reading and writing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# What people notice: transactions that take longer are counted, in seconds.
SLOW = 0.25


@dataclass(frozen=True, slots=True)
class Transaction:
    """`due` and `ended` are seconds of the monotonic clock, which all processes share. `error` is a SQLSTATE."""

    due: float
    ended: float
    kind: str
    error: str = ""

    @property
    def latency(self) -> float:
        """From when it was due, whether or not the client was free then."""
        return self.ended - self.due


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, in seconds of the monotonic clock."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Stretch:
    """What the application went through in a window. `stall` is its longest latency, `slow` how many were above SLOW.

    `errors` counts the failed transactions by SQLSTATE.
    """

    transactions: int
    stall: float
    slow: int
    errors: dict[str, int]

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


def look(transactions: Iterable[Transaction], window: Window) -> Stretch:
    """Return what went on in a window: also a transaction of which only the beginning or the end is in it counts."""
    seen = [each for each in transactions if each.due <= window.end and each.ended >= window.begin]
    return Stretch(
        len(seen),
        max((each.latency for each in seen), default=0.0),
        sum(each.latency > SLOW for each in seen),
        dict(Counter(each.error for each in seen if each.error)),
    )


def caused(during: Stretch, before: Stretch) -> float:
    """Return the seconds by which the longest stall exceeds that of the quiet time before."""
    return max(0.0, during.stall - before.stall)


def write(transactions: Sequence[Transaction], file: Path) -> None:
    """Write transactions, one a line: due, ended, kind, error."""
    lines = [f"{each.due!r} {each.ended!r} {each.kind} {each.error}\n" for each in transactions]
    file.write_text("".join(lines), encoding="ascii")


def read(file: Path) -> list[Transaction]:
    """Return what `write` wrote."""
    found: list[Transaction] = []
    for line in file.read_text(encoding="ascii").splitlines():
        due, ended, kind, error = line.split(" ")
        found.append(Transaction(float(due), float(ended), kind, error))
    return found

"""Whether a disturbed run and the next one ended as they should: what was told, and what is in the database."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from tests.faults.bench import Bench, BenchError, Prepared, wait_for
from tests.faults.proxy import Point
from tests.faults.starter import Done
from tests.faults.state import (
    HISTORY,
    Connection,
    State,
    count_sessions,
    differences,
    find_leftovers,
    read_effects,
    read_state,
)

NEEDS_RESOLVE = 4


class Fault(Enum):
    """What strikes."""

    CUT = "cut"
    KILL = "kill"
    TERMINATE = "terminate"
    STOP = "stop"
    DISK = "disk"


# What the first run may end with. docs/reference/errors.md: 8 for a lost connection, 1 for a statement that failed; 0
# where everything was committed and only an answer was lost.
_CODES = {
    Fault.CUT: {0, 8},
    Fault.KILL: {-9},
    Fault.TERMINATE: {0, 8},
    Fault.STOP: {0, 8},
    Fault.DISK: {1},
}


class Verdict(Enum):
    """How a trial ended. Only the first is good."""

    CONVERGED = "converged"
    HUMAN = "needed a human"
    DIVERGED = "did not converge"
    # The database converged, but the first run did not end as the documentation says.
    MISTOLD = "told wrongly"
    # The fault did not strike where it should: the trial shows nothing.
    MISSED = "missed"


@dataclass(frozen=True)
class Outcome:
    """What became of a trial. `at` says in words where it struck."""

    scenario: str
    fault: str
    side: str
    count: int
    verdict: str
    at: str = ""
    first: int | None = None
    second: int | None = None
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list[str])

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


class Judge:
    """Runs the command again and looks. `first` and `second` are how the two runs ended."""

    def __init__(self, bench: Bench, prepared: Prepared, fault: Fault) -> None:
        self.bench = bench
        self.prepared = prepared
        self.scenario = prepared.scenario
        self.fault = fault
        self.problems: list[str] = []
        self.first: Done | None = None
        self.second: Done | None = None

    def run_again(self, dbname: str, *, look: bool) -> Done:
        """Run what a person runs next, up to the first command that fails.

        At once, while the lost session may still be at work; or, to `look`, when it is gone.
        """
        if look and self.scenario.is_transactional:
            self._look(dbname)
        done = self._run_all(dbname, self.scenario.again)
        hinted = self.scenario.hinted
        if hinted and done.code == NEEDS_RESOLVE and f"whimbrel {hinted[0][0]}" in done.err:
            done = self._run_all(dbname, hinted)
        return done

    def _run_all(self, dbname: str, commands: tuple[tuple[str, ...], ...]) -> Done:
        done = Done(0, "", "")
        for command in commands:
            done = self.bench.whimbrel(command, self.bench.dsn(dbname), self.bench.migrations(self.scenario))
            if done.code != 0:
                break
        return done

    def _look(self, dbname: str) -> None:
        """Find half a migration, between the two runs."""
        with self.bench.connection(dbname) as connection:
            wait_for(lambda: count_sessions(connection) == 0, "the lost session to end")
            self._compare_log(connection, "between the runs, ")
            self.problems += [f"between the runs, {each}" for each in find_leftovers(connection)]
            state = read_state(connection, self.scenario.setting)
        allowed = self._allowed()
        if state not in allowed:
            told = min((differences(state, each) for each in allowed), key=len)
            self.problems.append(f"between the runs, half a migration: {told}")

    def _allowed(self) -> list[State]:
        allowed = list(self.prepared.consistent)
        if not self.scenario.before:
            # The history tables may be there already, without a row.
            allowed.append(
                {
                    part: [row for row in rows if str(row[0]).startswith(HISTORY)]
                    for part, rows in self.prepared.after.items()
                }
            )
        return allowed

    def judge(self, dbname: str) -> Verdict:
        """Compare what is there with what an undisturbed run leaves."""
        assert self.first is not None
        assert self.second is not None
        if self.second.code == NEEDS_RESOLVE:
            self.problems.append(str(self.second))
            return Verdict.HUMAN
        if self.second.code != 0:
            self.problems.append(f"the second run: {self.second}")
        with self.bench.connection(dbname) as connection:
            # Those that remain show in the locks.
            with suppress(BenchError):
                wait_for(lambda: count_sessions(connection) == 0, "all sessions to end", 10)
            self._compare_log(connection, "")
            self.problems += find_leftovers(connection)
            self.problems += differences(read_state(connection, self.scenario.setting), self.prepared.after)
        if self.problems:
            return Verdict.DIVERGED
        if self.first.code not in _CODES[self.fault]:
            self.problems.append(f"the first run: {self.first}")
            return Verdict.MISTOLD
        return Verdict.CONVERGED

    def _compare_log(self, connection: Connection, when: str) -> None:
        effects, logged = read_effects(connection)
        if effects != logged:
            self.problems.append(f"{when}these scripts ran: {effects}; the log has {logged}")

    def outcome(self, point: Point, verdict: Verdict, at: str, begun: float) -> Outcome:
        """Return the outcome of a trial that began at time.monotonic() `begun`."""
        return Outcome(
            self.scenario.name,
            self.fault.value,
            point.side,
            point.count,
            verdict.value,
            at,
            self.first.code if self.first else None,
            self.second.code if self.second else None,
            round(time.monotonic() - begun, 2),
            self.problems,
        )

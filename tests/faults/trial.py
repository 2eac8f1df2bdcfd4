"""One trial: one fault at one point of one run, the same command again, and what is there then."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress

from psycopg import sql

from tests.faults.bench import PATIENCE, Bench, BenchError, Prepared, socket_folder, wait_for
from tests.faults.holds import Holds
from tests.faults.judgement import Fault, Judge, Outcome, Verdict
from tests.faults.messages import last_statement
from tests.faults.proxy import Blow, Point, Proxy, Side
from tests.faults.starter import Process

# How long the other sessions go on holding what they hold when the fault has struck, in seconds.
HELD_ON = 1.5
_KILLED = -9


def run_trial(bench: Bench, prepared: Prepared, fault: Fault, point: Point) -> Outcome:
    """Run one trial in a database of its own. A failure of the harness itself counts as missed: it must not pass."""
    begun = time.monotonic()
    trial = _Trial(bench, prepared, fault, point)
    try:
        verdict = trial.run()
    except Exception as error:  # noqa: BLE001  (one trial of thousands: it is shown with the others)
        verdict = Verdict.MISSED
        trial.judge.problems.append(f"{type(error).__name__}: {error}")
    return trial.judge.outcome(point, verdict, describe(prepared, point), begun)


def describe(prepared: Prepared, point: Point) -> str:
    """Say in words what was passed on last, and of which statement."""
    if point.side == Side.WAITING.value:
        return f"while it waits for: {prepared.scenario.holds[point.count]}"
    if point.count == 0:
        return "before the first message"
    messages = prepared.seen.frontend if point.side == Side.FRONTEND.value else prepared.seen.backend
    if point.count > len(messages):
        return "behind the end"
    last = messages[point.count - 1]
    if point.side == Side.FRONTEND.value:
        return f"after {last.kind} {' '.join(last_statement(messages[: point.count]).split())[:70]}"
    return f"after {last.kind} {last.data[5:-1].decode(errors='replace') if last.kind == 'C' else ''}".rstrip()


class _Trial:
    def __init__(self, bench: Bench, prepared: Prepared, fault: Fault, point: Point) -> None:
        self.bench = bench
        self.prepared = prepared
        self.scenario = prepared.scenario
        self.fault = fault
        self.point = point
        self.is_waiting = point.side == Side.WAITING.value
        self.judge = Judge(bench, prepared, fault)
        self.restarted = threading.Event()
        self.process: Process | None = None

    def run(self) -> Verdict:
        with ExitStack() as stack:
            dbname = stack.enter_context(self.bench.database(self.prepared.template))
            stack.enter_context(self.bench.alone(self.scenario))
            if self.fault is Fault.STOP:
                self.bench.checkpoint()
            self._disturb(dbname)
            if self.judge.second is None:
                # Every second point is looked at between the runs; there the second run is not at once.
                self.judge.second = self.judge.run_again(dbname, look=self.point.count % 2 == 0)
            return self.judge.judge(dbname)

    def _disturb(self, dbname: str) -> None:
        """Run the command up to the strike and to its end; in a wait, also the second one, while others still hold."""
        started = threading.Event()

        def strike(pid: int | None) -> None:
            started.wait()
            self._strike(pid)

        blow = {Fault.CUT: Blow.CUT, Fault.KILL: Blow.KILL}.get(self.fault, Blow.SERVER)
        with ExitStack() as stack:
            place = stack.enter_context(socket_folder())
            proxy = stack.enter_context(Proxy(place, self.bench.dsn(dbname), self.point, blow, strike))
            holds = stack.enter_context(Holds(self.bench, dbname, self.scenario.holds if self.is_waiting else ()))
            process = self.bench.start(self.scenario.command, proxy.dsn, self.bench.migrations(self.scenario))
            self.process = process
            started.set()
            release: threading.Timer | None = None
            if self.is_waiting:
                if not holds.await_phase(self.point.count, process.is_over):
                    raise BenchError(f"it ended before it waited: {process.finish(PATIENCE)}")
                proxy.strike()
                release = threading.Timer(HELD_ON, holds.release)
                release.start()
            self.judge.first = process.finish(PATIENCE)
            if self.fault is Fault.STOP and proxy.seen.struck_at is not None and not self.restarted.wait(PATIENCE):
                raise BenchError("the server did not come back")
            if release is not None:
                self.judge.second = self.judge.run_again(dbname, look=False)
                release.join()
            self._check_strike(proxy)

    def _strike(self, pid: int | None) -> None:
        assert self.process is not None
        if self.fault is Fault.KILL:
            self.process.kill()
        elif self.fault is Fault.TERMINATE:
            assert pid is not None
            self._terminate(pid)
        elif self.fault is Fault.STOP:
            self.bench.crash()
            threading.Thread(target=self._restart, daemon=True).start()

    def _terminate(self, pid: int) -> None:
        terminate = sql.SQL("SELECT pg_terminate_backend(%s)")
        look = sql.SQL("SELECT FROM pg_stat_activity WHERE pid = %s")
        self.bench.administer(terminate, [pid])
        wait_for(lambda: not self.bench.administer(look, [pid]), "the backend to end")

    def _restart(self) -> None:
        with suppress(Exception):
            self.bench.restart()
            self.restarted.set()

    def _check_strike(self, proxy: Proxy) -> None:
        first = self.judge.first
        assert first is not None
        at = proxy.seen.struck_at
        if at is None:
            raise BenchError(f"it never came to {self.point}: {first}")
        delivered = {Side.FRONTEND.value: at[0], Side.BACKEND.value: at[1]}.get(self.point.side)
        if delivered is not None and delivered != self.point.count:
            raise BenchError(f"struck after {delivered} messages instead of {self.point}")
        if self.fault is Fault.KILL and first.code != _KILLED:
            raise BenchError(f"it was not killed: {first}")

"""The application of traffic.py as a process: started, told to deploy, stopped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measurement import CommandFailed
from benchmarks.nonstop import stalls
from benchmarks.nonstop.stalls import Transaction

_PATIENCE = 120.0
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Application:
    """The process and where its transactions will be."""

    process: subprocess.Popen[str]
    file: Path

    def deploy(self, seconds: float) -> None:
        """Replace the clients one after the other, and return when all are new."""
        self._say(f"deploy {seconds}")
        self._expect("deployed")

    def stop(self) -> list[Transaction]:
        """Stop it, and return all its transactions."""
        self._say("stop")
        try:
            if self.process.wait(_PATIENCE) != 0:
                raise CommandFailed("the application failed")
        except subprocess.TimeoutExpired:
            raise CommandFailed("the application does not come to an end") from None
        return stalls.read(self.file)

    def await_ready(self) -> None:
        self._expect("ready")

    def _say(self, command: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{command}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise CommandFailed("the application failed") from None

    def _expect(self, answer: str) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != answer:
            raise CommandFailed("the application failed")


@contextmanager
def started(conninfo: str, clients: int, rate: float, file: Path) -> Generator[Application]:
    """Start the application and wait until it works; it is killed at the end unless it was stopped."""
    words = [sys.executable, "-m", "benchmarks.nonstop.traffic", conninfo, str(clients), str(rate), str(file)]
    with subprocess.Popen(words, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            application = Application(process, file)
            application.await_ready()
            yield application
        finally:
            if process.poll() is None:
                process.kill()

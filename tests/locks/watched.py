"""A run of whimbrel whose events are read as they come, so that a test can act on what was said."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.programs import Project

Document = dict[str, Any]
TIMEOUT = 60.0


@dataclass(frozen=True)
class Ended:
    """What a run left: its exit code, every document that it wrote in their order, and standard error."""

    code: int
    documents: tuple[Document, ...]
    err: str

    def of(self, kind: str) -> list[Document]:
        """Return the documents of a kind."""
        return [each for each in self.documents if each["whimbrel"] == kind]

    @property
    def kinds(self) -> list[str]:
        return [str(each["whimbrel"]) for each in self.documents]

    @property
    def error(self) -> Document:
        """Return the one error."""
        (found,) = self.of("error")
        return found

    @property
    def steps(self) -> list[int]:
        """Return the versions of the steps that finished, in order."""
        return [int(each["step"]) for each in self.of("step_finished")]


@dataclass
class Run:
    """A run under way."""

    process: subprocess.Popen[str]
    documents: list[Document] = field(default_factory=list[Document])
    _lines: queue.Queue[str | None] = field(default_factory=queue.Queue[str | None])
    _errors: list[str] = field(default_factory=list[str])
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def __post_init__(self) -> None:
        self._threads += [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for thread in self._threads:
            thread.start()

    def next(self, kind: str, where: Callable[[Document], bool] = lambda _: True, timeout: float = TIMEOUT) -> Document:
        """Wait for the next document of a kind that `where` takes, and return it."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {kind} came: {self.documents}") from None
            assert line is not None, f"the run ended without {kind}: {self.documents} {''.join(self._errors)}"
            document = self._take(line)
            if document["whimbrel"] == kind and where(document):
                return document

    def signal(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def finish(self, timeout: float = TIMEOUT) -> Ended:
        """Wait for the end and return everything that was said."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"still running after {timeout} s: {self.documents}") from None
            if line is None:
                break
            self._take(line)
        code = self.process.wait(max(1.0, deadline - time.monotonic()))
        self.close()
        return Ended(code, tuple(self.documents), "".join(self._errors))

    def close(self) -> None:
        """Kill what still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _take(self, line: str) -> Document:
        document: Document = json.loads(line)
        self.documents.append(document)
        return document

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)


@contextmanager
def watching(project: Project, *arguments: str, variables: Mapping[str, str] | None = None) -> Generator[Run]:
    """Start whimbrel with --json in a project; kill it at the end if it still runs."""
    run = Run(project.start(*arguments, "--json", variables=variables))
    try:
        yield run
    finally:
        if run.process.stdout is not None and not run.process.stdout.closed:
            run.close()

"""A terminal with whimbrel in it, looked at and typed at as a person would."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from .programs import COMMAND, TIMEOUT, Project

# Makes the terminal the process's own, so that Ctrl-C is a signal, and becomes the command.
_LOGIN = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """What was written to a terminal so far, and its keyboard."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self.descriptor = descriptor
        self.text = ""

    def type(self, keys: str) -> None:
        """Type some keys."""
        os.write(self.descriptor, keys.encode())

    def wait_for(self, text: str, timeout: float = TIMEOUT) -> None:
        """Read until a text has been written."""
        deadline = time.monotonic() + timeout
        while text not in self.text:
            assert time.monotonic() < deadline, f"no {text!r} in {self.text!r}"
            if not self._read():
                assert text in self.text, f"no {text!r} in {self.text!r}"

    def end(self) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + TIMEOUT
        while self._read():
            assert time.monotonic() < deadline, self.text
        return self.process.wait(TIMEOUT)

    @property
    def plain(self) -> str:
        """What was written, without colours and cursor movements, each line as it ended."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", self.text)

    def _read(self) -> bool:
        if not select.select([self.descriptor], [], [], 0.2)[0]:
            return True
        try:
            piece = os.read(self.descriptor, 65536)
        except OSError:
            # Linux's way to say that nobody has the other end open any more.
            return False
        self.text += piece.decode(errors="replace")
        return bool(piece)


@contextmanager
def terminal(project: Project, *arguments: str, variables: Mapping[str, str] | None = None) -> Generator[Terminal]:
    """Run whimbrel in a terminal; it is killed at the end if it still runs."""
    mine, theirs = pty.openpty()
    environment = project.environment({"TERM": "xterm-256color", **(variables or {})})
    process = subprocess.Popen(
        [sys.executable, "-c", _LOGIN, *COMMAND, *arguments],
        cwd=project.root,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        yield Terminal(process, mine)
    finally:
        process.kill()
        process.wait()
        os.close(mine)

"""The command line, imported and ready, that begins when a gate opens: `python gate.py GATE READY ARGUMENTS`.

GATE is a pipe's reading end, READY another's writing end. Without them the interpreter's start would spread the
processes of a crowd over seconds.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

# What `up` would import on its way.
PARTS = ("cli.commands.up", "cli.commands._run", "cli.render", "execution.operations", "statements.parser")


def main() -> None:
    """Wait until the other end of the pipe is closed everywhere, then run the command line."""
    for part in PARTS:
        import_module(f"whimbrel.{part}")
    gate = int(sys.argv[1])
    # That nobody holds the other pipe's writing end any more says that all are ready.
    os.close(int(sys.argv[2]))
    os.read(gate, 1)
    sys.argv = ["whimbrel", *sys.argv[3:]]
    from whimbrel.cli import main as run

    run()


if __name__ == "__main__":
    main()

"""A peer: what the benchmarks know of another tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measurement import Command
from benchmarks.peers.installation import Installation


@dataclass(frozen=True, slots=True)
class Peer:
    """Another tool, told to apply each migration in a transaction of its own.

    `lay_out` writes the migrations of given files, which are plain SQL, into an empty folder, where the commands then
    run. Commands and `variables` may hold `$host`, `$port`, `$dbname`, `$user` and `$psql`.

    `is_slow` says that it is measured less often than others. `takes_large` says that it applies a file of 50 MB, or of
    20,000 functions, in a time worth waiting for. `needs_tcp` says that it knows no Unix socket.
    """

    name: str
    version: str
    installation: Installation
    lay_out: Callable[[Path, Sequence[Path]], None]
    up: Command
    status: Command
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    is_slow: bool = False
    takes_large: bool = True
    needs_tcp: bool = False


def write(path: Path, text: str) -> None:
    """Write a file, and the folders that lead to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")

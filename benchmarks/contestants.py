"""Who takes part: whimbrel, the floor, psql and other tools, each with its commands for one workload."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from benchmarks.measurement import Command
from benchmarks.peers import Peer
from benchmarks.workload import FLOOR_STATEMENTS, PSQL_SCRIPT, Workload


class Role(StrEnum):
    """What a contestant is, for reports."""

    WHIMBREL = "whimbrel"
    FLOOR = "floor"
    PSQL = "psql"
    PEER = "peer"
    PYTHON = "python"


@dataclass(frozen=True, slots=True)
class Contestant:
    """Commands that run one after the other in `folder`. `shown` is how a person would write them.

    `preparation` applies everything, for cases that begin so; those of equal preparation share a database.
    `limit` is how often it is measured at most.
    """

    name: str
    role: Role
    commands: tuple[Command, ...]
    shown: str
    folder: Path
    preparation: tuple[Command, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    needs_tcp: bool = False
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How often others are measured at most; None is as often as whimbrel."""

    peers: int | None = None
    slow: int | None = 3
    psql: int | None = None
    each: int | None = 2


@dataclass(frozen=True, slots=True)
class Field:
    """All who can take part on this machine."""

    psql: Path
    floor: Path | None
    peers: Sequence[Peer]

    def start(self, workload: Workload) -> tuple[Contestant, ...]:
        """Return the start of Python with what whimbrel cannot do without."""
        nothing = (sys.executable, "-c", "pass")
        return (_start(workload), Contestant("python", Role.PYTHON, (nothing,), "python -c pass", workload.folder))

    def version(self, workload: Workload) -> tuple[Contestant, ...]:
        """Return what tells its version."""
        psql = (str(self.psql), "--version")
        return (
            _whimbrel(workload, "--version"),
            Contestant("psql", Role.PSQL, (psql,), "psql --version", workload.folder),
        )

    def noop(self, workload: Workload, limits: Limits | None, *, is_far: bool) -> tuple[Contestant, ...]:
        """Return those that find nothing to do; peers only with limits for them.

        Beside them stands the start of Python, which does not connect: of no interest where the network is slow.
        """
        return (
            _whimbrel(workload, "up"),
            *_starts(workload, is_far),
            self._select(workload),
            *self._peers(workload, limits),
        )

    def status(self, workload: Workload, limits: Limits | None, *, is_far: bool) -> tuple[Contestant, ...]:
        """Return those that list what is applied, as `noop` does."""
        return (
            _whimbrel(workload, "status"),
            *_starts(workload, is_far),
            self._select(workload),
            *self._peers(workload, limits, is_status=True),
        )

    def up(self, workload: Workload, limits: Limits) -> tuple[Contestant, ...]:
        """Return those that apply small migrations."""
        psql = (str(self.psql), "-q", "-v", "ON_ERROR_STOP=1")
        script = (*psql, "-f", PSQL_SCRIPT)
        shown = r"psql -q -f -: BEGIN; \i FILE COMMIT; …"
        each = tuple((*psql, "-1", "-f", str(file.relative_to(workload.folder))) for file in workload.files)
        contestants = [
            _whimbrel(workload, "up"),
            *self._floor(workload),
            Contestant("psql, one process", Role.PSQL, (script,), shown, workload.folder, limit=limits.psql),
        ]
        if limits.each != 0:
            name, shown = "psql, a process per file", "psql -q -1 -f FILE, once per file"
            contestants.append(Contestant(name, Role.PSQL, each, shown, workload.folder, limit=limits.each))
        return (*contestants, *self._peers(workload, limits))

    def file(self, workload: Workload, limits: Limits | None) -> tuple[Contestant, ...]:
        """Return those that apply one large file; the floor and peers only with limits for them."""
        file = str(workload.files[0].relative_to(workload.folder))
        psql = (str(self.psql), "-q", "-v", "ON_ERROR_STOP=1", "-1", "-f", file)
        limit = limits.psql if limits else None
        return (
            _whimbrel(workload, "up"),
            *(self._floor(workload) if limits else ()),
            Contestant("psql", Role.PSQL, (psql,), "psql -q -1 -f FILE", workload.folder, limit=limit),
            *self._peers(workload, limits, is_large=True),
        )

    def _floor(self, workload: Workload) -> tuple[Contestant, ...]:
        if self.floor is None:
            return ()
        command = (str(self.floor), FLOOR_STATEMENTS)
        return (Contestant("floor", Role.FLOOR, (command,), "benchmarks/floor.c", workload.folder),)

    def _select(self, workload: Workload) -> Contestant:
        query = "SELECT version FROM schema_migrations"
        command = (str(self.psql), "-c", query)
        preparation = (whimbrel("up"),)
        return Contestant("psql", Role.PSQL, (command,), f'psql -c "{query}"', workload.folder, preparation)

    def _peers(
        self, workload: Workload, limits: Limits | None, *, is_status: bool = False, is_large: bool = False
    ) -> list[Contestant]:
        contestants: list[Contestant] = []
        for peer in self.peers if limits else ():
            if is_large and not peer.takes_large:
                continue
            assert limits is not None
            words = peer.status if is_status else peer.up
            folder = workload.folder / "peers" / peer.name
            folder.mkdir(parents=True)
            peer.lay_out(folder, workload.files)
            contestants.append(
                Contestant(
                    name=peer.name,
                    role=Role.PEER,
                    commands=(words,),
                    shown=" ".join((Path(words[0]).name, *words[1:])),
                    folder=folder,
                    preparation=(peer.up,),
                    variables=peer.variables,
                    needs_tcp=peer.needs_tcp,
                    limit=limits.slow if peer.is_slow else limits.peers,
                )
            )
        return contestants


def whimbrel(*arguments: str) -> Command:
    """Return the command of this environment's whimbrel: the script that pip installed, or else the module."""
    script = Path(sys.executable).with_name("whimbrel")
    start = (str(script),) if script.exists() else (sys.executable, "-m", "whimbrel")
    return (*start, *arguments)


def _starts(workload: Workload, is_far: bool) -> tuple[Contestant, ...]:
    return () if is_far else (_start(workload),)


def _start(workload: Workload) -> Contestant:
    imports = "import psycopg, click"
    command = (sys.executable, "-c", imports)
    shown = f'python -c "{imports}"'
    # It looks at no database; whimbrel's will do.
    return Contestant(
        "python, psycopg, click", Role.PYTHON, (command,), shown, workload.folder, preparation=(whimbrel("up"),)
    )


def _whimbrel(workload: Workload, *arguments: str) -> Contestant:
    shown = " ".join(("whimbrel", *arguments))
    return Contestant(
        "whimbrel", Role.WHIMBREL, (whimbrel(*arguments),), shown, workload.folder, preparation=(whimbrel("up"),)
    )

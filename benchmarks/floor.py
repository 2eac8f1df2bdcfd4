"""The floor, floor.c: how it is compiled, and the form in which it takes statements."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

# A record without a statement.
END_OF_MIGRATION = struct.pack("<I", 0)
_SOURCE = Path(__file__).with_suffix(".c")


class NoFloor(Exception):
    """The floor cannot be compiled here; the message says what is missing."""


def compile_floor(folder: Path, programs: Path) -> Path:
    """Compile the floor into a folder, with the libpq beside the server's programs or else with the machine's own."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoFloor("there is no C compiler")
    program = folder / "floor"
    problem = "the headers of libpq were not found"
    for headers, libraries in _find_libpq(programs):
        command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(_SOURCE), f"-I{headers}"]
        command += [f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lpq"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return program
        problem = done.stderr.strip()
    raise NoFloor(problem)


def record(statement: bytes) -> bytes:
    """Return a statement as floor.c reads it: its length, 32 bits and little-endian, and its text."""
    return struct.pack("<I", len(statement)) + statement


def migration_records(statements: Iterable[bytes]) -> bytes:
    """Return the records of one migration."""
    return b"".join(map(record, statements)) + END_OF_MIGRATION


def _find_libpq(programs: Path) -> Iterator[tuple[Path, Path]]:
    """Yield where headers and libraries are."""
    places = [(programs.parent / "include", programs.parent / "lib")]
    if configuration := shutil.which("pg_config"):
        answer = subprocess.run(
            [configuration, "--includedir", "--libdir"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        places.append((Path(answer[0]), Path(answer[1])))
    for headers, libraries in places:
        if (headers / "libpq-fe.h").is_file():
            yield headers, libraries

"""A directory → Migrations in order: file names, duplicates, pairs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from whimbrel.errors import SourceError
from whimbrel.migration import Direction, Migration
from whimbrel.statements import Script, read_script, script_from

_NAME = re.compile(r"([0-9]+)_(.+)\.(up|down)\.sql")
MAX_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Source:
    """The migrations of a directory in the order of their versions; `ignored` names the .sql files that are none."""

    path: str
    migrations: tuple[Migration, ...]
    ignored: tuple[str, ...] = ()


def read_migrations(directory: Path | Traversable) -> Source:
    """Read a directory, or the resources of a package (`importlib.resources.files`).

    Raises SourceError where the directory does not exist or cannot be read, for two files of one version and direction,
    for a down without an up or of another name, and for a version beyond bigint. A directory without migrations is an
    empty Source.
    """
    shown = shown_path(directory)
    found: dict[tuple[int, Direction], tuple[str, Script]] = {}
    ignored: list[str] = []
    for entry in _entries(directory, shown):
        match = _NAME.fullmatch(entry.name)
        if match is not None:
            key = (_version(match, shown), Direction(match.group(3)))
            if key in found:
                first, second = sorted((found[key][0], entry.name))
                raise SourceError(
                    f"{shown}: two files for version {key[0]} {key[1].value}: {first} and {second}",
                    hint="Give the newer one a higher number.",
                )
            found[key] = (entry.name, _read(entry, f"{shown}/{entry.name}"))
        elif entry.name.lower().endswith(".sql"):
            ignored.append(entry.name)
    migrations = tuple(_pair(found, version, shown) for version in sorted({version for version, _ in found}))
    return Source(shown, migrations, tuple(ignored))


def read_seeds(directory: Path) -> list[tuple[str, Script]]:
    """Return the names, without `.sql`, and the texts of a directory's seed files, in the order of their names.

    Raises SourceError where there are none.
    """
    shown = shown_path(directory)
    try:
        files = sorted(path for path in directory.iterdir() if path.suffix == ".sql")
    except FileNotFoundError:
        raise SourceError(
            f"directory {shown} does not exist", hint="Give the directory of the seed files: --seeds DIR"
        ) from None
    except OSError as error:
        raise SourceError(f"directory {shown}: {(error.strerror or str(error)).lower()}") from None
    if not files:
        raise SourceError(f"directory {shown} holds no seed files", hint="Seed files are those that end in .sql.")
    return [(path.stem, read_script(path, f"{shown}/{path.name}")) for path in files]


def _version(match: re.Match[str], shown: str) -> int:
    version = int(match.group(1))
    if version > MAX_VERSION:
        raise SourceError(
            f"{shown}/{match.group()}: version {match.group(1)} is larger than bigint allows",
            hint=f"The largest version is {MAX_VERSION}.",
        )
    return version


def _pair(found: Mapping[tuple[int, Direction], tuple[str, Script]], version: int, shown: str) -> Migration:
    up, down = found.get((version, Direction.UP)), found.get((version, Direction.DOWN))
    if up is None:
        assert down is not None
        raise SourceError(
            f"{shown}/{down[0]}: down file without its up file",
            hint=f"Restore {down[0].removesuffix('.down.sql')}.up.sql, or remove this file.",
        )
    name = _NAME.sub(r"\2", up[0])
    if down is not None and _NAME.sub(r"\2", down[0]) != name:
        raise SourceError(
            f"{shown}: {down[0]} does not belong to {up[0]}", hint="Give both files of a version the same name."
        )
    return Migration(version, name, up[1], down[1] if down is not None else None)


def next_version(migrations: Iterable[Migration]) -> tuple[int, int]:
    """Return the next version and the number of digits that the directory's file names have."""
    versions = [(migration.version, migration.up.path) for migration in migrations]
    if not versions:
        return 1, 6
    version, path = max(versions)
    match = _NAME.fullmatch(path.rsplit("/", 1)[-1])
    return version + 1, len(match.group(1)) if match else 6


def shown_path(directory: Path | Traversable) -> str:
    """Return a directory as a person in the current folder would write it, where that is shorter."""
    if not isinstance(directory, Path):
        return str(directory)
    try:
        relative = os.path.relpath(directory)
    except (OSError, ValueError):
        return str(directory)
    return relative if not relative.startswith("../../..") else str(directory)


def _entries(directory: Path | Traversable, shown: str) -> list[Traversable]:
    try:
        entries = sorted(directory.iterdir(), key=lambda entry: entry.name)
    except FileNotFoundError:
        raise SourceError(
            f"directory {shown} does not exist", hint="Give the directory of the migrations: --migrations DIR"
        ) from None
    except NotADirectoryError:
        raise SourceError(f"{shown} is not a directory", hint="Give its directory: --migrations DIR") from None
    except OSError as error:
        raise SourceError(f"directory {shown}: {(error.strerror or str(error)).lower()}") from None
    for entry in entries:
        # Python keeps bytes that are not UTF-8 as lone surrogates, which nothing can write.
        readable = entry.name.encode(errors="replace").decode()
        if readable != entry.name:
            raise SourceError(f"{shown}/{readable}: file name is not valid UTF-8", hint="Rename the file.")
    return entries


def _read(entry: Traversable, shown: str) -> Script:
    if isinstance(entry, Path):
        return read_script(entry, shown)
    try:
        return script_from(entry.read_bytes(), shown)
    except OSError as error:
        raise SourceError(f"{shown}: {(error.strerror or str(error)).lower()}") from None

"""A directory → Migrations in order: file names, duplicates, pairs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
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
    shown = _shown(directory)
    found: dict[tuple[int, Direction], tuple[str, Script]] = {}
    names: dict[int, str] = {}
    ignored: list[str] = []
    for entry in _entries(directory, shown):
        match = _NAME.fullmatch(entry.name)
        if match is None:
            if entry.name.lower().endswith(".sql"):
                ignored.append(entry.name)
            continue
        version = int(match.group(1))
        if version > MAX_VERSION:
            raise SourceError(
                f"{shown}/{entry.name}: version {match.group(1)} is larger than bigint allows",
                hint=f"The largest version is {MAX_VERSION}.",
            )
        key = (version, Direction(match.group(3)))
        if key in found:
            first, second = sorted((found[key][0], entry.name))
            raise SourceError(
                f"{shown}: two files for version {version} {key[1].value}: {first} and {second}",
                hint="Give the newer one a higher number.",
            )
        found[key] = (entry.name, _read(entry, f"{shown}/{entry.name}"))
        if key[1] is Direction.UP:
            names[version] = match.group(2)
    for version, direction in found:
        if direction is Direction.DOWN and version not in names:
            name = found[version, direction][0]
            raise SourceError(
                f"{shown}/{name}: down file without its up file",
                hint=f"Restore {name.removesuffix('.down.sql')}.up.sql, or remove this file.",
            )
        if direction is Direction.DOWN and _NAME.sub(r"\2", found[version, direction][0]) != names[version]:
            raise SourceError(
                f"{shown}: {found[version, direction][0]} does not belong to {found[version, Direction.UP][0]}",
                hint="Give both files of a version the same name.",
            )
    migrations = tuple(
        Migration(
            version,
            names[version],
            found[version, Direction.UP][1],
            found[version, Direction.DOWN][1] if (version, Direction.DOWN) in found else None,
        )
        for version in sorted(names)
    )
    return Source(shown, migrations, tuple(sorted(ignored)))


def next_version(migrations: Iterable[Migration]) -> tuple[int, int]:
    """Return the next version and the number of digits that the directory's file names have."""
    versions = [(migration.version, migration.up.path) for migration in migrations]
    if not versions:
        return 1, 6
    version, path = max(versions)
    match = _NAME.fullmatch(path.rsplit("/", 1)[-1])
    return version + 1, len(match.group(1)) if match else 6


def _shown(directory: Path | Traversable) -> str:
    if not isinstance(directory, Path):
        return str(directory)
    try:
        # As a person in this folder would write it, where that is shorter.
        relative = os.path.relpath(directory)
    except (OSError, ValueError):
        return str(directory)
    return relative if not relative.startswith("../../..") else str(directory)


def _entries(directory: Path | Traversable, shown: str) -> list[Traversable]:
    try:
        return sorted(directory.iterdir(), key=lambda entry: entry.name)
    except FileNotFoundError:
        raise SourceError(
            f"directory {shown} does not exist", hint="Give the directory of the migrations: --migrations DIR"
        ) from None
    except NotADirectoryError:
        raise SourceError(f"{shown} is not a directory", hint="Give its directory: --migrations DIR") from None
    except OSError as error:
        raise SourceError(f"directory {shown}: {(error.strerror or str(error)).lower()}") from None


def _read(entry: Traversable, shown: str) -> Script:
    if isinstance(entry, Path):
        return read_script(entry, shown)
    try:
        return script_from(entry.read_bytes(), shown)
    except OSError as error:
        raise SourceError(f"{shown}: {(error.strerror or str(error)).lower()}") from None

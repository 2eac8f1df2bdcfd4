"""A directory → Migrations in order: file names, duplicates, pairs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

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
    found: dict[str, dict[int, _File]] = {Direction.UP.value: {}, Direction.DOWN.value: {}}
    ignored: list[str] = []
    for name in _names(directory, shown):
        match = _NAME.fullmatch(name)
        if match is not None:
            version = _version(match, shown)
            files = found[match[3]]
            if version in files:
                first, second = sorted((files[version].name, name))
                raise SourceError(
                    f"{shown}: two files for version {version} {match[3]}: {first} and {second}",
                    hint="Give the newer one a higher number.",
                )
            files[version] = _File(name, match[2], _read(directory, name, f"{shown}/{name}"))
        elif name.lower().endswith(".sql"):
            ignored.append(name)
    ups, downs = found.values()
    migrations = tuple(_pair(ups.get(version), downs.get(version), version, shown) for version in sorted(ups | downs))
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


class _File(NamedTuple):
    name: str
    title: str
    script: Script


def _pair(up: _File | None, down: _File | None, version: int, shown: str) -> Migration:
    if up is None:
        assert down is not None
        raise SourceError(
            f"{shown}/{down.name}: down file without its up file",
            hint=f"Restore {down.name.removesuffix('.down.sql')}.up.sql, or remove this file.",
        )
    if down is not None and down.title != up.title:
        raise SourceError(
            f"{shown}: {down.name} does not belong to {up.name}", hint="Give both files of a version the same name."
        )
    return Migration(version, up.title, up.script, down.script if down is not None else None)


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


def _names(directory: Path | Traversable, shown: str) -> list[str]:
    try:
        # Names and not paths, whose making costs as much as reading the files.
        names = os.listdir(directory) if isinstance(directory, Path) else [entry.name for entry in directory.iterdir()]  # noqa: PTH208
    except FileNotFoundError:
        raise SourceError(
            f"directory {shown} does not exist", hint="Give the directory of the migrations: --migrations DIR"
        ) from None
    except NotADirectoryError:
        raise SourceError(f"{shown} is not a directory", hint="Give its directory: --migrations DIR") from None
    except OSError as error:
        raise SourceError(f"directory {shown}: {(error.strerror or str(error)).lower()}") from None
    for name in names:
        # Python keeps bytes that are not UTF-8 as lone surrogates, which nothing can write.
        readable = name.encode(errors="replace").decode()
        if readable != name:
            raise SourceError(f"{shown}/{readable}: file name is not valid UTF-8", hint="Rename the file.")
    return sorted(names)


def _read(directory: Path | Traversable, name: str, shown: str) -> Script:
    if isinstance(directory, Path):
        return read_script(f"{directory}/{name}", shown)
    try:
        return script_from(directory.joinpath(name).read_bytes(), shown)
    except OSError as error:
        raise SourceError(f"{shown}: {(error.strerror or str(error)).lower()}") from None

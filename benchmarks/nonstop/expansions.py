"""The migrations that `whimbrel create --expand` writes, kept as files so that what is measured can be read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.measurement import CommandFailed, Surroundings, read_values
from benchmarks.nonstop.changes import CHANGES, Change
from benchmarks.nonstop.echo import WHIMBREL, copied
from benchmarks.runner import Server

# The new files get the numbers behind it.
_LAST = "001000_last.up.sql"


def write(server: Server) -> list[Path]:
    """Have the command write the files of all changes that it makes, in place of those that are there."""
    written: list[Path] = []
    for change in CHANGES:
        if not change.expansion:
            continue
        texts = create(server, change)
        for file in change.migrations:
            file.unlink()
        for name, text in texts.items():
            file = change.folder / name
            file.write_text(text, encoding="utf-8", newline="\n")
            written.append(file)
    return written


def create(server: Server, change: Change) -> dict[str, str]:
    """Return the up files that the command writes for a change of Echo's database: names, and what is in them."""
    folder = server.folder / f"expansion-{change.name}-{os.urandom(4).hex()}"
    folder.mkdir()
    (folder / _LAST).write_text("SELECT 1;\n", encoding="utf-8")
    with copied(server) as conninfo:
        surroundings = Surroundings(folder, {}, read_values(conninfo))
        done = subprocess.run(
            [*WHIMBREL, "create", "--database", conninfo, "--migrations", str(folder), "--expand", *change.expansion],
            cwd=surroundings.folder,
            env=surroundings.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise CommandFailed(f"whimbrel create ended with {done.returncode}:\n{done.stderr}")
    files = sorted(file for file in folder.glob("*.up.sql") if file.name != _LAST)
    return {file.name: file.read_text(encoding="utf-8") for file in files}

"""An Expansion → files, all of them or none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from whimbrel.expansion.step import Expansion, down_text, up_text


def write_files(expansion: Expansion, directory: Path, numbers: Iterable[str]) -> list[Path]:
    """Write a pair of files for each step, with the numbers that are given, and return their paths.

    Raises OSError where that fails; what was written is removed again, and a file that is there is never overwritten.
    """
    written: list[Path] = []
    total = len(expansion.steps)
    try:
        for place, (step, number) in enumerate(zip(expansion.steps, numbers, strict=True), 1):
            remark = f"(step {place} of {total}: {expansion.old} to {expansion.new})"
            name = re.sub(r"\W+", "_", f"{expansion.slug}_{step.name}".lower()).strip("_")
            for direction, text in (("up", up_text(step, remark)), ("down", down_text(step, remark))):
                path = directory / f"{number}_{name}.{direction}.sql"
                with path.open("x", encoding="utf-8", newline="\n") as file:
                    written.append(path)
                    file.write(text)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return written

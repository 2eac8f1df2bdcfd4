"""Runs plots.py where matplotlib is: here, or in the virtual environment of the peers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import NotInstallable, Python

MATPLOTLIB = Python("fonttools", ("matplotlib==3.11.2",))
_ROOT = Path(__file__).parents[1]


def draw(files: Sequence[Path], folder: Path | None = None, module: str = "benchmarks.plots") -> int:
    """Have a module draw the plots of results, and return its exit code.

    Installs matplotlib beside the peers if it is nowhere.
    """
    python = sys.executable
    if importlib.util.find_spec("matplotlib") is None:
        python = str(MATPLOTLIB.FOLDER / "bin" / "python")
        if not MATPLOTLIB.program.exists():
            try:
                MATPLOTLIB.install()
            except NotInstallable as error:
                print(f"error: matplotlib cannot be installed: {error}", file=sys.stderr)
                return 1
    target = folder or _ROOT / "docs" / "images"
    words = [str(target.resolve()), *(str(file.resolve()) for file in files)]
    return subprocess.run([python, "-m", module, *words], cwd=_ROOT, check=False).returncode

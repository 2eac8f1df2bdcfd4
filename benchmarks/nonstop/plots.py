"""Results → docs/images/nonstop.svg: the longest stalls. Run by benchmarks/drawing.py where matplotlib is.

Imports nothing of whimbrel's, nor what the measuring needs: `python -m benchmarks.nonstop.plots FOLDER RESULTS.json…`.
"""

# matplotlib is in the peers' virtual environment, where no type checker looks.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.nonstop.changes import CHANGES
from benchmarks.plots import COLOURS, STYLE, TEXT

_MEANINGS = {"psql": "plain SQL with psql", "whimbrel": "whimbrel"}
# A stall that is shorter is drawn as that: what is below cannot be told from noise, in seconds.
_LEAST = 0.005
_MOST = 0.25
# In inches.
_BAR, _GAP, _LEFT, _RIGHT, _TOP, _BOTTOM, _WIDTH = 0.17, 0.12, 3.1, 0.9, 0.35, 0.75, 7.2


def main() -> None:
    """Draw what there are results for; say what was written."""
    folder = Path(sys.argv[1])
    changes: dict[str, dict[str, Any]] = {}
    for file in sys.argv[2:]:
        changes |= {change["name"]: change for change in json.loads(Path(file).read_text(encoding="utf-8"))["changes"]}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "nonstop.svg"
    draw([changes[change.name] for change in CHANGES if change.name in changes], file)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def draw(changes: Sequence[dict[str, Any]], file: Path) -> None:
    """Draw a pair of bars for each change. The same results give the same bytes."""
    with mpl.rc_context(STYLE):
        span = len(changes) * (2 * _BAR + _GAP)
        height = _TOP + span + _BOTTOM
        figure = Figure(figsize=(_WIDTH, height))
        FigureCanvasSVG(figure)
        box = (_LEFT / _WIDTH, _BOTTOM / height, (_WIDTH - _LEFT - _RIGHT) / _WIDTH, span / height)
        _draw_pairs(figure.add_axes(box), changes)
        patches = [Patch(color=COLOURS[name]) for name in _MEANINGS]
        figure.legend(patches, list(_MEANINGS.values()), loc="lower left", ncols=2, frameon=False, fontsize=8)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


def _draw_pairs(axis: Any, changes: Sequence[dict[str, Any]]) -> None:
    step = 2 * _BAR + _GAP
    axis.set_title("Longest stall caused (logarithmic)", fontsize=10, loc="left")
    axis.set_xscale("log")
    longest = _LEAST
    for place, change in enumerate(changes):
        for row in change["contestants"]:
            middle = place * step + (-_BAR / 2 if row["name"] == "psql" else _BAR / 2)
            value = max(row["caused"]["max"], _LEAST)
            longest = max(longest, value)
            axis.barh(middle, value, color=COLOURS[row["name"]], height=_BAR * 0.9)
            axis.annotate(
                _label(row), (value, middle), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7
            )
    axis.set_ylim((len(changes) - 0.5) * step, -0.5 * step)
    axis.axvline(_MOST, color=TEXT, linewidth=0.8, linestyle=":")
    axis.set_yticks([place * step for place in range(len(changes))], [change["title"] for change in changes])
    axis.set_xticks([0.01, _MOST, 1, 10, 100], ["10 ms", "250 ms", "1 s", "10 s", "100 s"])
    axis.set_xlim(_LEAST / 2, max(longest, 1.0))
    axis.minorticks_off()
    axis.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)


def _label(row: dict[str, Any]) -> str:
    if row["failures"]:
        return "not done"
    value = row["caused"]["max"]
    text = f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
    return f"{text}, {row['failed']:,} failed" if row["failed"] else text


if __name__ == "__main__":
    main()

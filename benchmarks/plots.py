"""Results → docs/images/performance-*.svg: bars of medians. Run by drawing.py where matplotlib is.

Imports nothing of whimbrel's, nor what the measuring needs: `python -m benchmarks.plots FOLDER RESULTS.json…`.
"""

# matplotlib is in the peers' virtual environment, where no type checker looks.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch

# Okabe and Ito's palette: told apart by the colour-blind, and against a white as well as a dark page.
COLOURS = {"whimbrel": "#d55e00", "floor": "#009e73", "python": "#009e73", "psql": "#0072b2", "peer": "#8c8c8c"}
_MEANINGS = {"whimbrel": "whimbrel", "floor": "the least that it takes", "psql": "psql", "peer": "other tools"}
# In the middle between white and the dark pages of code hosts.
TEXT = "#7a828c"
STYLE = {
    "svg.hashsalt": "whimbrel",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}
# In inches: a bar with its gap, what stands above and beside a panel, and below all.
_BAR, _TITLE, _LEFT, _RIGHT, _LEGEND, _WIDTH = 0.24, 0.42, 1.75, 1.75, 0.4, 7.2
# Where the longest bar is so much longer than the shortest, the scale is logarithmic.
_SPAN = 30


@dataclass(frozen=True, slots=True)
class Bar:
    """One contestant in one panel. `label` stands behind the bar."""

    name: str
    role: str
    value: float
    label: str


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars under one title."""

    title: str
    bars: Sequence[Bar]


# Each plot: its name, and for each panel a case's name without the network's, whether it is on the slow network, and
# what is shown.
_PLOTS = {
    "apply": (("up-some", False, "median"), ("up-many", False, "median")),
    "network": (("up-many", True, "median"), ("noop-some", True, "median")),
    "noop": (("noop-some", False, "median"), ("status-some", False, "median")),
    "large": (("file", False, "median"), ("functions", False, "median"), ("copy", False, "median")),
    "memory": (("file", False, "backend_peak"), ("file", False, "client_peak"), ("up-many", False, "client_peak")),
}
_SHOWN = {"median": "", "backend_peak": ": memory of the server process", "client_peak": ": memory of the client"}


def main() -> None:
    """Draw what there are results for; say what was written."""
    folder = Path(sys.argv[1])
    cases = list(_read(sys.argv[2:]))
    folder.mkdir(parents=True, exist_ok=True)
    for name, wanted in _PLOTS.items():
        panels = [panel for panel in (_find(cases, *words) for words in wanted) if panel is not None]
        if not panels:
            print(f"left out, not measured: {name}")
            continue
        file = folder / f"performance-{name}.svg"
        draw(panels, file)
        print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def draw(panels: Sequence[Panel], file: Path) -> None:
    """Draw panels one above the other. The same panels give the same bytes."""
    with mpl.rc_context(STYLE):
        height = sum(_TITLE + len(panel.bars) * _BAR for panel in panels) + _LEGEND
        figure = Figure(figsize=(_WIDTH, height))
        FigureCanvasSVG(figure)
        top = height
        for panel in panels:
            top -= _TITLE + len(panel.bars) * _BAR
            box = (_LEFT, top, _WIDTH - _LEFT - _RIGHT, len(panel.bars) * _BAR)
            scales = (_WIDTH, height, _WIDTH, height)
            axis = figure.add_axes([length / scale for length, scale in zip(box, scales, strict=True)])
            _draw_panel(axis, panel)
        _draw_legend(figure, panels)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


def _draw_panel(axis: Any, panel: Panel) -> None:
    values = [bar.value for bar in panel.bars]
    is_logarithmic = max(values) > _SPAN * min(values)
    axis.set_title(panel.title + (" (logarithmic)" if is_logarithmic else ""), fontsize=10, loc="left")
    axis.barh(range(len(values)), values, color=[COLOURS[bar.role] for bar in panel.bars], height=0.72)
    axis.set_ylim(len(values) - 0.5, -0.5)
    if is_logarithmic:
        axis.set_xscale("log")
    axis.set_xlim(min(values) / 2 if is_logarithmic else 0, max(values))
    for place, bar in enumerate(panel.bars):
        axis.annotate(bar.label, (bar.value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(range(len(values)), [bar.name for bar in panel.bars])
    for label, bar in zip(axis.get_yticklabels(), panel.bars, strict=True):
        label.set_fontweight("bold" if bar.role == "whimbrel" else "normal")
    axis.set_xticks([])
    axis.minorticks_off()
    axis.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)


def _draw_legend(figure: Any, panels: Sequence[Panel]) -> None:
    present = {bar.role for panel in panels for bar in panel.bars}
    roles = [role for role in _MEANINGS if role in present]
    patches = [Patch(color=COLOURS[role]) for role in roles]
    words = [_MEANINGS[role] for role in roles]
    figure.legend(patches, words, loc="lower left", ncols=len(roles), frameon=False, fontsize=8)


def _read(files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the cases of all files; of a case in several, that of the last."""
    cases: dict[str, dict[str, Any]] = {}
    for file in files:
        cases |= {case["name"]: case for case in json.loads(Path(file).read_text(encoding="utf-8"))["cases"]}
    yield from cases.values()


def _find(cases: Sequence[dict[str, Any]], name: str, is_far: bool, shown: str) -> Panel | None:
    for case in cases:
        if bool(case["rtt"]) == is_far and (case["name"].startswith(f"{name}-") if is_far else case["name"] == name):
            rows = [row for row in case["contestants"] if row[shown] is not None]
            bars = [_bar(row, shown, is_far=is_far) for row in sorted(rows, key=lambda row: row[shown])]
            return Panel(case["title"] + _SHOWN[shown], bars) if bars else None
    return None


def _bar(row: dict[str, Any], shown: str, *, is_far: bool) -> Bar:
    value = row[shown]
    if shown != "median":
        return Bar(row["name"], row["role"], value / 1024, f"{value / 1024:.0f} MiB")
    label = f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
    if is_far:
        label += f", {row['round_trips']:,} round trips"
    return Bar(row["name"], row["role"], value, label)


if __name__ == "__main__":
    main()

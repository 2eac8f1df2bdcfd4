"""What whimbrel is meant to reach, and whether a document of results says that it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_START = "python, psycopg, click"


class NotMeasured(Exception):
    """A figure that a target needs is not in the document; the message names it."""


@dataclass(frozen=True, slots=True)
class Target:
    """`find` returns the figure, and the most that it may be. `unit` is for people."""

    name: str
    find: Callable[[Figures], tuple[float, float]]
    unit: str = "×"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target with what was found: whether it is reached, or None and what is missing."""

    target: Target
    is_reached: bool | None
    figure: float = 0
    most: float = 0
    missing: str = ""


class Figures:
    """The figures of a document by case, contestant and name. Raises NotMeasured for what is not there."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._cases: dict[str, Mapping[str, Any]] = {case["name"]: case for case in document["cases"]}

    def find(self, case: str, contestant: str, name: str = "median") -> float:
        for row in self._rows(case):
            if row["name"] == contestant and row[name] is not None:
                return row[name]
        raise NotMeasured(f"{contestant} in {case}")

    def best_peer(self, case: str) -> float:
        """Return the least median of another tool."""
        medians: list[float] = [row["median"] for row in self._rows(case) if row["role"] == "peer"]
        if not medians:
            raise NotMeasured(f"peers in {case}")
        return min(medians)

    def slow(self, case: str) -> str:
        """Return the name of a case's counterpart on the slow network."""
        for name, found in self._cases.items():
            if name.startswith(f"{case}-") and found["rtt"]:
                return name
        raise NotMeasured(f"{case} on a slow network")

    def whimbrel(self, case: str, name: str = "median") -> float:
        return self.find(case, "whimbrel", name)

    def _rows(self, case: str) -> list[Mapping[str, Any]]:
        if case not in self._cases:
            raise NotMeasured(case)
        return self._cases[case]["contestants"]


def _beside(case: str, other: str, most: float) -> Callable[[Figures], tuple[float, float]]:
    return lambda figures: (figures.whimbrel(case) / figures.find(case, other), most)


def _beside_start(case: str) -> Callable[[Figures], tuple[float, float]]:
    return lambda figures: (figures.whimbrel(case) / figures.find(case, _START), 1.25)


def _beside_peers(case: str, most: float) -> Callable[[Figures], tuple[float, float]]:
    return lambda figures: (figures.whimbrel(case) / figures.best_peer(case), most)


def _beside_floor_and_start(figures: Figures) -> tuple[float, float]:
    least = figures.find("up-many", "floor") + figures.find("start", _START)
    return figures.whimbrel("up-many") / least, 1.15


def _beside_slow_floor(figures: Figures) -> tuple[float, float]:
    case = figures.slow("up-many")
    return figures.whimbrel(case) / figures.find(case, "floor"), 1.5


def _trips_of_many(figures: Figures) -> tuple[float, float]:
    few = figures.whimbrel(figures.slow("up-some"), "round_trips")
    return figures.whimbrel(figures.slow("up-many"), "round_trips"), few


def _trips_after_connecting(case: str) -> Callable[[Figures], tuple[float, float]]:
    def find(figures: Figures) -> tuple[float, float]:
        name = figures.slow(case)
        return figures.whimbrel(name, "round_trips") - figures.whimbrel(name, "connections"), 2

    return find


def _peak(case: str, name: str, most: float) -> Callable[[Figures], tuple[float, float]]:
    return lambda figures: (figures.whimbrel(case, name) * 1024 / 1e6, most)


TARGETS = (
    Target("1,000 migrations: beside the floor and the start of Python", _beside_floor_and_start),
    Target("1,000 migrations: beside the fastest other tool", _beside_peers("up-many", 1.0)),
    Target("100 migrations: beside the fastest other tool", _beside_peers("up-some", 1.1)),
    Target("1,000 migrations over a slow network: beside the floor", _beside_slow_floor),
    Target("1,000 migrations over a slow network: no more round trips than 100", _trips_of_many, "round trips"),
    Target("up, none of 100 pending: beside the start of Python", _beside_start("noop-some")),
    Target("up, none of 1,000 pending: beside the start of Python", _beside_start("noop-many")),
    Target("status of 100: beside the start of Python", _beside_start("status-some")),
    Target("status of 1,000: beside the start of Python", _beside_start("status-many")),
    Target("up, none pending: round trips after connecting", _trips_after_connecting("noop-some"), "round trips"),
    Target("status: round trips after connecting", _trips_after_connecting("status-some"), "round trips"),
    Target("50 MB of INSERTs: beside the floor", _beside("file", "floor", 1.3)),
    Target("50 MB of INSERTs: memory of the server process", _peak("file", "backend_peak", 20), "MB"),
    Target("50 MB of INSERTs: memory of whimbrel", _peak("file", "client_peak", 100), "MB"),
    Target("1 GB of COPY data: beside psql", _beside("copy", "psql", 1.2)),
    Target("20,000 functions: beside dbmate", _beside("functions", "dbmate", 1.5)),
    Target("1,000 migrations: memory of whimbrel", _peak("up-many", "client_peak", 70), "MB"),
)


def judge(document: Mapping[str, Any]) -> list[Verdict]:
    """Return a verdict on each target."""
    figures = Figures(document)
    verdicts: list[Verdict] = []
    for target in TARGETS:
        try:
            figure, most = target.find(figures)
        except NotMeasured as error:
            verdicts.append(Verdict(target, None, missing=str(error)))
        else:
            verdicts.append(Verdict(target, figure <= most, figure, most))
    return verdicts


def lines(verdicts: list[Verdict]) -> list[str]:
    """Return a line for each verdict."""
    return [_line(verdict) for verdict in verdicts]


def _line(verdict: Verdict) -> str:
    if verdict.is_reached is None:
        return f"not measured  {verdict.target.name}: there is no {verdict.missing}"
    word = "reached" if verdict.is_reached else "not reached"
    return f"{word:<14}{verdict.target.name}: {figure_of(verdict)}"


def figure_of(verdict: Verdict) -> str:
    """Return the figure of a verdict and the most that it may be, as text."""
    if verdict.target.unit == "×":
        return f"{verdict.figure:.2f} × (at most {verdict.most:.2f})"
    return f"{verdict.figure:.0f} {verdict.target.unit} (at most {verdict.most:.0f})"

"""The benchmarks run and write what their document promises; how fast anything is, is no matter here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CASES = [
    "start",
    "version",
    "noop-few",
    "noop-many",
    "status-few",
    "status-many",
    "up-one",
    "up-some",
    "up-many",
    "file",
]


def _benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_quick_run_measures_every_case_and_writes_it_as_json(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = _benchmarks("--quick", "--json", str(file))
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert document["benchmarks"] == 1
    assert document["is_quick"] is True
    assert document["cores"] >= 1
    assert document["settings"]["fsync"] == "off"
    assert {"date", "system", "python", "packages", "psql", "postgresql"} <= document.keys()
    assert [case["name"] for case in document["cases"]] == CASES
    for case in document["cases"]:
        assert case["statements"] > 0
        assert len(case["contestants"]) >= 2
        assert case["contestants"][0]["ratio"] == 1
        for row in case["contestants"]:
            assert 0 < row["min"] <= row["median"] <= row["max"]
            assert len(row["samples"]) == document["repeats"] == 1
            assert row["samples"][0].keys() == {"wall", "cpu", "client_peak", "backend_peak"}
        assert f"{case['name']}: {case['title']}" in done.stdout


def test_only_the_named_cases_are_measured_as_often_as_asked(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = _benchmarks("--quick", "--only", "up-one", "--repeats", "2", "--json", str(file))
    assert done.returncode == 0, done.stderr
    [case] = json.loads(file.read_text(encoding="utf-8"))["cases"]
    assert case["name"] == "up-one"
    assert [len(row["samples"]) for row in case["contestants"]] == [2, 2, 2]


def test_an_unknown_case_is_refused_with_the_names_that_there_are() -> None:
    done = _benchmarks("--only", "nonsense")
    assert done.returncode == 2
    assert "no case nonsense; there are start, version, noop-few" in done.stderr

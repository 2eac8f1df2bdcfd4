"""docs/pains.md: its rows are numbered, and each names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [line for line in (ROOT / "docs" / "pains.md").read_text(encoding="utf-8").splitlines() if line[:3] != "| #"]
TESTS = {row.split("|")[1].strip(): re.findall(r"`([^`]+\.py)::(\w+)`", row) for row in ROWS if re.match(r"\| \d", row)}


def test_there_are_forty_four_in_order() -> None:
    assert list(TESTS) == [str(number) for number in range(1, 45)]


@pytest.mark.parametrize("number", TESTS)
def test_a_pain_names_tests_that_exist(number: str) -> None:
    assert TESTS[number] != []
    for path, name in TESTS[number]:
        module = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
        assert name in [node.name for node in module.body if isinstance(node, ast.FunctionDef)], f"{path}::{name}"


def test_every_word_that_looks_like_a_test_was_checked() -> None:
    text = (ROOT / "docs" / "pains.md").read_text(encoding="utf-8")
    assert text.count("::") == sum(len(names) for names in TESTS.values())

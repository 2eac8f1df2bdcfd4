"""How errors are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.errors import EXCERPT_WIDTH, Interrupted, Position, SourceError, StatementFailed, excerpt


def test_an_error_shows_its_place_the_line_and_a_caret_and_what_the_server_said() -> None:
    position = Position("migrations/1_a.up.sql", 3, 8, "SELECT wrong;")
    error = StatementFailed(
        "column does not exist", sqlstate="42703", detail="D.", hint="H.", context="C", position=position
    )
    assert str(error).splitlines() == [
        "migrations/1_a.up.sql:3:8: column does not exist",
        "    SELECT wrong;",
        "           ^",
        "Detail: D.",
        "Context: C",
        "Hint: H.",
    ]


def test_an_error_without_a_place_is_its_message() -> None:
    assert str(SourceError("nothing here")) == "nothing here"


def test_a_place_without_its_line_has_no_caret() -> None:
    assert str(SourceError("wrong", position=Position("f", 1, 2))) == "f:1:2: wrong"


@pytest.mark.parametrize(
    ("line", "column", "margin"),
    [
        ("abc", 1, ""),
        ("abc", 3, "  "),
        ("abc", 4, "   "),
        ("abc", 99, "   "),
        ("\ta\tb", 4, "\t \t"),
        ("漢字x", 3, "    "),
        ("e\u0301x", 3, " "),
        ("", 1, ""),
    ],
)
def test_the_caret_stands_where_the_character_is_on_a_terminal(line: str, column: int, margin: str) -> None:
    assert excerpt(Position("f", 1, column, line)) == (line, margin + "^")


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=500), st.data())
def test_a_long_line_is_cut_to_what_is_around_the_caret(line: str, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(line) - 1))
    skipped = data.draw(st.integers(0, 3))
    source, caret = excerpt(Position("f", 1, skipped + index + 1, line, skipped=skipped))
    assert len(source) <= EXCERPT_WIDTH + 2
    assert source[len(caret) - 1] == line[index]
    assert source.strip("…") in line


def test_an_interruption_names_its_signal() -> None:
    assert [Interrupted(number).message for number in (2, 15, 1)] == [
        "interrupted by SIGINT",
        "interrupted by SIGTERM",
        "interrupted by signal 1",
    ]

"""`-- whimbrel: key = value`: what a file says about itself."""

from __future__ import annotations

import pytest

from whimbrel.annotations import KEYS, Annotations, read_annotations
from whimbrel.errors import SourceError
from whimbrel.migration import outline
from whimbrel.statements import script_from


def read(text: str) -> Annotations:
    return outline(script_from(text.encode(), "file.sql"), 1, "schema_migrations").annotations


def refusal(text: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(text)
    return caught.value


def test_a_file_without_annotations_says_nothing() -> None:
    assert read("-- a comment\nSELECT 1;") == Annotations()


def test_every_annotation_is_read() -> None:
    assert read(
        "-- whimbrel: transaction = off\n--whimbrel:irreversible=the data is gone; = sad\n"
        "--   whimbrel:   lock_timeout  =  0  \r\n-- whimbrel: statement_timeout = 2 min\nSELECT 1;"
    ) == Annotations(
        transaction=False, irreversible="the data is gone; = sad", lock_timeout="0", statement_timeout="2 min"
    )
    assert read("-- whimbrel: transaction = on\nSELECT 1;") == Annotations()


def test_a_file_without_statements_may_have_annotations() -> None:
    assert read("-- whimbrel: irreversible = nothing to undo\n").irreversible == "nothing to undo"


def test_the_example_of_every_key_can_be_read() -> None:
    for key in KEYS:
        hint = refusal(f"-- whimbrel: {key}\nSELECT 1;").hint
        assert hint
        read(f"{hint.removeprefix('Write it as: ')}\nSELECT 1;")


@pytest.mark.parametrize(
    ("comment", "message", "hint"),
    [
        ("-- whimbrel: transactoin = off", 'unknown annotation "transactoin"', 'Perhaps you meant "transaction".'),
        ("-- whimbrel: lock-timeout = 1s", 'unknown annotation "lock-timeout"', 'Perhaps you meant "lock_timeout".'),
        ("-- whimbrel: no-transaction", 'unknown annotation "no-transaction"', 'Perhaps you meant "transaction".'),
        ("-- whimbrel: zzz = 1", 'unknown annotation "zzz"', f"The annotations are: {', '.join((*KEYS, 'backfill'))}."),
        ("-- whimbrel: transaction = false", 'annotation "transaction" cannot be "false"', 'It takes "on" or "off".'),
        (
            "-- whimbrel: transaction",
            'annotation "transaction" has no value',
            "Write it as: -- whimbrel: transaction = off",
        ),
        (
            "-- whimbrel: lock_timeout = ",
            'annotation "lock_timeout" has no value',
            "Write it as: -- whimbrel: lock_timeout = 5s",
        ),
        (
            "-- whimbrel: lock_timeout = soon",
            'annotation "lock_timeout" cannot be "soon"',
            'It takes a duration such as "5s" or "2min".',
        ),
        ("-- whimbrel: statement_timeout = 5y", 'annotation "statement_timeout" cannot be "5y"', None),
        ("-- whimbrel: transaction: off", "annotation cannot be read", "Write it as: -- whimbrel: key = value"),
        ("-- whimbrel transaction = off", "annotation cannot be read", "Write it as: -- whimbrel: key = value"),
        ("-- Whimbrel: transaction = off", "annotation cannot be read", "Write it as: -- whimbrel: key = value"),
        ("/* whimbrel: transaction = off */", "annotation in a block comment", "Write it as: -- whimbrel: key = value"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place_and_what_to_write(
    comment: str, message: str, hint: str | None
) -> None:
    found = refusal(f"\n  {comment}\nSELECT 1;")
    assert found.message == message
    assert found.hint == hint or hint is None
    assert found.position
    assert (found.position.line, found.position.column) == (2, 3)
    assert str(found).splitlines()[1:3] == [f"      {comment}", "      ^"]


def test_an_annotation_that_stands_twice_is_refused() -> None:
    found = refusal("-- whimbrel: transaction = off\n-- whimbrel: transaction = off\nSELECT 1;")
    assert found.message == 'annotation "transaction" stands twice'
    assert found.position
    assert found.position.line == 2


@pytest.mark.parametrize("text", ["SELECT 1;\n{}\nSELECT 2;", "SELECT 1;\n{}", "BEGIN;\n{}\nSELECT 1;\nCOMMIT;"])
def test_an_annotation_below_the_first_statement_is_refused(text: str) -> None:
    found = refusal(text.format("-- whimbrel: transaction = off"))
    assert found.message == 'annotation "transaction" would be ignored here'
    assert found.position
    assert found.position.line == 2


def test_an_unknown_annotation_below_the_first_statement_is_called_unknown() -> None:
    assert refusal("SELECT 1;\n-- whimbrel: transactoin = off").message == 'unknown annotation "transactoin"'


def test_no_comments_say_nothing() -> None:
    assert read_annotations([], "file.sql") == Annotations()

"""The outline of a script: what is known, and refused, before anything runs."""

from __future__ import annotations

import pytest

from whimbrel.errors import SourceError
from whimbrel.migration import Applied, Outline, body, describe, outline
from whimbrel.statements import Kind, script_from


def read(text: str, version: int = 3) -> Outline:
    return outline(script_from(text.encode(), "file.sql"), version, "schema_migrations")


def sent(text: str) -> list[str]:
    script = script_from(text.encode(), "file.sql")
    return [each.sql.decode() for each in body(script, outline(script, 3, "schema_migrations"), "schema_migrations")]


def refusal(text: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(text)
    return caught.value


def place(error: SourceError) -> tuple[int, int]:
    assert error.position
    return error.position.line, error.position.column


def test_a_script_runs_in_a_transaction_unless_something_is_against_it() -> None:
    assert read("SELECT 1; SELECT 2") == Outline(2, is_transactional=True, has_data=False)
    assert read("") == Outline(0, is_transactional=True, has_data=False)


def test_data_is_known_of() -> None:
    assert read("COPY t FROM stdin;\n\\.\n").has_data


def test_a_statement_that_cannot_run_in_a_transaction_is_found_with_its_place() -> None:
    found = read("SELECT 1;\n  CREATE INDEX CONCURRENTLY i ON t (x);\nVACUUM;")
    assert (found.statements, found.is_transactional) == (3, False)
    assert found.autocommit_at
    assert (found.autocommit_at.line, found.autocommit_at.column) == (2, 3)


def test_a_file_can_ask_for_no_transaction() -> None:
    found = read("-- whimbrel: transaction = off\nSELECT 1")
    assert (found.is_transactional, found.autocommit_at) == (False, None)


# ----------------------------------------------------------------------------------------------- transactions


@pytest.mark.parametrize(
    ("begin", "commit"),
    [("BEGIN;", "COMMIT;"), ("begin transaction;", "end"), ("-- c\nSTART TRANSACTION ;", "COMMIT WORK; -- done\n")],
)
def test_one_begin_before_and_one_commit_behind_everything_are_taken_as_ours(begin: str, commit: str) -> None:
    text = f"{begin}\nSELECT 1;\nSELECT 2;\n{commit}"
    assert read(text).statements == 2
    assert sent(text) == ["SELECT 1", "SELECT 2"]


def test_an_empty_transaction_is_empty() -> None:
    assert sent("BEGIN; COMMIT;") == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("SELECT 1;\nBEGIN;\nSELECT 2;\nCOMMIT;", 2),
        ("BEGIN;\nBEGIN;\nCOMMIT;", 2),
        ("BEGIN;\nSELECT 1;\nCOMMIT;\nSELECT 2;", 3),
        ("BEGIN;\nSELECT 1;\nCOMMIT;\nBEGIN;\nSELECT 1;\nCOMMIT;", 3),
        ("BEGIN;\nCOMMIT;\nCOMMIT;", 2),
        ("SELECT 1;\nCOMMIT;", 2),
        ("COMMIT;", 1),
        ("BEGIN;\nSELECT 1;\nROLLBACK;", 3),
        ("BEGIN;\nSAVEPOINT a;\nCOMMIT;", 2),
        ("SELECT 1;\nRELEASE a;", 2),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE;\nCOMMIT;", 1),
        ("BEGIN;\nCOMMIT AND CHAIN;", 2),
        ("SELECT 1;\nPREPARE TRANSACTION 'a';", 2),
        ("ABORT", 1),
    ],
)
def test_any_other_transaction_control_is_refused_with_its_place(text: str, line: int) -> None:
    found = refusal(text)
    assert found.message == "transaction control inside a migration"
    assert place(found) == (line, 1)


def test_begin_without_commit_is_refused() -> None:
    found = refusal("\nBEGIN;\nSELECT 1;\n")
    assert found.message == "BEGIN without a COMMIT at the end of the file"
    assert place(found) == (2, 1)


def test_a_file_cannot_open_a_transaction_for_what_cannot_run_in_one() -> None:
    found = refusal("BEGIN;\nVACUUM;\nCOMMIT;")
    assert found.message == "statement cannot run inside the transaction that this file opens"
    assert place(found) == (2, 1)


def test_a_file_cannot_open_a_transaction_and_ask_for_none() -> None:
    found = refusal("-- whimbrel: transaction = off\nBEGIN;\nSELECT 1;\nCOMMIT;")
    assert found.message == "file opens a transaction and asks to be run without one"
    assert place(found) == (2, 1)


def test_transaction_control_inside_bodies_and_strings_is_none() -> None:
    assert read("SELECT 'COMMIT;'; DO $$BEGIN COMMIT; END$$; SELECT 1 AS rollback").statements == 3


def test_copy_to_stdout_is_refused() -> None:
    found = refusal("SELECT 1;\nCOPY t TO stdout;")
    assert found.message == "COPY TO stdout has nowhere to write to"
    assert place(found) == (2, 1)


# ----------------------------------------------------------------------------------------------- records

RECORD = "INSERT INTO schema_migrations (version, description) VALUES (3, 'x') ON CONFLICT (version) DO NOTHING"


def test_a_file_may_record_itself() -> None:
    assert sent(f"SELECT 1; {RECORD};") == ["SELECT 1", RECORD]


def test_outside_a_transaction_a_file_does_not_record_itself() -> None:
    """Its record would stand before it is done; whimbrel writes it at the end."""
    text = f"-- whimbrel: transaction = off\n{RECORD}; SELECT 1;"
    assert sent(text) == ["SELECT 1"]
    assert read(text).statements == 1


def test_a_file_that_records_another_version_is_refused() -> None:
    found = refusal(f"SELECT 1;\n{RECORD.replace('3', '4')};")
    assert found.message == "file of version 3 records version 4"
    assert place(found) == (2, 1)
    assert (
        refusal("DELETE FROM public.schema_migrations WHERE version = 2").message
        == "file of version 3 records version 2"
    )


# ----------------------------------------------------------------------------------------------- values


def test_a_row_without_a_tool_version_was_recorded_by_hand() -> None:
    assert Applied(1, None, None).is_by_hand
    assert not Applied(1, None, None, tool_version="0.1").is_by_hand


def test_a_description_is_the_name_in_words() -> None:
    assert describe("add_presence_schema") == "add presence schema"
    assert describe("_x_") == "x"


def test_a_body_has_copies_with_their_data() -> None:
    script = script_from(b"BEGIN; COPY t FROM stdin;\n1\n\\.\nCOMMIT;", "file.sql")
    (copy,) = body(script, outline(script, 3, "schema_migrations"), "schema_migrations")
    assert copy.kind is Kind.COPY_IN
    assert b"".join(script.copy_data(copy)) == b"1\n"

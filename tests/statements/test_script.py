"""Scripts: texts at hand and on disk, their checksums, and places in them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from whimbrel.errors import SourceError
from whimbrel.statements import Script, read_script, script, script_from


def text(content: str | bytes) -> Script:
    return script_from(content.encode() if isinstance(content, str) else content, "file.sql")


def tokens(content: str) -> str | None:
    return text(content).token_checksum()


def on_disk(folder: Path, content: bytes) -> Script:
    file = folder / "file.sql"
    file.write_bytes(content)
    return read_script(file, "file.sql")


@pytest.fixture
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every file as a large one, which is read anew each time."""
    monkeypatch.setattr(script, "KEPT_SIZE", 0)


@pytest.mark.parametrize("kept", [0, script.KEPT_SIZE])
def test_a_file_is_the_same_script_whether_it_is_kept_or_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    content = "\ufeffSELECT 'é';\r\nCOPY t FROM stdin;\n1\n2\n\\.\nSELECT 3".encode()
    monkeypatch.setattr(script, "KEPT_SIZE", kept)
    found = on_disk(tmp_path, content)
    assert (found.content is None) == (kept == 0)
    assert found.checksum == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert found.size == len(content)
    assert list(found.parts()) == list(text(content).parts())
    copy = list(found.statements())[1]
    assert b"".join(found.copy_data(copy)) == b"1\n2\n"
    assert found.token_checksum() == text(content).token_checksum()


def test_data_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "_PIECE", 3)
    found = text("COPY t FROM stdin;\n1234567\n\\.\nSELECT 1")
    first, second = found.statements()
    assert list(found.copy_data(first)) == [b"123", b"456", b"7\n"]
    assert list(found.copy_data(second)) == []


def test_an_unreadable_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^gone\.sql: no such file or directory$"):
        read_script(tmp_path / "gone.sql", "gone.sql")
    with pytest.raises(SourceError, match=r"^folder\.sql: is a directory$"):
        read_script(tmp_path, "folder.sql")


def test_a_large_file_that_changes_during_the_run_is_refused(tmp_path: Path, nothing_is_kept: None) -> None:
    found = on_disk(tmp_path, b"SELECT 1;")
    (tmp_path / "file.sql").write_bytes(b"SELECT 2; ")
    with pytest.raises(SourceError, match="file changed during the run"):
        list(found.statements())


def test_a_large_file_that_is_touched_during_the_run_is_refused(tmp_path: Path, nothing_is_kept: None) -> None:
    found = on_disk(tmp_path, b"SELECT 1;")
    os.utime(tmp_path / "file.sql", ns=(0, found.modified + 1))
    with pytest.raises(SourceError, match="file changed during the run"):
        list(found.statements())


def test_a_large_file_that_disappears_during_the_run_is_refused(tmp_path: Path, nothing_is_kept: None) -> None:
    found = on_disk(tmp_path, b"SELECT 1;")
    (tmp_path / "file.sql").unlink()
    with pytest.raises(SourceError, match=r"^file\.sql: no such file or directory$"):
        list(found.statements())


# ----------------------------------------------------------------------------------------------- positions


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_every_character_of_a_statement_has_its_position(newline: str, bom: str) -> None:
    lines = ["SELECT 0;  SELECT 'é😀',", "  (1,", "", "\t2) AS ü;", "SELECT 3"]
    found = text(bom + newline.join(lines))
    for statement in found.statements():
        sql = statement.sql.decode()
        for index, character in enumerate(sql):
            position = found.position(statement, index)
            assert position.text == lines[position.line - 1]
            assert (lines[position.line - 1] + newline)[position.column - 1] == character


def test_a_place_in_a_very_long_line_is_shown_with_what_is_near() -> None:
    found = text("SELECT 1; " + "SELECT 'é😀';" * 5000 + " SELECT wrong;" + "SELECT 'é';" * 5000)
    statement = next(each for each in found.statements() if b"wrong" in each.sql)
    position = found.position(statement, len("SELECT "))
    assert (position.line, position.column) == (1, 10 + 12 * 5000 + 1 + len("SELECT ") + 1)
    source, caret = str(SourceError("x", position=position)).splitlines()[1:]
    assert source.strip().startswith("…")
    assert source.endswith("…")
    assert caret.endswith("^")
    # Each 😀 and its caret's blanks are two columns wide.
    before = source[: source.index("wrong")]
    assert len(caret) - 1 == len(before) + before.count("😀")


# ----------------------------------------------------------------------------------------------- checksums


def test_the_raw_checksum_tells_every_change() -> None:
    assert text("SELECT 1").checksum != text("SELECT 1 ").checksum


@pytest.mark.parametrize(
    "other",
    [
        "select A, 'b' from C;",
        "SELECT a,\n\t'b'\r\nFROM c",
        "-- why\nSELECT a /* because */, 'b' FROM c -- end",
        "\ufeffSELECT a,'b'FROM c;;;",
        "\\restrict x\nSELECT a, 'b' FROM c;\n\\unrestrict x\n",
        "-- whimbrel: lock_timeout = 1s\nSELECT a, 'b' FROM c;",
    ],
)
def test_layout_comments_and_the_case_of_words_do_not_count(other: str) -> None:
    assert tokens(other) == tokens("SELECT a, 'b' FROM c;")


@pytest.mark.parametrize(
    "other",
    [
        "SELECT a, 'B' FROM c",
        "SELECT a, 'b ' FROM c",
        "SELECT \"A\", 'b' FROM c",
        "SELECT a, $$b$$ FROM c",
        "SELECT a, 'b' FROM d",
        "SELECT a 'b' FROM c",
        "SELECT a, 'b'; FROM c",
        "SELECT a, 'b' FROM c; SELECT 1",
        "SELECT a, 'b' FROM",
        "",
    ],
)
def test_any_other_token_counts(other: str) -> None:
    assert tokens(other) != tokens("SELECT a, 'b' FROM c")


def test_a_body_counts_byte_for_byte_but_for_its_line_ends() -> None:
    assert tokens("DO $$a\r\nb$$") == tokens("DO $$a\nb$$")
    assert tokens("DO $$a\nb$$") != tokens("DO $$a\n b$$")
    assert tokens("DO $$a$$") != tokens("DO $$A$$")


def test_data_counts_byte_for_byte_but_for_its_line_ends() -> None:
    """Git may turn the line ends of a whole file."""
    assert tokens("COPY t FROM stdin;\r\na\r\n\\.\r\n") == tokens("copy T from STDIN;\na\n\\.\n")
    assert tokens("COPY t FROM stdin;\na\n\\.\n") != tokens("COPY t FROM stdin;\nA\n\\.\n")


def test_the_formula_of_the_token_checksum_is_part_of_what_is_recorded() -> None:
    """Databases hold it: another formula needs another number."""
    assert tokens("SELECT A, 'b'; -- c\nCOPY t FROM stdin;\n1\n\\.\n") == "tokens1:" + RECORDED


RECORDED = "af60b9fa3b658dda47d4874c08c8a5a3eaefde1bd4620e5d3dabf1d68e134568"


def test_a_file_of_more_than_four_megabytes_has_no_token_checksum() -> None:
    assert tokens("-- " + "x" * script.TOKEN_CHECKSUM_SIZE) is None


GAPS = st.sampled_from([" ", "\n", "\r\n", "\t", "  ", " -- c; '\n", "/* c; ' /* */ */", "\f"])
WORDS = st.sampled_from(["select", "from", "x", "y_1", "where", "end", "case", "ünï"])
OTHERS = st.sampled_from(
    ["'a'", "'A'", "E'a'", "$$a$$", "$x$a$x$", '"x"', '"X"', "1", "2.5", "+", "<>", "(", ",", "$1", ";"]
)
# Two strings with only a line end between them are one token, so a word stands between other tokens.
LISTS = st.lists(st.tuples(WORDS, OTHERS), max_size=8).map(lambda pairs: [token for pair in pairs for token in pair])


@st.composite
def layouts(draw: st.DrawFn, written: list[str]) -> str:
    """Write tokens with any gaps, and words in any case."""
    text = draw(GAPS)
    for token in written:
        is_word = token[0].isalpha() and token[-1] != "'"
        text += draw(st.sampled_from([token, token.upper()])) if is_word and token.isascii() else token
        text += draw(GAPS)
    return text


@given(st.data(), LISTS)
def test_any_layout_of_the_same_tokens_has_the_same_checksum(data: st.DataObject, written: list[str]) -> None:
    assert tokens(data.draw(layouts(written))) == tokens(data.draw(layouts(written)))


def meaning(written: list[str]) -> list[str]:
    """Return the tokens without empty statements."""
    found: list[str] = []
    for token in written:
        if token != ";" or (found and found[-1] != ";"):
            found.append(token)
    return found[:-1] if found and found[-1] == ";" else found


@given(LISTS, LISTS)
def test_other_tokens_have_another_checksum(one: list[str], other: list[str]) -> None:
    assume(meaning(one) != meaning(other))
    assert tokens(" ".join(one)) != tokens(" ".join(other))

"""Splitting generated SQL: whatever is joined comes apart again, in pieces of any size."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import example, given
from hypothesis import strategies as st

from whimbrel.errors import SourceError
from whimbrel.statements import Kind, Run, Statement, Trailing, inline

from .splitting import parts, skimmed, statements

WINDOWS = (1, 2, 3, 7, 16, 64, 1000)
NASTY = st.text(
    st.sampled_from("abE$;'\"-/*\\() \n\té😀\u2028") | st.characters(codec="utf-8", exclude_characters="\0\r"),
    max_size=12,
)
TAGS = st.sampled_from(["", "a", "tag", "_1", "ä", "BEGIN"])
WORDS = st.sampled_from(
    ["x", "SELECT", "end", "case", "begin", "ATOMIC", "1", "1.5e3", "$1", "+", "::", "e", "U", "copy", "ünï"]
)


def dollar_quoted(tag: str, body: str) -> str:
    mark = f"${tag}$"
    # A body that ends like a delimiter begins would end it early.
    return mark + body.replace("$", "§") + mark


def block_comment(inner: list[str]) -> str:
    return "/*" + "".join(inner).replace("whimbrel", "") + "*/"


PLAIN = NASTY.map(lambda text: text.replace("*", "").replace("/", ""))
BLOCK_COMMENTS = st.recursive(
    PLAIN.map(lambda text: f"/*{text}*/"),
    lambda inner: st.lists(inner | PLAIN, max_size=3).map(block_comment),
    max_leaves=4,
)
LINE_COMMENTS = NASTY.map(lambda text: "--" + text.replace("\n", "") + "\n")
TOKENS = st.one_of(
    WORDS,
    NASTY.map(lambda text: "'" + text.replace("'", "''") + "'"),
    NASTY.map(lambda text: "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"),
    NASTY.map(lambda text: "U&'" + text.replace("\\", "\\\\").replace("'", "''") + "'"),
    NASTY.map(lambda text: '"' + text.replace('"', '""') + 'x"'),
    st.builds(dollar_quoted, TAGS, NASTY),
    BLOCK_COMMENTS,
    LINE_COMMENTS,
)
GROUPS = st.recursive(
    TOKENS,
    lambda inner: st.lists(inner | st.just(";"), max_size=4).map(lambda each: f"( {' '.join(each)} )"),
    max_leaves=6,
)
BLANKS = st.lists(st.sampled_from([" ", "\n", "\t", ";", "\f", "\v"]) | BLOCK_COMMENTS | LINE_COMMENTS, max_size=4).map(
    "".join
)


@dataclass(frozen=True)
class Written:
    """A statement as it is written, and the data below it."""

    sql: str
    data: str | None = None


def ordinary(tokens: list[str]) -> Written:
    return Written(" ".join(["SELECT", *tokens, "x"]))


def atomic(body: list[list[str]]) -> Written:
    inner = "".join(f"SELECT {' '.join(tokens)} CASE WHEN 1 THEN 2 END; " for tokens in body)
    return Written(f"CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC {inner}END")


def copy(lines: list[str]) -> Written:
    rows = (line.replace("\n", "\\n") for line in lines)
    return Written("COPY t FROM stdin", "".join(f"{row}\n" for row in rows if row != "\\."))


IN_A_BODY = st.one_of(
    st.sampled_from(["x", "1", "+"]),
    NASTY.map(lambda text: "'" + text.replace("'", "''") + "'"),
    BLOCK_COMMENTS,
    LINE_COMMENTS,
)
WRITTEN = st.one_of(
    st.lists(GROUPS, max_size=6).map(ordinary),
    st.lists(st.lists(IN_A_BODY, max_size=3), max_size=3).map(atomic),
    st.lists(NASTY, max_size=5).map(copy),
)


def write(pieces: list[tuple[str, Written]], last: str, *, bom: bool, crlf: bool) -> bytes:
    text = "".join(
        f"{blanks}{each.sql};" + (f"\n{each.data}\\.\n" if each.data is not None else "") for blanks, each in pieces
    )
    text += last
    return (("\ufeff" if bom else "") + (text.replace("\n", "\r\n") if crlf else text)).encode()


@given(st.lists(st.tuples(BLANKS, WRITTEN), max_size=6), BLANKS, st.booleans(), st.booleans())
def test_what_is_joined_comes_apart_again(pieces: list[tuple[str, Written]], last: str, bom: bool, crlf: bool) -> None:
    content = write(pieces, last, bom=bom, crlf=crlf)
    ends = "\r\n" if crlf else "\n"
    found = statements(content)
    assert [each.sql.decode() for each in found] == [each.sql.replace("\n", ends) for _, each in pieces]
    assert [content[each.data.start : each.data.end].decode() if each.data else None for each in found] == [
        each.data.replace("\n", ends) if each.data is not None else None for _, each in pieces
    ]
    text = content.decode().removeprefix("\ufeff")
    for each in found:
        assert content[each.offset :].startswith(each.sql)
        line = text.split("\n")[each.line - 1]
        assert (line + "\n")[each.column - 1 :].startswith(each.sql.decode().split("\n")[0])


@given(st.lists(st.tuples(BLANKS, WRITTEN), max_size=6), BLANKS, st.booleans(), st.booleans(), st.sampled_from(WINDOWS))
def test_the_size_of_the_pieces_read_changes_nothing(
    pieces: list[tuple[str, Written]], last: str, bom: bool, crlf: bool, window: int
) -> None:
    content = write(pieces, last, bom=bom, crlf=crlf)
    assert parts(content, window) == parts(content)


FRAGMENTS = st.sampled_from(
    [
        "SELECT 1",
        ";",
        "'",
        '"',
        "$$",
        "$a$",
        "--",
        "/*",
        "*/",
        "\n",
        " ",
        "\\",
        "\\restrict x\n",
        "\\.\n",
        "COPY t FROM stdin;\n",
        "E'\\u00zz'",
        "1a",
        "(",
        ")",
        "CREATE FUNCTION f() BEGIN ATOMIC",
        "END",
        "-- whimbrel: a = 1\n",
        "é",
        "x",
    ]
)
ANY_TEXT = st.lists(FRAGMENTS | NASTY, max_size=12).map("".join)


Outcome = list[Statement | Trailing] | tuple[str, int, int]


def outcome(text: str, window: int | None) -> Outcome:
    """Return the parts of a text, or the error and its place."""
    try:
        return parts(text, window)
    except SourceError as error:
        assert error.position
        return error.message, error.position.line, error.position.column


@given(ANY_TEXT, st.sampled_from(WINDOWS))
@example("COPY t FROM stdin;\nE'\\u00zz'\n\\.\n", 1)
@example('"a"""', 2)
def test_any_text_is_split_or_refused_in_the_same_way_whatever_is_read_at_once(text: str, window: int) -> None:
    assert outcome(text, window) == outcome(text, None)


@given(ANY_TEXT)
def test_nothing_between_statements_is_lost(text: str) -> None:
    content = text.encode()
    found = outcome(text, None)
    if not isinstance(found, list):
        return
    end = 0
    for each in found:
        if not isinstance(each, Statement):
            continue
        between = content[end : each.offset].decode()
        assert statements(between.replace("\\restrict x\n", "")) == []
        assert content[each.offset :].startswith(each.sql)
        # Behind data comes its end mark, which is no SQL.
        end = each.offset + len(each.sql)
        if each.data is not None:
            end = content.find(b"\n", each.data.end) + 1 or len(content)


LINES = st.lists(
    st.sampled_from(
        [
            "INSERT INTO t VALUES ('a;b');\n",
            "INSERT INTO t VALUES ('é');\n",
            "update t SET a = 1;\n",
            "-- a note\nINSERT INTO t VALUES (2);\n",
            "INSERT INTO History VALUES (3);\n",
            "VACUUM t;\n",
            "  COPY t FROM stdin;\n1\n\\.\n",
            "INSERT INTO t VALUES (4); BEGIN;\n",
            "COMMIT;\n",
            "-- whimbrel: lock_timeout = 1s\nINSERT INTO t VALUES (5);\n",
            "(SELECT 1);\n",
            ";\n",
        ]
    ),
    max_size=12,
)


@given(LINES, st.sampled_from(WINDOWS))
def test_what_is_skimmed_is_only_what_is_ordinary(lines: list[str], window: int) -> None:
    content = "".join(lines).encode()
    every = parts(content, window)
    found = skimmed(content, window, "history")
    left = iter(every)
    for each in found:
        if isinstance(each, Run):
            passed = [next(left) for _ in range(each.count)]
            assert all(
                isinstance(one, Statement)
                and one.kind is Kind.ORDINARY
                and not one.comments
                and b"history" not in one.sql.lower()
                for one in passed
            )
        else:
            assert each == next(left)
    assert next(left, None) is None


@given(LINES, st.booleans(), st.sampled_from(WINDOWS), st.sampled_from(WINDOWS))
def test_data_that_was_found_once_is_passed_over_the_next_time(
    lines: list[str], bom: bool, first: int, second: int
) -> None:
    content = (("\ufeff" if bom else "") + "".join(lines)).encode()
    known: dict[int, inline.Extent] = {}
    every = parts(content, first, known)
    assert len(known) == content.count(b"COPY")
    assert parts(content, second, known) == every


def test_a_row_of_inserts_is_counted_at_once() -> None:
    content = b"INSERT INTO t VALUES (1);\n" * 100
    assert skimmed(content, 64 * 1024, "history") == [Run(100), Trailing(())]

"""What we rely on in postgast and libpg_query. A new version that changes any of this must not go unnoticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.statements import GRAMMAR_VERSION, ParserError, parser


def ends(text: str) -> list[int]:
    return parser.find_terminators(text.encode())


def failure(text: str) -> ParserError:
    with pytest.raises(ParserError) as caught:
        ends(text)
    return caught.value


def words(text: str) -> list[tuple[str, bool, bool]]:
    content = text.encode()
    return [(content[each.start : each.end].decode(), each.is_comment, each.is_word) for each in parser.scan(content)]


def test_the_grammar_is_the_one_that_we_say() -> None:
    import postgast

    assert postgast.parse("SELECT 1").version // 10_000 == GRAMMAR_VERSION


def test_terminators_are_byte_offsets() -> None:
    assert ends("SELECT 'é😀'; SELECT 2;") == [len("SELECT 'é😀'".encode()), len("SELECT 'é😀'; SELECT 2".encode())]


def test_tokens_have_byte_offsets() -> None:
    assert [(each.start, each.end) for each in parser.scan("'é' é".encode())] == [(0, 4), (5, 7)]


def test_token_numbers_are_those_of_the_grammar() -> None:
    from postgast.pg_query_pb2 import KeywordKind, Token

    numbers = (Token.IDENT, Token.SQL_COMMENT, Token.C_COMMENT, Token.ASCII_92)
    assert numbers == (parser.IDENT, parser.SQL_COMMENT, parser.C_COMMENT, parser.BACKSLASH)
    # Left out on the wire.
    assert KeywordKind.NO_KEYWORD == 0


PIECES = st.sampled_from(
    [
        "SELECT",
        "select",
        "name",
        '"Name"',
        "'it''s'",
        "é",
        "$$ body; $$",
        "-- note\n",
        "/* a /* b */ */",
        "\\",
        "1.5",
        "$1",
    ]
)


@given(st.lists(st.one_of(PIECES, st.sampled_from([" ", "\n", ";", "(", "::"])), max_size=60))
def test_tokens_are_those_that_postgast_reads(pieces: list[str]) -> None:
    import postgast
    from postgast.pg_query_pb2 import KeywordKind, Token

    text = " ".join(pieces)
    expected = [
        (
            each.start,
            each.end,
            each.token in (Token.SQL_COMMENT, Token.C_COMMENT),
            each.keyword_kind != KeywordKind.NO_KEYWORD
            or (each.token == Token.IDENT and not text.encode()[each.start :].startswith(b'"')),
            each.token == Token.ASCII_92,
        )
        for each in postgast.scan(text).tokens
    ]
    assert [tuple(each) for each in parser.scan(text.encode())] == expected


def test_offsets_beyond_two_bytes_of_a_varint_are_read() -> None:
    found = list(parser.scan(b" " * 3_000_000 + b"name"))
    assert [(each.start, each.end) for each in found] == [(3_000_000, 3_000_004)]


def test_error_positions_count_characters() -> None:
    assert failure("SELECT 'é😀' || 'open").index == len("SELECT 'é😀' || ")
    with pytest.raises(ParserError) as caught:
        parser.parse("SELECT 'é😀' FRON x y".encode())
    assert caught.value.index == len("SELECT 'é😀' FRON ")


@pytest.mark.parametrize(
    "text",
    ["SELECT 'a", "SELECT E'a", "SELECT U&'a", "SELECT B'1", 'SELECT "a', 'SELECT U&"a', "SELECT $$a", "SELECT $x$a$$"],
)
def test_an_open_string_or_name_is_unterminated(text: str) -> None:
    assert failure(text).is_unterminated
    assert failure(text).index == len("SELECT ")


def test_an_open_comment_is_unterminated() -> None:
    found = failure("SELECT 1 /* a /* b */ c")
    assert found.is_unterminated
    assert found.index == len("SELECT 1 ")


def test_an_error_does_not_repeat_the_rest_of_the_file() -> None:
    assert failure("SELECT 'a" + "x" * 1_000_000).message == "unterminated quoted string"


def test_the_text_before_an_error_can_be_split() -> None:
    text = "SELECT 'ü'; SELECT 1a; SELECT 2;"
    found = failure(text)
    assert found.message == "trailing junk after numeric literal"
    assert found.index is not None
    assert ends(text[: found.index]) == [len("SELECT 'ü'".encode())]


def test_a_text_without_a_last_terminator_has_none() -> None:
    assert ends("SELECT 1; SELECT 2") == [8]
    assert ends("") == ends(" ") == ends("-- a; b") == ends("SELECT 1") == []


def test_empty_statements_go_to_their_neighbour() -> None:
    assert ends(";;SELECT 1;;SELECT 2;;") == [10, 20]


def test_what_has_no_key_word_goes_to_its_neighbour() -> None:
    """The server says what is wrong with it: no statement begins without a key word."""
    assert ends("xyzzy; SELECT 1;") == [15]


def test_semicolons_in_parentheses_end_nothing() -> None:
    assert ends("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);") == [55]


def test_semicolons_of_an_atomic_body_are_not_passed_over() -> None:
    """We join its pieces ourselves; should libpg_query learn to do so, the module routine can go."""
    assert len(ends("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3;")) == 4


def test_comments_are_tokens() -> None:
    assert words("-- a\n/* b /* c */ */ x") == [
        ("-- a", True, False),
        ("/* b /* c */ */", True, False),
        ("x", False, True),
    ]


def test_a_line_comment_ends_before_the_line_end() -> None:
    assert words("-- a\r\nx")[0][0] == "-- a"


def test_words_are_what_postgres_folds_to_lower_case() -> None:
    assert words("""Select Foo "Foo" U&"Foo" 'Foo' $$Foo$$ Föo $1 1e5 ;""") == [
        ("Select", False, True),
        ("Foo", False, True),
        ('"Foo"', False, False),
        ('U&"Foo"', False, False),
        ("'Foo'", False, False),
        ("$$Foo$$", False, False),
        ("Föo", False, True),
        ("$1", False, False),
        ("1e5", False, False),
        (";", False, False),
    ]


def test_a_backslash_is_a_token_of_its_own() -> None:
    assert [each.is_backslash for each in parser.scan(b"x \\ '\\' \"\\\" $$\\$$ -- \\")] == [False, True] + [False] * 4


def test_an_empty_text_has_no_tree() -> None:
    assert parser.parse(b"") is None
    assert parser.parse(b"-- nothing") is None

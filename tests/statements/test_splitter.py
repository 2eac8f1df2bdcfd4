"""Splitting SQL: where statements end, and what is refused."""

from __future__ import annotations

import pytest

from whimbrel.statements import Kind, Statement, Trailing

from .splitting import at, data, error, parts, sqls, statements


def test_an_empty_file_has_no_statements() -> None:
    assert parts("") == [Trailing(())]


@pytest.mark.parametrize(
    "text", ["-- only\n-- comments", "/* a; /* b; */ c; */", "\n\n", "\ufeff", "\ufeff-- a", ";;;\n;"]
)
def test_a_file_of_comments_has_no_statements(text: str) -> None:
    assert parts(text) == [Trailing(())]


def test_the_last_statement_needs_no_semicolon_and_no_newline() -> None:
    assert sqls("SELECT 1;\nSELECT 2") == ["SELECT 1", "SELECT 2"]


def test_empty_statements_are_left_out() -> None:
    assert sqls(";;SELECT 1;; ; /* a */; -- b\n;SELECT 2;;") == ["SELECT 1", "SELECT 2"]


@pytest.mark.parametrize(
    "value",
    [
        "'a;b'",
        "'a -- b;'",
        "'it''s; /* '",
        "'a\n;\nb'",
        "'a'\n ';b'",
        r"E'it\'s;'",
        r"E'\\'",
        r"e'\\\';'",
        r"'\'",
        r"U&'\0041;\\'",
        "U&'d!0061t!+000061;' UESCAPE '!'",
        "B'01'",
        "X'1F'",
        "N'a;b'",
        '"a;b"',
        '"a"";--b"',
        'U&"d;\\0061"',
        "$$a;b$$",
        "$a$ $$;$$ $b$;$b$ $A$ ; $a$",
        "$ä$;$ä$",
        "$_1$;$_1$",
        "a$b$c",
        "(1; 2; (3;))",
        "1 /* ; /* ; */ ; */",
        "1 -- ;\n + 1",
        "1--;\r\n+1",
        "1 - - 1",
        "'{;}'::text[]",
        "a[1:2]",
        "x <@ y",
        "5 !=-1",
        "'\u00a0;\u2028'",
    ],
)
def test_a_semicolon_inside_a_token_ends_nothing(value: str) -> None:
    assert sqls(f"SELECT {value};SELECT {value} ;\n") == [f"SELECT {value}"] * 2


def test_a_semicolon_in_a_dollar_quoted_body_ends_nothing() -> None:
    function = (
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $f$\nBEGIN\n  PERFORM $$;$$;\n  RETURN 1;\nEND;\n$f$"
    )
    assert sqls(f"{function};\n{function};\n") == [function] * 2


@pytest.mark.parametrize(
    "body",
    [
        "SELECT 1;",
        "SELECT 1; SELECT 2;",
        "SELECT CASE WHEN true THEN 1 END;",
        "SELECT CASE 1 WHEN 1 THEN CASE WHEN true THEN 1 END END; SELECT 2;",
        "SELECT (CASE WHEN true THEN 1 END); SELECT 2;",
        "SELECT 1 AS \"end\"; SELECT 'begin'; SELECT $$case$$;",
        "/* END */ SELECT 1; -- END;\n SELECT 2;",
        "INSERT INTO t VALUES (1); DELETE FROM t; UPDATE t SET x = 1;",
        "",
    ],
)
@pytest.mark.parametrize(
    "head", ["FUNCTION f() RETURNS int", "OR REPLACE FUNCTION f(a int) RETURNS int", "PROCEDURE p()"]
)
def test_a_begin_atomic_body_is_one_statement(head: str, body: str) -> None:
    routine = f"CREATE {head} BEGIN ATOMIC {body} END"
    assert sqls(f"SELECT 1; {routine}; -- x\n{routine.lower()};SELECT 2;") == [
        "SELECT 1",
        routine,
        routine.lower(),
        "SELECT 2",
    ]


def test_begin_atomic_in_a_string_begins_no_body() -> None:
    assert sqls("SELECT 'BEGIN ATOMIC'; SELECT 2; CREATE FUNCTION f() AS 'BEGIN ATOMIC'; SELECT 3;") == [
        "SELECT 'BEGIN ATOMIC'",
        "SELECT 2",
        "CREATE FUNCTION f() AS 'BEGIN ATOMIC'",
        "SELECT 3",
    ]


def test_what_libpg_query_cannot_parse_is_still_split() -> None:
    assert sqls("CREATE GIZMO x WITH SELECT; SELECT 2;") == ["CREATE GIZMO x WITH SELECT", "SELECT 2"]


def test_a_misspelt_statement_reaches_the_server() -> None:
    assert sqls("crate tabel x;")[0].startswith("crate tabel x")


def test_positions_count_lines_and_characters() -> None:
    text = "SELECT 'é😀'; SELECT 2;\n  -- c\n\tSELECT 3;"
    assert [(each.line, each.column, each.offset) for each in statements(text)] == [(1, 1, 0), (1, 14, 17), (3, 2, 35)]


def test_a_byte_order_mark_takes_no_column() -> None:
    (found,) = statements("\ufeffSELECT 1")
    assert (found.sql, found.line, found.column, found.offset) == (b"SELECT 1", 1, 1, 3)


def test_crlf_files_are_split_like_others() -> None:
    text = "SELECT 1;\r\n-- c;\r\nSELECT\r\n2;\r\n"
    assert [(each.sql, each.line) for each in statements(text)] == [(b"SELECT 1", 1), (b"SELECT\r\n2", 3)]


def test_old_mac_line_ends_end_a_comment() -> None:
    assert sqls("-- c;\rSELECT 1;\rSELECT 2") == ["SELECT 1", "SELECT 2"]


# ----------------------------------------------------------------------------------------------- COPY


def test_inline_data_ends_no_statement() -> None:
    text = "COPY t FROM stdin;\n1\t;it's $$ /* \\n\n\\N\t\"\n\\.\nSELECT 1;"
    assert sqls(text) == ["COPY t FROM stdin", "SELECT 1"]
    assert data(text) == [b"1\t;it's $$ /* \\n\n\\N\t\"\n"]
    assert [each.line for each in statements(text)] == [1, 5]


@pytest.mark.parametrize(
    "line",
    [
        r"E'\u00zz'",
        r"\restrict x",
        r"\i file",
        r"\.x",
        r" \.",
        r"\\.",
        "COPY u FROM stdin;",
        "-- whimbrel: transaction = off",
        "$a$",
        "1a",
        '""',
        ")",
        "((",
        "BEGIN ATOMIC;",
        "\x7f\x01",
    ],
)
def test_no_line_of_data_is_read_as_sql(line: str) -> None:
    text = f"COPY t FROM stdin;\n{line}\nSELECT {line}\n\\.\nSELECT 1;\n"
    assert data(text) == [f"{line}\nSELECT {line}\n".encode()]
    assert sqls(text)[1:] == ["SELECT 1"]


def test_data_may_be_empty_or_end_with_the_file() -> None:
    assert data("COPY t FROM stdin;\n\\.\nSELECT 1") == [b""]
    assert data("COPY t FROM stdin;\n1\n\\.") == [b"1\n"]


def test_data_may_have_crlf_line_ends() -> None:
    text = "COPY t FROM stdin;\r\n1\r\n2\r\n\\.\r\nSELECT 1;\r\n"
    assert data(text) == [b"1\r\n2\r\n"]
    assert sqls(text)[1:] == ["SELECT 1"]


def test_a_comment_may_follow_copy_on_its_line() -> None:
    assert data("COPY t FROM stdin; -- rows\n1\n\\.\n") == [b"1\n"]


def test_data_without_an_end_is_refused_at_the_statement() -> None:
    found = error("\n COPY t FROM stdin;\n1\n2\n")
    assert found.message == "inline data of COPY has no end"
    assert at(found) == (2, 20)


@pytest.mark.parametrize("text", ["COPY t FROM stdin", "COPY t FROM stdin;", "COPY t FROM stdin; SELECT 1;\n1\n\\.\n"])
def test_copy_from_stdin_needs_its_data_on_the_lines_below(text: str) -> None:
    assert error(text).message == "COPY FROM stdin without inline data"


def test_copy_from_a_file_has_no_inline_data() -> None:
    assert [each.kind for each in statements("COPY t FROM '/x'; SELECT 1;")] == [Kind.ORDINARY] * 2


# ----------------------------------------------------------------------------------------------- bad text


def test_bad_utf8_is_refused_with_its_place() -> None:
    found = error(b"SELECT 1;\n-- caf\xe9\nSELECT 2;")
    assert found.message == "byte 0xe9 is not valid UTF-8"
    assert at(found) == (2, 7)


def test_a_character_that_a_window_cuts_is_not_bad() -> None:
    for window in range(1, 12):
        assert [each.sql for each in statements("SELECT 'é😀é';SELECT '€'", window)] == [
            "SELECT 'é😀é'".encode(),
            "SELECT '€'".encode(),
        ]


def test_a_zero_byte_is_refused_with_its_place() -> None:
    found = error(b"SELECT 1;\nSELECT \0;")
    assert found.message == "file holds a zero byte"
    assert at(found) == (2, 8)


def test_utf16_is_refused() -> None:
    assert "UTF-8" in (error("SELECT 1;".encode("utf-16")).hint or "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1;\nSELECT 'open;\nSELECT 2;", "unterminated quoted string"),
        ("SELECT 1;\nSELECT $$open;\nSELECT 2;", "unterminated dollar-quoted string"),
        ('SELECT 1;\nSELECT "open;\nSELECT 2;', "unterminated quoted identifier"),
        ("SELECT 1;\nSELECT /* open /* */;\nSELECT 2;", "unterminated /* comment"),
        ('SELECT 1;\nSELECT "";\nSELECT 2;', "zero-length delimited identifier"),
        ("SELECT 1;\nSELECT 1a;\nSELECT 2;", "trailing junk after numeric literal"),
    ],
)
def test_what_cannot_be_lexed_is_refused_with_its_place(text: str, message: str) -> None:
    found = error(text)
    assert found.message == message
    assert at(found) == (2, 8)


def test_a_caret_stands_under_the_place() -> None:
    assert str(error("SELECT 1;\n  SELECT 'open;\n")).splitlines()[:3] == [
        "file.sql:2:10: unterminated quoted string",
        "      SELECT 'open;",
        "             ^",
    ]


def test_a_caret_stands_under_the_place_in_a_long_line_whose_beginning_is_forgotten() -> None:
    text = "SELECT 1; " * 100 + "SELECT é \\gset x"
    for window in (1, 16, 64, None):
        found = error(text, window)
        assert at(found) == (1, 1010)
        source, caret = str(found).splitlines()[1:3]
        assert source[caret.index("^") :].startswith("\\gset")


# ----------------------------------------------------------------------------------------------- psql


@pytest.mark.parametrize(
    ("text", "name", "place"),
    [
        ("\\i other.sql\nSELECT 1;", "i", (1, 1)),
        ("SELECT 1;\n  \\connect echo", "connect", (2, 3)),
        ("SELECT 1;\n\\echo it's\nSELECT 2;", "echo", (2, 1)),
        ("SELECT 1 \\gset\nSELECT 2;", "gset", (1, 10)),
        ("SELECT 1\n\\g\nSELECT 2;", "g", (2, 1)),
        ("SELECT é \\gexec", "gexec", (1, 10)),
        ("-- c\n\\set x 1\n", "set", (2, 1)),
        ("/* c */ \\if :x\n", "if", (1, 9)),
        ("\\copy t FROM 'x'\n", "copy", (1, 1)),
        ("SELECT 1;\n\\.\n", ".", (2, 1)),
        ("\\unknown;", "unknown", (1, 1)),
        ("\\", "", (1, 1)),
    ],
)
def test_a_psql_meta_command_is_refused_by_name_with_what_to_write_instead(
    text: str, name: str, place: tuple[int, int]
) -> None:
    found = error(text)
    assert found.message == f'psql meta-command "\\{name}" is not SQL'
    assert found.hint
    assert at(found) == place


def test_pg_dumps_restrict_lines_are_passed_over() -> None:
    text = "--\n-- dump\n--\n\n\\restrict abc\n\nSET x = 1;\nSELECT 1;\n\n\\unrestrict abc\n\n"
    assert [(each.sql, each.line) for each in statements(text)] == [(b"SET x = 1", 7), (b"SELECT 1", 8)]
    assert sqls("\\restrict abc") == sqls("\\restrict abc\n\\unrestrict abc\n") == []


@pytest.mark.parametrize(
    "value", ["'C:\\temp'", "'a \\n b'", "E' \\\\'", '" \\x"', "$$ \\d $$", "1 -- \\d\n", "1 /* \\d */"]
)
def test_a_backslash_inside_a_token_is_no_meta_command(value: str) -> None:
    assert len(sqls(f"SELECT {value};SELECT 1;")) == 2


# ----------------------------------------------------------------------------------------------- annotations


def comments(text: str) -> list[list[str]]:
    return [[comment.text for comment in part.comments] for part in parts(text)]


def test_annotations_go_with_the_statement_below_them() -> None:
    text = "-- whimbrel: a = 1\n\n-- plain\n  --whimbrel:b=2\nSELECT 1; SELECT 2;\n-- whimbrel: c = 3\n"
    assert comments(text) == [["-- whimbrel: a = 1", "--whimbrel:b=2"], [], ["-- whimbrel: c = 3"]]
    first = parts(text)[0].comments
    assert [(comment.line, comment.column) for comment in first] == [(1, 1), (4, 3)]


def test_annotations_above_a_restrict_line_are_not_lost() -> None:
    assert comments("-- whimbrel: a = 1\n\\restrict x\n-- whimbrel: b = 2\nSELECT 1;") == [
        ["-- whimbrel: a = 1", "-- whimbrel: b = 2"],
        [],
    ]
    assert comments("-- whimbrel: a = 1\n\\restrict x\n") == [["-- whimbrel: a = 1"]]


@pytest.mark.parametrize(
    "comment",
    ["-- Whimbrel: a = 1", "-- whimbrel : a = 1", "-- whimbrel a = 1", "/* whimbrel: a = 1 */", "/** WHIMBREL: x */"],
)
def test_what_looks_like_an_annotation_is_not_passed_over(comment: str) -> None:
    assert comments(f"{comment}\nSELECT 1;") == [[comment], []]


@pytest.mark.parametrize(
    "comment", ["-- whimbrel runs this", "-- see whimbrel: x", "-- the whimbrel", "/* whimbrels */"]
)
def test_a_comment_about_whimbrel_is_no_annotation(comment: str) -> None:
    assert comments(f"{comment}\nSELECT 1;") == [[], []]


@pytest.mark.parametrize("value", ["'\n-- whimbrel: a = 1\n'", "$$\n-- whimbrel: a = 1\n$$", '"-- whimbrel: a = 1"'])
def test_annotations_in_strings_are_none(value: str) -> None:
    assert comments(f"SELECT {value};") == [[], []]


@pytest.mark.parametrize(
    ("text", "where", "place"),
    [
        ("SELECT\n-- whimbrel: a = 1\n1;", "inside", (2, 1)),
        ("SELECT 1 -- whimbrel: a = 1\n;", "inside", (1, 10)),
        ("SELECT 1 -- whimbrel: a = 1", "inside", (1, 10)),
        ("SELECT 1; -- whimbrel: a = 1\nSELECT 2;", "behind", (1, 11)),
        ("SELECT 1; -- whimbrel: a = 1", "behind", (1, 11)),
        ("; -- whimbrel: a = 1\nSELECT 2;", "behind", (1, 3)),
        ("COPY t FROM stdin; -- whimbrel: a = 1\n\\.\n", "behind", (1, 20)),
    ],
)
def test_an_annotation_inside_or_behind_a_statement_is_refused(text: str, where: str, place: tuple[int, int]) -> None:
    found = error(text)
    assert found.message == f"annotation {where} a statement"
    assert at(found) == place


def test_a_statement_knows_its_kind() -> None:
    assert [each.kind for each in statements("BEGIN; SELECT 1; VACUUM; COMMIT;")] == [
        Kind.BEGIN,
        Kind.ORDINARY,
        Kind.AUTOCOMMIT,
        Kind.COMMIT,
    ]
    assert isinstance(parts("SELECT 1")[0], Statement)

"""What a person sees: progress, colour, questions, Ctrl-C; and what a pipe, CI and a poor terminal get instead."""

from __future__ import annotations

import subprocess
import sys

import psycopg
import pytest
from psycopg.rows import TupleRow

from .programs import Done, Project, applied, eventually, finish, is_running, sessions
from .terminals import terminal

Connection = psycopg.Connection[TupleRow]
ESCAPE = "\x1b["


@pytest.mark.parametrize("transaction", ["on", "off"])
def test_a_progress_line_lives_while_a_migration_runs(project: Project, transaction: str) -> None:
    project.migration(1, f"-- whimbrel: transaction = {transaction}\nSELECT pg_sleep(1.3);\n", name="slow")
    with terminal(project, "up") as screen:
        screen.wait_for("000001_slow.up.sql  1.")
        assert screen.end() == 0
    assert "\x1b[32m✓\x1b[0m 000001_slow.up.sql (1." in screen.text
    assert screen.plain.endswith("Applied 1 migration.\n")
    # The cursor is there again.
    assert screen.text.count("\x1b[?25l") == screen.text.count("\x1b[?25h") == 1


def test_an_error_ends_the_progress_line_before_it_is_told(project: Project) -> None:
    project.three_tables()
    project.migration(2, "SELECT pg_sleep(0.3);\nSELECT nonsense;\n")
    with terminal(project, "up") as screen:
        assert screen.end() == 1
    assert "\x1b[31m✗\x1b[0m 000002_m2.up.sql" in screen.text
    assert '\x1b[31merror:\x1b[0m migrations/000002_m2.up.sql:2:8: column "nonsense" does not exist' in screen.text
    assert screen.text.count("\x1b[?25l") == screen.text.count("\x1b[?25h")


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_there_is_no_colour_where_it_is_not_wanted(project: Project, variables: dict[str, str]) -> None:
    project.three_tables()
    with terminal(project, "up", variables=variables) as screen:
        assert screen.end() == 0
    assert "\x1b[3" not in screen.text
    assert "✓ 000001_m1.up.sql (" in screen.plain
    if "TERM" in variables:
        assert ESCAPE not in screen.text


def test_a_pipe_gets_plain_text(project: Project) -> None:
    project.three_tables()
    done = project.run("up", variables={"TERM": "xterm-256color"})
    assert ESCAPE not in done.out + done.err
    assert "\r" not in done.out
    assert ESCAPE in project.run("status", variables={"FORCE_COLOR": "1"}).out


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_marks_are_ascii_where_nothing_else_can_be_shown(project: Project, variables: dict[str, str]) -> None:
    if "LC_ALL" in variables:
        # Python makes UTF-8 of the C locale unless it is told not to.
        variables = {**variables, "PYTHONCOERCECLOCALE": "0"}
    project.migration(1, "CREATE TABLE größe (id int);\n", "DROP TABLE größe;\n")
    project.migration(2, "SELECT 'ä' FROM 🐦;\n")
    done = project.run("up", variables=variables)
    assert done.code == 1
    assert "+ 000001_m1.up.sql (" in done.out
    assert "x 000002_m2.up.sql" in done.out
    assert "error: migrations/000002_m2.up.sql:1:" in done.err
    assert "Traceback" not in done.err
    assert "o 000002_m2.up.sql (pending)" in project.succeed("status", variables=variables)


@pytest.mark.parametrize(
    ("answer", "code", "left"),
    [("y\n", 0, [1, 2]), ("n\n", 2, [1, 2, 3]), ("\n", 2, [1, 2, 3]), ("\x04", 2, [1, 2, 3])],
)
def test_down_asks(project: Project, connection: Connection, answer: str, code: int, left: list[int]) -> None:
    project.three_tables()
    project.succeed("up")
    connection.execute("INSERT INTO t3 VALUES (1), (2)")
    with terminal(project, "down") as screen:
        screen.wait_for("Undo 1 migration? [y/N]: ")
        assert ": 1 migration to undo: 000003_m3.down.sql" in screen.plain
        assert "drops  t3 (2 rows)" in screen.plain
        screen.type(answer)
        assert screen.end() == code
    assert applied(connection) == left
    if code:
        assert screen.plain.endswith("\nerror: not confirmed\nDetail: Nothing was changed.\n")
    assert "Traceback" not in screen.text


def test_yes_and_a_plan_do_not_ask(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.succeed("up")
    with terminal(project, "down", "--plan") as screen:
        assert screen.end() == 0
    assert applied(connection) == [1, 2, 3]
    with terminal(project, "redo", "-y") as screen:
        assert screen.end() == 0
    assert "Version 3 is applied again." in screen.plain


def test_ctrl_c_at_the_question_changes_nothing(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.succeed("up")
    for command in ("down", "redo"):
        with terminal(project, command) as screen:
            screen.wait_for("[y/N]: ")
            screen.type("\x03")
            assert screen.end() == 130
        assert "Traceback" not in screen.text
    assert applied(connection) == [1, 2, 3]
    eventually(lambda: sessions(connection) == 0, 5)


def test_ctrl_c_in_the_middle_of_a_statement(project: Project, connection: Connection) -> None:
    project.three_tables()
    project.migration(2, "SELECT pg_sleep(60);\n")
    with terminal(project, "up") as screen:
        eventually(lambda: is_running(connection, "pg_sleep(60)"))
        screen.wait_for("000001_m1.up.sql")
        screen.type("\x03")
        assert screen.end() == 130
    assert "error:\x1b[0m interrupted by SIGINT" in screen.text
    assert "Traceback" not in screen.text
    assert screen.text.count("\x1b[?25l") == screen.text.count("\x1b[?25h")
    assert applied(connection) == [1]
    eventually(lambda: sessions(connection) == 0, 5)


def test_psql_takes_the_terminal_and_keeps_its_exit_code(project: Project) -> None:
    with terminal(project, "psql", "--", "-X", variables={"PAGER": ""}) as screen:
        screen.wait_for("=# ")
        screen.type("SELECT 6 * 7 AS answer;\n")
        screen.wait_for("42")
        screen.type("\\q\n")
        assert screen.end() == 0
    assert project.succeed("psql", "--", "-XAtc", "SELECT 6 * 7") == "42\n"
    assert project.run("psql", "--", "-X", "-v", "ON_ERROR_STOP=1", "-c", "SELECT nonsense").code == 1
    assert project.run("psql", "-c", "SELECT 1").code == 2


@pytest.mark.parametrize("command", ["status", "history", "up"])
def test_a_reader_that_goes_away_is_no_error(project: Project, connection: Connection, command: str) -> None:
    for number in range(1, 41):
        project.migration(number, f"CREATE TABLE t{number} (id int);\n")
    if command == "history":
        project.succeed("up")
    script = f'"$0" -m whimbrel {command} | head -1; echo ${{PIPESTATUS[0]}}'
    process = subprocess.Popen(
        ["bash", "-c", script, sys.executable],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    done = finish(process)
    assert done.err == ""
    assert len(done.out.splitlines()) == 2
    assert done.out.splitlines()[-1] == "0", done
    # Whoever reads the output does not decide what becomes of the database: a run goes on to its end.
    if command == "up":
        assert applied(connection) == list(range(1, 41))


def test_output_that_cannot_be_written_is_an_error(project: Project) -> None:
    project.three_tables()
    process = subprocess.Popen(
        ["sh", "-c", '"$0" -m whimbrel status >/dev/full', sys.executable],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    done = finish(process)
    assert (done.code, done.err) == (2, "error: standard output: no space left on device\n"), done


def test_json_is_alone_on_standard_output(project: Project) -> None:
    import json

    project.three_tables()
    project.write("migrations/nothing.sql", "")
    project.migration(2, "DO $$ BEGIN RAISE NOTICE 'hello'; END $$;\nSELECT nonsense;\n")
    runs = (
        ("up", "--plan"),
        ("up", "--rehearse"),
        ("up",),
        ("status",),
        ("history",),
        ("down",),
        ("down", "--plan"),
        ("up", "--nonsense"),
        ("staus",),
        ("status", "--origins"),
    )
    for arguments in runs:
        done: Done = project.run(*arguments, "--json")
        lines = done.out.splitlines()
        assert lines, arguments
        for line in lines:
            assert json.loads(line)["version"] == 1
        if done.code:
            last = json.loads(lines[-1])
            assert (last["whimbrel"], last["exit_code"]) == ("error", done.code)
            assert done.err.startswith("error: ")

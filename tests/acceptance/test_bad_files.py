"""Files that cannot be run: each has its own message, exit code 2, and nothing is changed."""

from __future__ import annotations

import os
import shutil

import psycopg
import pytest
from psycopg.rows import TupleRow

from .programs import COMMAND, Project, applied, finish, tables, value

Connection = psycopg.Connection[TupleRow]


@pytest.fixture
def broken(project: Project, connection: Connection) -> Project:
    """Give a project with one good pending migration; whatever is wrong with the others, it must not be applied."""
    project.migration(1, "CREATE TABLE t1 (id int);\n", "DROP TABLE t1;\n")
    return project


def refused(project: Project, connection: Connection, *command: str) -> str:
    """Run a command that has to exit with 2, and check that it changed nothing."""
    done = project.run(*(command or ("up",)))
    assert (done.code, done.out) == (2, ""), done
    assert (applied(connection), tables(connection)) == ([], [])
    assert value(connection, "SELECT to_regclass('schema_migrations')") is None
    return done.err


def test_no_directory(project: Project, connection: Connection) -> None:
    assert refused(project, connection) == (
        "error: directory migrations does not exist\nHint: Give the directory of the migrations: --migrations DIR\n"
    )


def test_a_file_in_the_place_of_the_directory(project: Project, connection: Connection) -> None:
    project.write("migrations", "")
    assert refused(project, connection) == (
        "error: migrations is not a directory\nHint: Give its directory: --migrations DIR\n"
    )
    assert refused(project, connection, "create", "x") == "error: migrations is not a directory\n"


def test_no_files(project: Project, connection: Connection) -> None:
    project.migrations.mkdir()
    for command in ("up", "status", "redo"):
        assert refused(project, connection, command) == (
            "error: directory migrations holds no migrations\nHint: Make the first one: whimbrel create NAME\n"
        )


def test_a_file_that_is_no_migration_is_named_and_ignored(broken: Project) -> None:
    broken.write("migrations/add_users.sql", "CREATE TABLE users ();\n")
    broken.write("migrations/README", "Read me.\n")
    done = broken.run("status")
    assert (done.code, done.out) == (0, "○ 000001_m1.up.sql (pending)\n")
    assert done.err == "warning: not a migration by its name, and ignored: add_users.sql\n"
    assert broken.succeed("status", "--quiet") == ""


def test_two_files_of_one_version(broken: Project, connection: Connection) -> None:
    broken.write("migrations/1_other.up.sql", "SELECT 1;\n")
    assert refused(broken, connection) == (
        "error: migrations: two files for version 1 up: 000001_m1.up.sql and 1_other.up.sql\n"
        "Hint: Give the newer one a higher number.\n"
    )


def test_a_version_beyond_bigint(broken: Project, connection: Connection) -> None:
    broken.write("migrations/9223372036854775808_x.up.sql", "SELECT 1;\n")
    assert refused(broken, connection) == (
        "error: migrations/9223372036854775808_x.up.sql: version 9223372036854775808 is larger than bigint allows\n"
        "Hint: The largest version is 9223372036854775807.\n"
    )


def test_the_largest_bigint_is_a_version(project: Project, connection: Connection) -> None:
    project.write("migrations/9223372036854775807_last.up.sql", "SELECT 1;\n")
    project.succeed("up", "--to", "9223372036854775807")
    assert applied(connection) == [9223372036854775807]


def test_a_down_file_without_its_up_file(broken: Project, connection: Connection) -> None:
    broken.write("migrations/000002_x.down.sql", "SELECT 1;\n")
    assert refused(broken, connection) == (
        "error: migrations/000002_x.down.sql: down file without its up file\n"
        "Hint: Restore 000002_x.up.sql, or remove this file.\n"
    )


def test_a_directory_in_the_place_of_a_file(broken: Project, connection: Connection) -> None:
    (broken.migrations / "000002_x.up.sql").mkdir()
    assert refused(broken, connection) == "error: migrations/000002_x.up.sql: is a directory\n"


def test_a_link_to_nowhere(broken: Project, connection: Connection) -> None:
    (broken.migrations / "000002_x.up.sql").symlink_to("nowhere")
    assert refused(broken, connection) == "error: migrations/000002_x.up.sql: no such file or directory\n"


def test_a_file_that_may_not_be_read(broken: Project, connection: Connection) -> None:
    path = broken.write("migrations/000002_x.up.sql", "SELECT 1;\n")
    path.chmod(0)
    # Root reads everything, unless it gives up the right to.
    words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.access(path, os.R_OK) else []
    if words and shutil.which("setpriv") is None:
        pytest.skip("root without setpriv")
    done = finish(broken.start("up", program=[*words, *COMMAND]))
    assert (done.code, done.err) == (2, "error: migrations/000002_x.up.sql: permission denied\n")
    assert applied(connection) == []


def test_a_file_name_that_is_not_utf_8(broken: Project, connection: Connection) -> None:
    path = os.fsencode(broken.migrations) + b"/000002_\xff.up.sql"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert "000002_?.up.sql" in refused(broken, connection)


SYNTAX = {
    "bytes that are not UTF-8": (
        b"SELECT 1;\n  SELECT \xff;\n",
        "2:10: byte 0xff is not valid UTF-8\n      SELECT �;\n             ^\nHint: Save the file as UTF-8.\n",
    ),
    "UTF-16": (
        "SELECT 1;\n".encode("utf-16-le"),
        (
            "1:2: file holds a zero byte\n"
            "    S\0E\0L\0E\0C\0T\0 \0001\0;\0\n"
            "     ^\n"
            "Hint: PostgreSQL takes UTF-8 text; save the file as UTF-8 (not UTF-16).\n"
        ),
    ),
    "a misspelt annotation": (
        "-- whimbrel: transacton = off\nSELECT 1;\n",
        (
            '1:1: unknown annotation "transacton"\n'
            "    -- whimbrel: transacton = off\n"
            "    ^\n"
            'Hint: Perhaps you meant "transaction".\n'
        ),
    ),
    "an annotation of another tool": (
        "-- whimbrel: no-transaction\nSELECT 1;\n",
        (
            '1:1: unknown annotation "no-transaction"\n'
            "    -- whimbrel: no-transaction\n"
            "    ^\n"
            'Hint: Perhaps you meant "transaction".\n'
        ),
    ),
    "an annotation with a wrong value": (
        "-- whimbrel: transaction = false\nSELECT 1;\n",
        (
            '1:1: annotation "transaction" cannot be "false"\n'
            "    -- whimbrel: transaction = false\n"
            "    ^\n"
            'Hint: It takes "on" or "off".\n'
        ),
    ),
    "an annotation in the wrong place": (
        "SELECT 1;\n  -- whimbrel: lock_timeout = 5s\nSELECT 2;\n",
        (
            '2:3: annotation "lock_timeout" would be ignored here\n'
            "      -- whimbrel: lock_timeout = 5s\n"
            "      ^\n"
            "Hint: It concerns the whole file: put it above the first statement.\n"
        ),
    ),
    "a psql meta-command": (
        "SELECT 1;\n\\i other.sql\n",
        (
            '2:1: psql meta-command "\\i" is not SQL\n'
            "    \\i other.sql\n"
            "    ^\n"
            "Hint: Put the file's SQL here, or make it a migration of its own.\n"
        ),
    ),
    "a psql meta-command in the place of a semicolon": (
        "SELECT 'DROP TABLE t1'\n\\gexec\n",
        '2:1: psql meta-command "\\gexec" is not SQL\n    \\gexec\n    ^\nHint: Use a DO block with EXECUTE.\n',
    ),
    "transaction control in the middle": (
        "SELECT 1;\n  COMMIT;\nSELECT 2;\n",
        (
            "2:3: transaction control inside a migration\n"
            "      COMMIT;\n"
            "      ^\n"
            "Detail: whimbrel runs the file in a transaction of its own, together with its history row.\n"
            "Hint: Remove it; one BEGIN before and one COMMIT behind everything else are accepted.\n"
        ),
    ),
    "BEGIN without COMMIT": (
        "BEGIN;\nSELECT 1;\n",
        (
            "1:1: BEGIN without a COMMIT at the end of the file\n"
            "    BEGIN;\n"
            "    ^\n"
            "Detail: whimbrel runs the file in a transaction of its own, together with its history row.\n"
            "Hint: Remove it; one BEGIN before and one COMMIT behind everything else are accepted.\n"
        ),
    ),
    "CONCURRENTLY between BEGIN and COMMIT": (
        "BEGIN;\nCREATE INDEX CONCURRENTLY i ON t1 (id);\nCOMMIT;\n",
        (
            "2:1: statement cannot run inside the transaction that this file opens\n"
            "    CREATE INDEX CONCURRENTLY i ON t1 (id);\n"
            "    ^\n"
            "Hint: Remove BEGIN and COMMIT: whimbrel then runs the file statement by statement.\n"
        ),
    ),
    "a string without an end": (
        "SELECT 1;\nSELECT 'abc;\n",
        ("2:8: unterminated quoted string\n    SELECT 'abc;\n           ^\n"),
    ),
    "COPY to the terminal": (
        "COPY t1 TO stdout;\n",
        (
            "1:1: COPY TO stdout has nowhere to write to\n"
            "    COPY t1 TO stdout;\n"
            "    ^\n"
            "Hint: A migration changes the database; remove the statement.\n"
        ),
    ),
    "COPY without its data": (
        "COPY t1 FROM stdin;",
        (
            "1:20: COPY FROM stdin without inline data\n"
            "    COPY t1 FROM stdin;\n"
            "                       ^\n"
            'Hint: Put the data on the lines below the statement and "\\." at their end.\n'
        ),
    ),
    "the record of another version": (
        "INSERT INTO schema_migrations (version) VALUES (7);\n",
        (
            "1:1: file of version 2 records version 7\n"
            "    INSERT INTO schema_migrations (version) VALUES (7);\n"
            "    ^\n"
            "Hint: Write 2 here, or leave the statement out: whimbrel records the migration by itself.\n"
        ),
    ),
}


@pytest.mark.parametrize("case", SYNTAX)
def test_the_place_in_the_file_is_shown(broken: Project, connection: Connection, case: str) -> None:
    text, message = SYNTAX[case]
    broken.migration(2, text, name="x")
    assert refused(broken, connection) == f"error: migrations/000002_x.up.sql:{message}"


def test_a_syntax_error_is_the_servers_to_find_and_shown_at_its_place(broken: Project, connection: Connection) -> None:
    broken.migration(2, "CREATE TABLE größe (id int);\nCREATE TABEL t2 (id int);\n", name="x")
    assert broken.fail(1, "up") == (
        'error: migrations/000002_x.up.sql:2:8: syntax error at or near "TABEL"\n'
        "    CREATE TABEL t2 (id int);\n"
        "           ^\n"
    )
    assert (applied(connection), tables(connection)) == ([1], ["t1"])


def test_an_error_of_the_server_keeps_its_detail_and_hint(broken: Project) -> None:
    broken.migration(2, "CREATE TABLE t2 (id int UNIQUE);\nINSERT INTO t2 VALUES (1), (1);\n", name="x")
    assert broken.fail(1, "up") == (
        'error: migrations/000002_x.up.sql:2:1: duplicate key value violates unique constraint "t2_id_key"\n'
        "    INSERT INTO t2 VALUES (1), (1);\n"
        "    ^\n"
        "Detail: Key (id)=(1) already exists.\n"
    )
    broken.migration(2, "SELECT lenght('x');\n", name="x")
    error = broken.fail(1, "up")
    assert error.startswith("error: migrations/000002_x.up.sql:1:8: function lenght(unknown) does not exist\n")
    assert "Hint: " in error


def test_an_error_inside_a_function_says_where_it_was_called(broken: Project) -> None:
    broken.migration(2, "DO $$\nBEGIN\n  PERFORM nonsense;\nEND $$;\n", name="x")
    assert broken.fail(1, "up") == (
        'error: migrations/000002_x.up.sql:1:1: column "nonsense" does not exist\n'
        "    DO $$\n"
        "    ^\n"
        "Context: in the query: SELECT nonsense\n"
        "PL/pgSQL function inline_code_block line 3 at PERFORM\n"
    )


def test_a_version_that_is_none(broken: Project, connection: Connection) -> None:
    assert refused(broken, connection, "up", "--to", "9") == (
        "error: there is no version 9\nHint: The newest versions are: 1.\n"
    )
    assert refused(broken, connection, "up", "--to", "1.5") == (
        'error: "1.5" is not a version, which is the number that a file name begins with\n'
        "Hint: See: whimbrel up --help\n"
    )
    assert refused(broken, connection, "baseline", "9" * 19) == (
        f"error: version {'9' * 19} is larger than bigint allows\nHint: See: whimbrel baseline --help\n"
    )
    assert refused(broken, connection, "up", "--to=-1").startswith('error: "-1" is not a version')

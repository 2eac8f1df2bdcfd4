"""psql is the judge: a file means to us what it means to psql."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import pq
from psycopg.rows import TupleRow

from whimbrel import cluster
from whimbrel.cluster import Running
from whimbrel.statements import Kind, script_from

Rows = list[tuple[object, ...]]


class Server(Protocol):
    """What is used here of the fixture `server`."""

    @property
    def running(self) -> Running: ...


def run_with_psql(server: Server, dsn: str, file: Path) -> None:
    psql = cluster.find_program(server.running.embedded, "psql")
    if psql is None:
        pytest.skip("there is no psql")
    command = [psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={dsn}", f"--file={file}"]
    done = subprocess.run(command, capture_output=True, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def run_one_by_one(connection: psycopg.Connection[TupleRow], content: bytes) -> None:
    """Send each statement alone, as whimbrel does: the extended protocol takes no two at once."""
    script = script_from(content, "file.sql")
    for statement in script.statements():
        if statement.kind is Kind.COPY_IN:
            with connection.cursor() as cursor, cursor.copy(statement.sql) as copy:
                for piece in script.copy_data(statement):
                    copy.write(piece)
        else:
            result = connection.pgconn.exec_params(statement.sql, [])
            assert result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK), result.error_message


def rows(connection: psycopg.Connection[TupleRow]) -> Rows:
    return connection.execute("SELECT id, value FROM t ORDER BY id").fetchall()


def compare(server: Server, dsn: str, file: Path, content: bytes) -> Rows:
    """Run a file both ways into an empty table; return the rows, which have to be the same."""
    file.write_bytes(content)
    with psycopg.connect(dsn, autocommit=True) as connection:
        found: list[Rows] = []
        for way in ("psql", "whimbrel"):
            connection.execute("DROP TABLE IF EXISTS t CASCADE")
            connection.execute("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, value text)")
            if way == "psql":
                run_with_psql(server, dsn, file)
            else:
                run_one_by_one(connection, content)
            found.append(rows(connection))
        assert found[0] == found[1]
        return found[0]


TORTURE = r"""
-- a comment; with a semicolon, and it's open
INSERT INTO t (value) VALUES ('a;b'), ('it''s; -- no comment'), ('/* none; */'), ('\');;
INSERT INTO t (value) VALUES (E'it\'s;\n\\'), (e'\u00e9;'), (U&'d\0061;'), (U&'d!0061;' UESCAPE '!'), (N'n;');
INSERT INTO t (value) VALUES ('one;'
  ' token;');
INSERT /* nested; /* deeper; */ ; */ INTO t (value) VALUES ($$a;b$$), ($x$ $$;$$ $y$;$y$ $X$; $x$), ($ä$;'$ä$);
INSERT INTO t (value) SELECT "a;""b" FROM (SELECT 'named;' AS "a;""b") AS "--";
DO $do$
BEGIN
  INSERT INTO t (value) VALUES ($$do;$$); -- END;
END;
$do$;
CREATE OR REPLACE FUNCTION pg_temp.f(a text DEFAULT ';') RETURNS text
BEGIN ATOMIC
  INSERT INTO t (value) VALUES ('atomic; ' || CASE a WHEN ';' THEN 'END;' ELSE (CASE WHEN true THEN a END) END);
  SELECT /* END; */ a AS "end";
END;
SELECT pg_temp.f(); SELECT pg_temp.f('x');
CREATE RULE r AS ON DELETE TO t DO INSTEAD (INSERT INTO t (value) VALUES ('rule;'); SELECT 1;);
DELETE FROM t;
DROP RULE r ON t;
COPY t (value) FROM stdin; -- data below
it's; $$ /* -- "
\\.
\N
a\tb\u00zz
;
\.
COPY t (value) FROM stdin WITH (FORMAT csv);
"a;
b""c"
\.
INSERT INTO t (value) VALUES ('after');
INSERT INTO t (value) VALUES ('last')"""


@pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["", "bom"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("end", ["", ";", ";\n", "\n-- end"], ids=["open", "closed", "newline", "comment"])
def test_the_torture_file_means_the_same_to_psql(
    server: Server, dsn: str, tmp_path: Path, bom: str, newline: str, end: str
) -> None:
    if server.running.version < 14:
        pytest.skip("BEGIN ATOMIC came with 14")
    text = TORTURE + end
    found = compare(server, dsn, tmp_path / "file.sql", (bom + text.replace("\n", newline)).encode())
    assert found[-1][1] == "last"
    assert len(found) == 26


VALUES = st.text(
    st.sampled_from("aE$;'\"-/*\\() \n\té😀") | st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=15
)
LITERALS = st.one_of(
    VALUES.map(lambda value: "'" + value.replace("'", "''") + "'"),
    VALUES.map(lambda value: "E'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"),
    VALUES.map(lambda value: "$a$" + value.replace("$", "") + "$a$"),
    VALUES.map(lambda value: "/*" + value.replace("*", "").replace("/", "") + "*/ 'x'"),
    VALUES.map(lambda value: "--" + value.replace("\n", "") + "\n 'x'"),
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LITERALS, min_size=1, max_size=8))
def test_strange_values_arrive_as_through_psql(server: Server, dsn: str, tmp_path: Path, literals: list[str]) -> None:
    text = "".join(f"INSERT INTO t (value) VALUES ({each});\n" for each in literals)
    assert len(compare(server, dsn, tmp_path / "file.sql", text.encode())) == len(literals)

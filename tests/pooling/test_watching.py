"""A long statement behind PgBouncer: watched where there is a session for that, and never held up by it."""

from __future__ import annotations

import json
from dataclasses import replace

import psycopg
import pytest

from tests.acceptance.programs import Project, eventually, finish

from .conftest import Start


@pytest.mark.parametrize("size", [1, 3])
def test_a_build_is_watched_through_another_session_of_the_pooler_if_it_has_one(
    project: Project, dsn: str, start_bouncer: Start, size: int
) -> None:
    """Where the run itself has the only one, the time is told alone."""
    bouncer = start_bouncer("session", default_pool_size=str(size), server_reset_query="")
    project.migration(1, "CREATE TABLE t1 (id int);\n")
    project.migration(2, "CREATE INDEX CONCURRENTLY t1_id ON t1 (id);\n")
    behind = replace(project, database=bouncer.dsn)
    behind.succeed("up", "--to", "1")
    with psycopg.connect(dsn) as writer:
        writer.execute("INSERT INTO t1 VALUES (1)")
        pid = writer.info.backend_pid
        process = behind.start("up", "--json")
        assert process.stdout is not None
        seen: list[dict[str, object]] = []
        while len(seen) < 2:
            document = json.loads(process.stdout.readline())
            if document["whimbrel"] == "statement_running":
                seen.append(document)
        writer.rollback()
        done = finish(process)
    assert (done.code, done.err) == (0, "")
    found = [each["pid"] for document in seen for each in document["blockers"]]  # type: ignore[attr-defined]
    assert found == ([] if size == 1 else [pid, pid])
    with psycopg.connect(dsn, autocommit=True) as connection:
        left = (
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
            " AND pid <> pg_backend_pid()"
        )
        eventually(lambda: connection.execute(left).fetchone() is None)
    with bouncer.connect() as first, bouncer.connect() as second:
        for application in (first, second)[:size]:
            application.execute("BEGIN")
            row = application.execute("SELECT current_setting('statement_timeout')").fetchone()
            assert row == ("0",)

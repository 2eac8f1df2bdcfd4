"""An autovacuum of what LOCK TABLE does not take: a materialized view, the table of long values, a partition."""

from __future__ import annotations

import psycopg
from psycopg.rows import TupleRow

from tests.acceptance.programs import Project, applied, value

from .sampler import STRONG, sampling
from .vacuums import begin_vacuum, begin_vacuum_beside
from .watched import watching

Connection = psycopg.Connection[TupleRow]


def test_long_values(vacuumed_project: Project, vacuumed: Connection, role: str) -> None:
    """TRUNCATE locks them as well, and waits for their vacuum only where it may wait for deadlock_timeout."""
    begin_vacuum_beside(vacuumed, "toast", "", owner=role)
    vacuumed_project.migration(1, "TRUNCATE busy;\n")
    with watching(vacuumed_project, "up", "--lock-budget", "15s") as run:
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert value(vacuumed, "SELECT count(*) FROM busy") == 0


def test_a_table_with_partitions(vacuumed_project: Project, vacuumed: Connection, role: str) -> None:
    """The lock is on the partitions too, one of which is vacuumed."""
    begin_vacuum(vacuumed, "part", owner=role)
    vacuumed.execute("CREATE TABLE parts (id int, filler text) PARTITION BY LIST (id)")
    if role != "superuser":
        vacuumed.execute(f"ALTER TABLE parts OWNER TO {role}".encode())
    # The vacuum holds the very lock that ATTACH takes.
    vacuumed_project.migration(1, "ALTER TABLE parts ATTACH PARTITION part DEFAULT;\n")
    vacuumed_project.migration(2, "ALTER TABLE parts ADD COLUMN more int;\n")
    with sampling(vacuumed.info.dsn, "part") as sampler, watching(vacuumed_project, "up") as run:
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert sampler.waits_for_vacuum[STRONG] == 0


def test_a_statement_timeout_does_not_end_the_wait_for_a_vacuum(
    vacuumed_project: Project, vacuumed: Connection, role: str
) -> None:
    """That is for the file's statements; the server needs a second to send the vacuum away."""
    begin_vacuum(vacuumed, "busy", owner=role)
    vacuumed_project.migration(1, "ALTER TABLE busy ADD COLUMN more int;\n")
    with watching(vacuumed_project, "up", "--statement-timeout", "500ms") as run:
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert applied(vacuumed) == [1]


def test_a_materialized_view(vacuumed_project: Project, vacuumed: Connection, role: str) -> None:
    made = "CREATE MATERIALIZED VIEW seen AS SELECT id, random() AS x FROM busy; CREATE UNIQUE INDEX ON seen (id)"
    begin_vacuum_beside(vacuumed, "seen", made, owner=role)
    vacuumed_project.migration(1, "REFRESH MATERIALIZED VIEW seen;\n")
    with watching(vacuumed_project, "up", "--lock-budget", "15s") as run:
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")

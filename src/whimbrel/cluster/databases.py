"""The databases of a running cluster."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress

from whimbrel.cluster.postmaster import Running
from whimbrel.errors import ClusterError


def ensure_database(running: Running, dbname: str) -> None:
    """Create the database if it is missing; two callers at once is fine."""
    if dbname in {"postgres", "template1"}:
        return
    import psycopg
    from psycopg import errors, sql

    query = "select from pg_catalog.pg_database where datname = %s"
    create = sql.SQL("create database {}").format(sql.Identifier(dbname))
    try:
        with psycopg.connect(running.conninfo("postgres"), autocommit=True) as connection:
            if connection.execute(query, [dbname]).fetchone() is None:
                with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                    connection.execute(create)
    except psycopg.Error as error:
        raise ClusterError(f'cannot create the database "{dbname}"', detail=str(error)) from error


@contextmanager
def throwaway_database(running: Running, *, template: str | None = None) -> Generator[str]:
    """Yield the conninfo of a fresh database, a copy of `template` or empty.

    It is dropped at the end, whoever is still connected to it.
    """
    import secrets

    import psycopg
    from psycopg import sql

    dbname = f"throwaway_{secrets.token_hex(8)}"
    # template1, the default, cannot be copied while somebody is connected to it; template0 always can.
    create = sql.SQL("create database {} template {}").format(
        sql.Identifier(dbname), sql.Identifier(template or "template0")
    )
    drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(dbname))
    with psycopg.connect(running.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(create)
    try:
        yield running.conninfo(dbname)
    finally:
        with psycopg.connect(running.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(drop)

"""A connection string → a connection, or why there is none and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from whimbrel.errors import ConnectionFailed, LockNotObtained, MissingDatabase, StatementFailed, WhimbrelError
from whimbrel.pipeline import CANCEL_TIMEOUT

APPLICATION_NAME = "whimbrel"
Connection = psycopg.Connection[TupleRow]

# Without them a client whose machine is gone holds its locks for two hours (tcp_keepalive_time's default).
_KEEPALIVES = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
_CONNECT_TIMEOUT = "10"


def describe(connection: Connection) -> str:
    """Return how messages name the database: never with a password."""
    info = connection.info
    where = info.host or info.hostaddr
    place = "a local socket" if where.startswith(("/", "@")) or not where else f"{where}:{info.port}"
    return f'"{info.dbname}" on {place}'


def server_version(connection: Connection) -> str:
    """Return the server's version as a person writes it: `18.4`."""
    return connection.info.parameter_status("server_version") or str(connection.info.server_version)


def connect(address: str) -> Connection:
    """Connect in autocommit mode, for a connection string from `conninfo`.

    Raises ConnectionFailed with what to do about it. The caller closes the connection.
    """
    given = conninfo_to_dict(address)
    defaults: dict[str, str] = {"application_name": APPLICATION_NAME, "connect_timeout": _CONNECT_TIMEOUT}
    if not str(given.get("host") or "").startswith("/"):
        defaults |= _KEEPALIVES
    try:
        return psycopg.connect(_extended(address, defaults), autocommit=True, prepare_threshold=None)
    except (psycopg.OperationalError, psycopg.ProgrammingError, UnicodeError) as error:
        raise _connection_error(str(error)) from None


def _extended(address: str, defaults: Mapping[str, str]) -> str:
    given = conninfo_to_dict(address)
    missing = {key: value for key, value in defaults.items() if key not in given}
    return make_conninfo(address, **missing)


def _connection_error(text: str) -> ConnectionFailed:
    # With several addresses psycopg gives the last one's text, and then a list of all.
    last, _, others = text.partition("Multiple connection attempts failed")
    attempts = [_fact(attempt) for attempt in re.findall(r"^- host: .*?: (?=conn)(.*)", others, re.MULTILINE)]
    kind = MissingDatabase if _is_missing_database(text) else ConnectionFailed
    return kind(
        f"cannot connect: {_fact(last)}",
        detail="\n        ".join(attempts) or None,
        hint=_connection_hint(text),
    )


def _fact(text: str) -> str:
    """Return the one line of a failed attempt that says why: the server's own word if it was reached."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    fact = next((line for line in reversed(lines) if "FATAL:" in line), lines[0])
    fact = re.sub(r"^connection (?:failed|is bad): |fe_sendauth: ", "", fact)
    if unresolved := re.match(r"failed to resolve host '(.*)': (?:\[.*\] )?(.*)", fact):
        return f'host name "{unresolved[1]}" cannot be resolved: {unresolved[2][:1].lower()}{unresolved[2][1:]}'
    _, mark, server_says = fact.partition("FATAL:")
    return server_says.strip() if mark else fact


def _is_missing_database(text: str) -> bool:
    # libpq gives no SQLSTATE for a connection that was refused; this is the server's text in English.
    return re.search(r'FATAL:\s+database ".*" does not exist', text) is not None


def _connection_hint(text: str) -> str | None:
    if _is_missing_database(text):
        return "Create it: whimbrel up --create-database"
    if "password authentication failed" in text or "no password supplied" in text:
        return "Check the user and the password; ~/.pgpass and PGPASSWORD are read too."
    if "Connection refused" in text or "No such file or directory" in text or "failed to resolve host" in text:
        return "Is the server running? Where its address comes from is shown by: whimbrel status --origins"
    if "unsupported startup parameter" in text:
        return "A pooler refuses what the address asks for; take it out, or go around the pooler: direct_url."
    if "timeout expired" in text:
        return "Nobody answered. Where the address comes from is shown by: whimbrel status --origins"
    if "too many" in text or "remaining connection slots" in text:
        return "The server has no free connection; try again."
    return None


def explain(error: psycopg.Error) -> WhimbrelError:
    """Return an error of the driver, of a statement that is whimbrel's own, as one of whimbrel's."""
    message = error.diag.message_primary or str(error).strip().splitlines()[0].strip()
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return LockNotObtained(message, sqlstate=error.sqlstate, hint="Run the command again.")
    # SQLSTATE class 57: the administrator, a crash, a shutdown. Without one: the network.
    if isinstance(error, psycopg.OperationalError) and (error.sqlstate is None or error.sqlstate.startswith("57P")):
        return ConnectionFailed(
            f"connection lost: {message}",
            detail="What was not committed is rolled back by the server.",
            hint="Run the same command again: it goes on where the last committed migration ended.",
            sqlstate=error.sqlstate,
        )
    return StatementFailed(message, sqlstate=error.sqlstate, detail=error.diag.message_detail)


def create_database(address: str) -> bool:
    """Create the database that a connection string names, from the database `postgres`; False if it was there."""
    dbname = _dbname(address)
    maintenance = make_conninfo(address, dbname="postgres")
    with connect(maintenance) as connection:
        found = connection.execute("SELECT FROM pg_catalog.pg_database WHERE datname = %s", [dbname]).fetchone()
        if found is not None:
            return False
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(dbname)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            # Somebody else was quicker.
            return False
        except psycopg.Error as error:
            raise StatementFailed(
                f'database "{dbname}" cannot be created: {error.diag.message_primary}',
                sqlstate=error.sqlstate,
                hint="Ask for the database, or for the right to make it: ALTER ROLE … CREATEDB",
            ) from None
    return True


def _dbname(address: str) -> str:
    """Return the database that a connection string leads to, be it by a PG* variable, a service or the user's name."""
    attempt = pq.PGconn.connect_start(address.encode())
    try:
        return attempt.db.decode()
    finally:
        attempt.finish()


def abandon(connection: Connection) -> None:
    """Cancel what a signal found running outside a pipeline, and read its end, so that the connection is usable."""
    if connection.closed or connection.pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
        return
    connection.cancel_safe(timeout=CANCEL_TIMEOUT)
    while connection.pgconn.get_result() is not None:
        pass


def roll_back(connection: Connection) -> None:
    """End a transaction that is open or failed, if there is one."""
    if connection.info.transaction_status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR):
        connection.execute("ROLLBACK")

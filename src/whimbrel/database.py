"""Connect, pin the session's settings, take the advisory lock. The only place that knows a password."""

from __future__ import annotations

import hashlib
import os
import random
import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from urllib.parse import quote, unquote

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from whimbrel.config import Config
from whimbrel.errors import ConfigError, ConnectionFailed, LockNotObtained, MissingDatabase, StatementFailed
from whimbrel.events import Listener, LockHeld

APPLICATION_NAME = "whimbrel"
Connection = psycopg.Connection[TupleRow]

# Without them a client whose machine is gone holds its locks for two hours (tcp_keepalive_time's default).
_KEEPALIVES = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
_CONNECT_TIMEOUT = "10"


def conninfo(database: str | None, variables: Mapping[str, str] | None = None) -> str:
    """Return a libpq connection string for a URL, a DSN or None (libpq's own defaults).

    `variables` are PG* variables from `.env`: they count where the process environment has none. In a URL every
    character is accepted in the password, percent-encoded or not. Raises ConfigError, which never shows the password.
    """
    parameters = _parameters(database) if database else {}
    for option in pq.Conninfo.get_defaults():
        keyword, name = option.keyword.decode(), (option.envvar or b"").decode()
        if name in (variables or {}) and keyword not in parameters:
            parameters[keyword] = (variables or {})[name]
    _remember(parameters)
    return make_conninfo("", **parameters)


def _parameters(database: str) -> dict[str, str]:
    database = database.strip()
    try:
        found = conninfo_to_dict(database)
    except psycopg.ProgrammingError:
        found = None
    # libpq drops spaces at the ends of a URL's parts: those of a bare password belong to it.
    if found is None or (_is_url(database) and (not _is_plausible(found) or re.search(r"\s", database))):
        found = _lenient_parameters(database)
    return {key: str(value) for key, value in found.items() if value is not None}


def _is_url(database: str) -> bool:
    return database.startswith(("postgresql://", "postgres://"))


def _is_plausible(parameters: Mapping[str, object]) -> bool:
    """Say whether libpq found the URL's parts, and not parts of a password that holds `/`, `:` or `@`."""
    host, dbname, port = (str(parameters.get(key, "")) for key in ("host", "dbname", "port"))
    return "@" not in host + dbname and re.fullmatch(r"[\d,]*", port) is not None


_URL = re.compile(r"(postgres(?:ql)?://)([^:/]*?)(?::(.*))?@([^@]*)", re.DOTALL)


def _lenient_parameters(database: str) -> Mapping[str, object]:
    """Read a URL whose password holds characters that ought to be percent-encoded: it ends at the last `@`."""
    match = _URL.fullmatch(database)
    if match is None:
        raise _unreadable()
    scheme, user, password, rest = match.groups()
    try:
        found = conninfo_to_dict(f"{scheme}{rest}")
    except psycopg.ProgrammingError:
        raise _unreadable() from None
    # The bare text is meant as it stands: it could not be read as percent-encoded.
    return {**found, "user": unquote(user), "password": password}


def _unreadable() -> ConfigError:
    return ConfigError(
        "the database address cannot be read",
        detail="It is not shown, since it may hold a password.",
        hint='Write it as "postgresql://user:password@host:5432/dbname", or as "host=… dbname=…".',
    )


def split_password(address: str) -> tuple[str, str | None]:
    """Return a connection string without what is secret in it, and the password."""
    parameters = conninfo_to_dict(address)
    password = parameters.get("password")
    open_parameters = {key: value for key, value in parameters.items() if key not in _SECRETS}
    return make_conninfo("", **open_parameters), str(password) if password is not None else None


def without_password(database: str) -> str:
    """Return a URL or a DSN as it may be shown; its parameters are written as key=value."""
    parameters = _parameters(database)
    return make_conninfo("", **{key: "********" if key in _SECRETS else value for key, value in parameters.items()})


# The parameters of a connection that nobody may see.
_SECRETS = ("password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret")
# The secrets that this process was given, for texts that are not of our making.
_known_secrets: set[str] = set()


def _remember(parameters: Mapping[str, str]) -> None:
    secrets = [parameters.get(key, "") for key in _SECRETS]
    _known_secrets.update(spelling for secret in secrets if secret for spelling in (secret, quote(secret, safe="")))


def hide_secrets(text: str) -> str:
    """Return a text, such as a traceback, in which no password stands that this process was given."""
    given = (os.environ.get(name, "") for name in ("PGPASSWORD", "DATABASE_URL", "WHIMBREL_DATABASE"))
    for secret in sorted({*_known_secrets, *given} - {""}, key=len, reverse=True):
        # In a message a text may stand as Python writes it.
        for spelling in (secret, repr(secret)[1:-1]):
            text = text.replace(spelling, "********")
    return text


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
    if "timeout expired" in text:
        return "Nobody answered. Where the address comes from is shown by: whimbrel status --origins"
    if "too many" in text or "remaining connection slots" in text:
        return "The server has no free connection; try again."
    return None


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
        except psycopg.errors.DuplicateDatabase:
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


def settings(config: Config, version: int) -> dict[str, str]:
    """Return the session's settings: each migration starts with exactly these. `version` is PQserverVersion's."""
    pinned = {
        "search_path": config.search_path,
        "TimeZone": "UTC",
        "lock_timeout": config.lock_timeout,
        "statement_timeout": config.statement_timeout,
        "idle_in_transaction_session_timeout": "0",
        "client_min_messages": "notice",
        "check_function_bodies": "on",
        "row_security": "on",
        # The files are UTF-8 whatever the database is in, and were split with the backslash as a plain character.
        "client_encoding": "UTF8",
        "standard_conforming_strings": "on",
    }
    if version >= 140000:
        # The server looks whether a killed client is gone, and lets go of its locks.
        pinned["client_connection_check_interval"] = "500ms"
    return pinned


def settings_statement(pinned: Mapping[str, str], *, local: bool = False) -> tuple[bytes, list[bytes]]:
    """Return one statement that makes some settings, with its parameters."""
    calls = [
        f"pg_catalog.set_config(${2 * index - 1}, ${2 * index}, {'true' if local else 'false'})"
        for index in range(1, len(pinned) + 1)
    ]
    values = [text.encode() for pair in pinned.items() for text in pair]
    return f"SELECT {', '.join(calls)}".encode(), values


def lock_key(config: Config) -> int:
    """Return the key of the advisory lock: one for each history table. PostgreSQL keeps databases apart by itself."""
    digest = hashlib.sha256(f"whimbrel {config.history_table}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


@contextmanager
def hold_lock(connection: Connection, key: int, wait: float, emit: Listener) -> Generator[bool]:
    """Hold the session-level advisory lock `key`; yield whether another session held it first.

    Polls for up to `wait` seconds and emits LockHeld every few of them. Never waits inside pg_advisory_lock: a blocked
    waiter holds a snapshot, which deadlocks CREATE INDEX CONCURRENTLY in the holder (seen on 13 to 18). Raises
    LockNotObtained when the time is over.
    """
    start = time.monotonic()
    next_report = start
    waited = False
    while not _try_lock(connection, key):
        waited = True
        now = time.monotonic()
        holder = find_holder(connection, key)
        if now - start >= wait:
            raise LockNotObtained(
                f"another run holds the lock{f' (process {holder.pid})' if holder else ''}",
                detail=_holder_detail(holder),
                hint="Wait for it and run the command again, or give it more time: --lock-wait 10min",
            )
        if holder is not None and now >= next_report:
            emit(holder)
            next_report = now + 5
        time.sleep(min(random.uniform(0.1, 0.5), max(0.01, wait - (now - start))))  # noqa: S311
    try:
        yield waited
    finally:
        # A connection that is gone, or in the middle of something, has no lock that could be given back here.
        if connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            connection.execute("SELECT pg_catalog.pg_advisory_unlock(%s)", [key])


def _try_lock(connection: Connection, key: int) -> bool:
    row = connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", [key]).fetchone()
    return row is not None and bool(row[0])


def find_holder(connection: Connection, key: int) -> LockHeld | None:
    """Return who holds the advisory lock, as far as this role may see."""
    row = connection.execute(
        """
        SELECT l.pid, coalesce(a.application_name, ''), coalesce(host(a.client_addr), 'local socket'),
               coalesce(a.xact_start, a.state_change, a.backend_start), coalesce(a.query, '')
        FROM pg_catalog.pg_locks AS l
        LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
          AND (l.classid::bigint << 32) | l.objid::bigint = %s
        """,
        [key],
    ).fetchone()
    if row is None:
        return None
    pid, application, client, since, query = row
    return LockHeld(int(pid), str(application), str(client), since if isinstance(since, datetime) else None, str(query))


def _holder_detail(holder: LockHeld | None) -> str | None:
    if holder is None:
        return None
    since = f", since {holder.since:%H:%M:%S} UTC" if holder.since else ""
    return f"It is {holder.application or 'a session'} from {holder.client}{since}."


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(duration: str) -> float:
    """Return a PostgreSQL duration in seconds; a bare number is milliseconds, as in PostgreSQL."""
    number = duration.rstrip("abcdefghijklmnopqrstuvwxyz ")
    return float(number) * _UNITS[duration[len(number) :].strip() or "ms"]

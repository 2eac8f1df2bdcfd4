"""URLs, connection strings and PG* variables → one connection string; what may be shown of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from whimbrel.errors import ConfigError


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
# The variables that may hold one.
_SECRET_VARIABLES = ("PGPASSWORD", "DATABASE_URL", "WHIMBREL_DATABASE", "DIRECT_URL", "WHIMBREL_DIRECT_URL")
# The secrets that this process was given, for texts that are not of our making.
_known_secrets: set[str] = set()


def _remember(parameters: Mapping[str, str]) -> None:
    secrets = [parameters.get(key, "") for key in _SECRETS]
    _known_secrets.update(spelling for secret in secrets if secret for spelling in (secret, quote(secret, safe="")))


def hide_secrets(text: str) -> str:
    """Return a text, such as a traceback, in which no password stands that this process was given."""
    given = (os.environ.get(name, "") for name in _SECRET_VARIABLES)
    for secret in sorted({*_known_secrets, *given} - {""}, key=len, reverse=True):
        # In a message a text may stand as Python writes it.
        for spelling in (secret, repr(secret)[1:-1]):
            text = text.replace(spelling, "********")
    return text

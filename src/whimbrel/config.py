"""File, `.env`, environment and flags → one frozen Config that knows where each value came from."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from whimbrel.errors import ConfigError, Position

FILE_NAME = "whimbrel.toml"
# What the address of an embedded PostgreSQL begins with.
EMBEDDED = "embedded:"
_DURATION = re.compile(r"[0-9]+\s*(us|ms|s|min|h|d)?")
_TOML_ERROR = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)
_TABLE = re.compile(r"(?:([a-z_][a-z0-9_$]*)\.)?([a-z_][a-z0-9_$]*)")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be configured. Paths are absolute; durations are PostgreSQL's ("5s", "0" for none).

    `database` is anything that libpq accepts, `embedded:PATH`, or None: libpq's own defaults and PG* variables then
    decide. `direct_url` is the same for an address that goes around a pooler, and is used in its place. `lock_timeout`
    is "auto" for a ladder of short ones. `origins` says for each value that is no default where it came from. The repr
    shows no password.
    """

    root: Path
    database: str | None = field(default=None, repr=False)
    direct_url: str | None = field(default=None, repr=False)
    migrations: Path = Path("migrations")
    seeds: Path = Path("seeds")
    history_table: str = "public.schema_migrations"
    search_path: str = "public"
    role: str = "none"
    lock_timeout: str = "auto"
    lock_budget: str = "10min"
    statement_timeout: str = "0"
    lock: str = "session"
    lock_wait: str = "1min"
    out_of_order: str = "apply"
    origins: Mapping[str, str] = field(default_factory=dict[str, str])
    # PG* variables of `.env`, which libpq itself would not see.
    variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def address(self) -> str | None:
        """The address that is connected to: `direct_url` where it is given."""
        return self.database if self.direct_url is None else self.direct_url

    @property
    def history_schema(self) -> str:
        """The schema of the history table."""
        return self.history_table.split(".")[0]

    @property
    def history_name(self) -> str:
        """The name of the history table without its schema."""
        return self.history_table.split(".")[1]


KEYS = tuple(each.name for each in fields(Config) if each.name not in ("root", "origins", "variables"))


def read_config(
    flags: Mapping[str, str | None],
    *,
    file: Path | None = None,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read the configuration: defaults, then `whimbrel.toml`, `.env`, the environment, and flags, in rising order.

    The file is looked for in `directory` (by default the current one) and its parents unless `file` names it; `.env` is
    read beside it. Paths are relative to where they were written: those in a file to its folder, others to the current
    folder. Raises ConfigError for an unknown key or a value that makes no sense.
    """
    here = (directory or Path.cwd()).absolute()
    environment = os.environ if environment is None else environment
    path = file.absolute() if file is not None else _find(here)
    if file is not None and not file.is_file():
        raise ConfigError(f"configuration file {file} does not exist", hint="Give the path of a file: --config FILE")
    root = path.parent if path is not None else here
    values: dict[str, str] = {}
    origins: dict[str, str] = {}

    def take(found: Mapping[str, str], origin: str, base: Path) -> None:
        for key, value in found.items():
            values[key] = _checked(key, value, base, origin)
            origins[key] = origin

    if path is not None:
        take(_read_file(path), path.name if path.parent == here else str(path), path.parent)
    dotenv = _read_env(root / ".env")
    if environment.get("WHIMBREL_DATABASE"):
        # Who gives whimbrel a database of its own means that one, and not the application's around the pooler.
        dotenv.pop("DIRECT_URL", None)
    take(_from_variables(dotenv), ".env", root)
    take(_from_variables(environment), "environment", here)
    take({key: value for key, value in flags.items() if value is not None}, "command line", here)
    if flags.get("database") is not None and flags.get("direct_url") is None:
        values.pop("direct_url", None)
        origins.pop("direct_url", None)
    variables = {name: value for name, value in dotenv.items() if name.startswith("PG") and name not in environment}
    return replace(_config_of(values, root), origins=origins, variables=variables)


def config_from(values: Mapping[str, str], root: Path | None = None) -> Config:
    """Return a Config of these values and the defaults; no file and no environment is read.

    Paths are relative to `root`, by default the current folder. Raises ConfigError as `read_config` does.
    """
    root = (root or Path.cwd()).absolute()
    for key in values:
        if key not in KEYS:
            raise _unknown_key(key, "the call")
    return _config_of({key: _checked(key, value, root, "the call") for key, value in values.items()}, root)


def _config_of(values: Mapping[str, str], root: Path) -> Config:
    paths = {key: Path(values.get(key, str(root / key))) for key in ("migrations", "seeds")}
    found: dict[str, Any] = {key: value for key, value in values.items() if key not in paths}
    return Config(root=root, **paths, **found)


def _find(directory: Path) -> Path | None:
    for folder in (directory, *directory.parents):
        candidate = folder / FILE_NAME
        if candidate.is_file():
            return candidate
        # A repository is a world of its own: a file further up belongs to something else.
        if (folder / ".git").exists():
            return None
    return None


def _read_file(path: Path) -> dict[str, str]:
    try:
        document = tomllib.loads(_read_text(path))
    except tomllib.TOMLDecodeError as error:
        # "Invalid value (at line 1, column 5)"; the line itself may hold a password.
        match = _TOML_ERROR.fullmatch(str(error))
        if match is None:
            raise ConfigError(f"{path}: {str(error)[:1].lower()}{str(error)[1:]}") from None
        position = Position(str(path), int(match[2]), int(match[3]))
        raise ConfigError(match[1][:1].lower() + match[1][1:], position=position) from None
    found: dict[str, str] = {}
    for key, value in document.items():
        if key not in KEYS:
            raise _unknown_key(key, str(path))
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ConfigError(f'{path}: "{key}" has to be a string')
        found[key] = str(value)
    return found


def _unknown_key(key: str, place: str) -> ConfigError:
    from difflib import get_close_matches

    close = get_close_matches(key, KEYS, n=1)
    return ConfigError(
        f'{place}: unknown key "{key}"',
        hint=f'Perhaps you meant "{close[0]}".' if close else f"The keys are: {', '.join(KEYS)}.",
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not valid UTF-8", hint="Save the file as UTF-8.") from None


_ENV_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_ENV_VALUE = re.compile(
    r"""
    [ \t]* (?:export[ \t]+)? ([A-Za-z_][A-Za-z0-9_.-]*) [ \t]*=[ \t]*
    (?: '([^']*)' | "((?:[^"\\]|\\.)*)" | ((?!['"])[^\n]*?) )
    [ \t]* (?:(?<=[ \t])\#[^\n]*)? (?:\n|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)


def _read_env(path: Path) -> dict[str, str]:
    """Read NAME=value lines: bare up to a ` #`, in '…' as it stands, in "…" with \\n, \\" and \\\\.

    A quoted value may go over several lines. Nothing is run, and no variable is put in.
    """
    try:
        text = _read_text(path)
    except ConfigError:
        if path.exists():
            raise
        return {}
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        if blank := _ENV_BLANK.match(text, at):
            at = blank.end()
            continue
        match = _ENV_VALUE.match(text, at)
        if match is None:
            # The line may hold a secret: it is named, not shown.
            raise ConfigError(f"{path}:{text.count(chr(10), 0, at) + 1}: not of the form NAME=value")
        name, literal, quoted, bare = match.groups()
        if quoted is not None:
            literal = re.sub(r"\\(.)", lambda each: "\n" if each[1] == "n" else each[1], quoted, flags=re.DOTALL)
        found[name] = literal if literal is not None else bare
        at = match.end()
    return found


def _from_variables(variables: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    if variables.get("DATABASE_URL"):
        found["database"] = variables["DATABASE_URL"]
    if variables.get("DIRECT_URL") and not variables.get("WHIMBREL_DATABASE"):
        found["direct_url"] = variables["DIRECT_URL"]
    for key in KEYS:
        value = variables.get(f"WHIMBREL_{key.upper()}")
        if value:
            found[key] = value
    return found


def _checked(key: str, value: str, base: Path, origin: str) -> str:
    match key:
        case "migrations" | "seeds":
            return str(_path(key, value, base, origin))
        case "database" | "direct_url" if value.startswith("embedded:"):
            location, mark, options = value.removeprefix("embedded:").partition("?")
            if not location:
                return value
            # The address is percent-encoded, and the folder before it may hold "?" or "%".
            return f"embedded:{quote(str(_path(key, unquote(location), base, origin)))}{mark}{options}"
        case "history_table":
            match = _TABLE.fullmatch(value)
            if match is None:
                raise _bad_value(key, value, origin, "It is a name or schema.name in lower case.")
            return f"{match[1] or 'public'}.{match[2]}"
        case "lock_timeout" if value == "auto":
            pass
        case "lock_timeout" | "lock_budget" | "statement_timeout" | "lock_wait":
            if not _DURATION.fullmatch(value):
                raise _bad_value(key, value, origin, 'It is a duration such as "5s" or "2min".')
        case "lock":
            if value not in ("session", "transaction"):
                raise _bad_value(key, value, origin, 'It is "session" or "transaction".')
        case "out_of_order":
            if value not in ("apply", "refuse"):
                raise _bad_value(key, value, origin, 'It is "apply" or "refuse".')
        case _:
            pass
    return value


def _bad_value(key: str, value: str, origin: str, hint: str) -> ConfigError:
    return ConfigError(f'"{key}" cannot be "{value}" (from {origin})', hint=hint)


def _path(key: str, value: str, base: Path, origin: str) -> Path:
    try:
        return base / Path(value).expanduser()
    except RuntimeError:
        raise _bad_value(key, value, origin, "There is no such home directory.") from None

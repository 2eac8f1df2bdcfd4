"""The address of a cluster: embedded:PATH?dbname=…&version=…&bin=…."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from whimbrel.config import EMBEDDED
from whimbrel.errors import ConfigError

DEFAULT_VERSION = 18


@dataclass(frozen=True, slots=True)
class Embedded:
    """Where a cluster is, and whose programs run it.

    `version` is the major version, or None where `bin` alone decides.
    """

    data: Path
    dbname: str
    version: int | None
    bin: Path | None

    def __str__(self) -> str:
        parameters = {"dbname": self.dbname, "version": self.version, "bin": self.bin}
        query = "&".join(f"{key}={quote(str(value))}" for key, value in parameters.items() if value is not None)
        return f"{EMBEDDED}{quote(str(self.data))}?{query}"


def is_embedded(address: str) -> bool:
    return address.startswith(EMBEDDED)


def parse_address(address: str, relative_to: Path) -> Embedded:
    """Read `embedded:PATH?dbname=echo&version=18&bin=DIR`; paths and values may be percent-encoded."""
    path, _, query = address.removeprefix(EMBEDDED).partition("?")
    if not path:
        raise ConfigError(
            f'no path in the address "{address}"',
            hint="Write embedded:PATH, for example embedded:.whimbrel/pg.",
        )
    given: dict[str, str] = {}
    for parameter in filter(None, query.split("&")):
        key, _, value = parameter.partition("=")
        if key not in {"dbname", "version", "bin"}:
            raise ConfigError(
                f'unknown parameter "{key}" in the address "{address}"',
                hint="Known are dbname, version and bin.",
            )
        if key in given or not value:
            fact = "is given twice" if key in given else "has no value"
            raise ConfigError(f'parameter "{key}" {fact} in the address "{address}"')
        given[key] = unquote(value)
    version = given.get("version")
    if version is not None and not (version.isascii() and version.isdigit() and int(version) >= 13):
        raise ConfigError(
            f'"{version}" is not a PostgreSQL version that can be used',
            hint="Give the major version, 13 or later, for example version=18.",
        )
    return Embedded(
        data=(relative_to / unquote(path)).resolve(),
        dbname=given.get("dbname", "postgres"),
        version=int(version) if version else None if "bin" in given else DEFAULT_VERSION,
        bin=(relative_to / given["bin"]).resolve() if "bin" in given else None,
    )

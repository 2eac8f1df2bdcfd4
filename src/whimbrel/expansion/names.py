"""Names as SQL needs them: quoted like the server does, no longer than it keeps them, and not taken yet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

# NAMEDATALEN - 1 of every PostgreSQL that is not compiled otherwise.
MAX_BYTES = 63
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Quoting:
    """How this server quotes: `keywords` are those that cannot stand as a name."""

    keywords: frozenset[str]

    def name(self, name: str) -> str:
        """Return a name as SQL needs it, as the server's quote_ident does."""
        if _PLAIN.fullmatch(name) and name not in self.keywords:
            return name
        return '"' + name.replace('"', '""') + '"'

    def qualified(self, schema: str, name: str) -> str:
        """Return a name with its schema."""
        return f"{self.name(schema)}.{self.name(name)}"

    def names(self, names: Iterable[str]) -> str:
        """Return a list of names as it stands between parentheses."""
        return ", ".join(self.name(name) for name in names)


def literal(text: str) -> str:
    """Return a string constant, whatever standard_conforming_strings says."""
    quoted = text.replace("'", "''")
    return " E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in text else f"'{quoted}'"


def dollar_quoted(text: str) -> str:
    """Return a string constant between dollar quotes that do not occur in it."""
    tag, number = "$$", 0
    while tag in text or (tag == "$$" and text.endswith("$")):
        number += 1
        tag = f"$body{number}$"
    return f"{tag}{text}{tag}"


def shortened(name: str, size: int) -> str:
    """Return as many whole characters of a name as fit into a number of bytes."""
    return name.encode()[:size].decode(errors="ignore")


def joined(parts: Iterable[str], suffix: str = "") -> str:
    """Return parts and suffix joined by underscores in 63 bytes, the longest parts cut first, as the server does."""
    kept = list(parts)
    while True:
        name = "_".join([*kept, suffix] if suffix else kept)
        if len(name.encode()) <= MAX_BYTES:
            return name
        longest = max(range(len(kept)), key=lambda index: len(kept[index].encode()))
        kept[longest] = shortened(kept[longest], len(kept[longest].encode()) - 1)


@dataclass(slots=True)
class Registry:
    """The names of one kind that are taken, by the database or by what was handed out here."""

    taken: set[str] = field(default_factory=set[str])

    def free(self, *parts: str, suffix: str = "") -> str:
        """Return a name that is not taken, with a number behind it where needed, and take it."""
        number = 0
        while (name := joined(parts, f"{suffix}{number or ''}")) in self.taken:
            number += 1
        self.taken.add(name)
        return name

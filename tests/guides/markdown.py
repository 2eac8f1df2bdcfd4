"""Markdown → its code blocks, with what the text promises about each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

COMMANDS = {"bash", "sh", "sql"}
_FENCE = re.compile(r"( *)```(\w*)")
_NOTE = re.compile(r"<!-- test: (.*) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block. `note` is the comment `<!-- test: … -->` above it, `shows` the ```text block below it."""

    file: Path
    line: int
    heading: str
    language: str
    text: str
    note: str = ""
    shows: str = ""

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line}"

    @property
    def exit_code(self) -> int:
        """The exit code that the note promises: `exit 2`."""
        found = re.fullmatch(r"exit (\d+)", self.note)
        return int(found[1]) if found else 0

    @property
    def is_for_docker(self) -> bool:
        return self.note == "docker"

    @property
    def reason(self) -> str:
        """Why it is not run: `not run: …`."""
        return self.note.partition("not run: ")[2]


def read_blocks(file: Path) -> list[Block]:
    """Read the blocks of a Markdown file; a block of commands takes the ```text block that follows it."""
    blocks: list[Block] = []
    heading = note = ""
    lines = iter(enumerate(file.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if found := _FENCE.fullmatch(line):
            indent, language = found.groups()
            text: list[str] = []
            for _, inner in lines:
                if inner == f"{indent}```":
                    break
                text.append(inner.removeprefix(indent))
            else:
                raise AssertionError(f"{file.name}:{number}: the block has no end")
            block = Block(file, number, heading, language, "\n".join(text) + "\n", note)
            if language == "text" and blocks and blocks[-1].language in COMMANDS and not blocks[-1].shows:
                last = blocks.pop()
                block = Block(file, last.line, last.heading, last.language, last.text, last.note, block.text)
            blocks.append(block)
            note = ""
        elif found := _NOTE.fullmatch(line.strip()):
            note = found[1]
        elif found := re.fullmatch(r"#+ (.*)", line):
            heading = found[1]
    return blocks


_VARYING = (
    (re.compile(r"\b\d+(\.\d+)? m?s\b"), "DURATION"),
    (re.compile(r"\b20\d\d-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?( UTC|\+00)?"), "TIME"),
    (re.compile(r"\bprocess \d+"), "process N"),
    (re.compile(r"\bPostgreSQL 18(\.\d+)?"), "PostgreSQL 18"),
    (re.compile(r"[^\s\"=]*/\.whimbrel/"), ".whimbrel/"),
    (re.compile(r"\b\w+@[\w.-]+(?=\))"), "WHO"),
    (re.compile(r"-{2,}"), "--"),
    (re.compile(r"\s+"), " "),
)


def masked(line: str) -> str:
    """Return a line without what differs from run to run."""
    for pattern, word in _VARYING:
        line = pattern.sub(word, line)
    return line.strip()


def find_missing(shown: str, output: str) -> str | None:
    """Return the first line of `shown` that the output does not have, in that order; `…` stands for any lines."""
    rest = iter([masked(line) for line in output.splitlines()])
    for line in shown.splitlines():
        if line.strip() in {"", "…"}:
            continue
        if masked(line) not in rest:
            return line
    return None

"""The options that commands share, and what they give: an Invocation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from whimbrel.config import Config, read_config


@dataclass(frozen=True, slots=True)
class Invocation:
    """What every command is called with: the configuration, and how to talk."""

    config: Config
    as_json: bool
    is_quiet: bool


_FLAGS = (
    "database",
    "migrations",
    "seeds",
    "history_table",
    "lock_timeout",
    "lock_budget",
    "statement_timeout",
    "lock",
    "lock_wait",
)

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--database", metavar="URL", help="A URL, a libpq connection string, or embedded:PATH."),
    click.option("--migrations", metavar="DIR", help="The directory of the migrations."),
    click.option("--history-table", metavar="NAME", help="The history table, by default public.schema_migrations."),
    click.option("--config", "config_file", metavar="FILE", help="The configuration file, by default whimbrel.toml."),
    click.option("--json", "as_json", is_flag=True, help="Write JSON: one document, or one event a line."),
    click.option("-q", "--quiet", "is_quiet", is_flag=True, help="Say nothing but errors."),
)

_RUN_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--lock-timeout", metavar="TIME", help="How long one attempt waits for a table's lock (auto)."),
    click.option("--lock-budget", metavar="TIME", help="How long to go on trying to get it (10min)."),
    click.option("--statement-timeout", metavar="TIME", help="How long a statement may run (0: no limit)."),
    click.option("--lock", metavar="KIND", help="What the lock belongs to: session or transaction (session)."),
    click.option("--lock-wait", metavar="TIME", help="How long to wait for another run to end (1min)."),
)


def common(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Add the options of every command; the function is given an Invocation first."""

    @wraps(function)
    def invoke(**values: Any) -> int | None:
        flags: dict[str, str | None] = {name: values.pop(name) for name in _FLAGS if name in values}
        for name, value in flags.items():
            if value == "":
                # "$DATABASE" of a script that forgot to set it: nothing else may be guessed then.
                raise click.UsageError(f'option "--{name.replace("_", "-")}" is empty')
        file: str | None = values.pop("config_file")
        as_json: bool = values.pop("as_json")
        is_quiet: bool = values.pop("is_quiet")
        config = read_config(flags, file=Path(file) if file else None)
        return function(Invocation(config, as_json, is_quiet), **values)

    return _decorated(invoke, _OPTIONS)


def runs(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Add the options of a command that changes the database; to be put above `common`."""
    return _decorated(function, _RUN_OPTIONS)


def _decorated(
    function: Callable[..., int | None], options: tuple[Callable[[Any], Any], ...]
) -> Callable[..., int | None]:
    for option in reversed(options):
        function = option(function)
    return function


def confirm(question: str, *, is_confirmed: bool) -> None:
    """Ask on the terminal. Raises ConfigError for a no, and where there is no terminal."""
    import select
    import sys

    from whimbrel.errors import ConfigError

    if is_confirmed:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError("this has to be confirmed, and there is no terminal to ask on", hint="Add --yes.")
    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    # In steps: a signal that comes just before a blocking read is not seen by Python until the read ends.
    while not select.select([sys.stdin], [], [], 0.5)[0]:
        pass
    answer = sys.stdin.readline()
    if not answer:
        # Ctrl-D; the cursor still stands behind the question.
        click.echo(err=True)
    if answer.strip().lower() not in ("y", "yes"):
        raise ConfigError("not confirmed", detail="Nothing was changed.")

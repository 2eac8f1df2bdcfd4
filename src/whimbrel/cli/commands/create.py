"""whimbrel create"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from whimbrel.cli import output
from whimbrel.cli.options import Invocation, common
from whimbrel.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from whimbrel.expansion import Expansion, Request

KINDS = {"rename": "the column and its new name", "retype": "the column and its new type"}


@click.command("create", short_help="Make the next pair of files, or those that rename or retype a column.")
@click.argument("names", metavar="NAME", nargs=-1)
@click.option("--timestamp", is_flag=True, help="Number it with the time (UTC) and not with the next number.")
@click.option("--expand", "kind", metavar="KIND", help="Write the steps that change a column while it is in use.")
@click.option("--using", metavar="EXPRESSION", help="With --expand retype: what the new value is, if no plain cast.")
@common
def command(
    invocation: Invocation, names: tuple[str, ...], timestamp: bool, kind: str | None, using: str | None
) -> None:
    """Make the next pair of files: NNNNNN_NAME.up.sql and NNNNNN_NAME.down.sql. Needs no database.

    With --expand rename COLUMN NAME or --expand retype COLUMN TYPE it looks at the column in the database, which it
    does not change, and makes a pair of files for each step.

    \b
    Examples:
      whimbrel create add_last_active
      whimbrel create "Add last active"          the same name
      whimbrel create add_last_active --timestamp
      whimbrel create --expand rename messages.messages.body content
      whimbrel create --expand retype messages.messages.seq bigint
      whimbrel create --expand retype app.t.at timestamptz --using "at AT TIME ZONE 'UTC'"
    """
    request = _request(names, kind, using)
    directory = invocation.config.migrations
    if directory.exists() and not directory.is_dir():
        raise SourceError(f"{_relative(directory)} is not a directory")
    try:
        if request is None:
            (name,) = names
            paths, advice = _write_pair(directory, name, is_timed=timestamp), []
        else:
            paths, advice = _write_expansion(invocation, request, is_timed=timestamp)
    except OSError as error:
        raise SourceError(f"{_relative(Path(error.filename))}: {(error.strerror or str(error)).lower()}") from None
    if invocation.as_json:
        from whimbrel.cli.documents import document, dump

        output.say(dump(document("created", files=[_relative(path) for path in paths])))
    elif not invocation.is_quiet:
        for line in [*map(_relative, paths), *advice]:
            output.say(line)


def _request(names: Sequence[str], kind: str | None, using: str | None) -> Request | None:
    """Return what is to be expanded, None for a plain pair of files. Raises UsageError."""
    if kind is None:
        if using is not None:
            raise click.UsageError("--using belongs to --expand retype")
        if not names:
            raise click.UsageError("argument NAME is missing")
        if len(names) > 1:
            raise click.UsageError(f"got unexpected extra argument ({' '.join(names[1:])})")
        return None
    from whimbrel.expansion import Request

    if kind not in KINDS:
        raise click.UsageError(f'--expand is "rename" or "retype" and not "{kind}"')
    if len(names) < 2 or (kind == "rename" and len(names) > 2):
        given = "1 argument is" if len(names) == 1 else f"{len(names)} arguments are"
        raise click.UsageError(f"--expand {kind} takes {KINDS[kind]}, and {given} given")
    if kind == "rename":
        if using is not None:
            raise click.UsageError("--using belongs to --expand retype")
        return Request(names[0], name=names[1])
    # "timestamp with time zone" needs no quotes in the shell.
    return Request(names[0], type=" ".join(names[1:]), using=using)


def _write_pair(directory: Path, name: str, *, is_timed: bool) -> list[Path]:
    from whimbrel.migration import describe

    slug = re.sub(r"\W+", "_", name.strip().lower()).strip("_")
    if not slug:
        raise ConfigError(f'"{name}" has no letter or digit that a file name could have')
    (number,) = _numbers(directory, 1, is_timed=is_timed)
    paths = [directory / f"{number}_{slug}.{direction}.sql" for direction in ("up", "down")]
    texts = (f"-- {describe(slug).capitalize()}.\n\n", f"-- Undo: {describe(slug)}.\n\n")
    for path, text in zip(paths, texts, strict=True):
        # "x": a file that somebody else has just made is never overwritten.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return paths


def _write_expansion(invocation: Invocation, request: Request, *, is_timed: bool) -> tuple[list[Path], list[str]]:
    from whimbrel.execution.opening import open_session
    from whimbrel.expansion import expand, write_files

    with open_session(invocation.config) as session:
        expansion = expand(session.connection, request, invocation.config)
    directory = invocation.config.migrations
    numbers = _numbers(directory, len(expansion.steps), is_timed=is_timed)
    paths = write_files(expansion, directory, numbers)
    if not invocation.is_quiet:
        for note in expansion.notes:
            output.warn(note)
    return paths, _advice(expansion, numbers)


def _advice(expansion: Expansion, numbers: Sequence[str]) -> list[str]:
    before, last = numbers[expansion.serves_old - 1], numbers[-1]
    if expansion.is_swapped:
        return [
            f"Up to {numbers[expansion.serves_old - 2]} the application notices nothing.",
            f"Before {before} (swap): run a version that bears {expansion.new}. From there a down leads back.",
            f"Merge or apply {last} (contract) when nobody wants to go back any more.",
        ]
    return [
        f"Up to {before} the old version of the application runs on: whimbrel up --to {before}",
        f"Then deploy the version that uses {expansion.new}; old and new may run side by side.",
        f"Merge or apply {last} (contract) when no version that uses {expansion.old} runs any more.",
    ]


def _numbers(directory: Path, count: int, *, is_timed: bool) -> list[str]:
    """Return the next numbers as file names have them, making the directory where there is none."""
    from whimbrel.source import MAX_VERSION, next_version, read_migrations

    directory.mkdir(parents=True, exist_ok=True)
    version, digits = next_version(read_migrations(directory).migrations)
    if is_timed:
        now = datetime.now(UTC)
        return [f"{now + timedelta(seconds=each):%Y%m%d%H%M%S}" for each in range(count)]
    if version + count - 1 > MAX_VERSION:
        raise SourceError(
            f"version {version + count - 1} is larger than bigint allows", hint=f"The largest version is {MAX_VERSION}."
        )
    return [f"{version + each:0{digits}d}" for each in range(count)]


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

"""whimbrel create"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import click

from whimbrel.cli import output
from whimbrel.cli.options import Invocation, common
from whimbrel.errors import ConfigError, SourceError


@click.command("create", short_help="Make the next pair of files.")
@click.argument("name")
@click.option("--timestamp", is_flag=True, help="Number it with the time (UTC) and not with the next number.")
@common
def command(invocation: Invocation, name: str, timestamp: bool) -> None:
    """Make the next pair of files: NNNNNN_NAME.up.sql and NNNNNN_NAME.down.sql. Needs no database.

    \b
    Examples:
      whimbrel create add_last_active
      whimbrel create "Add last active"          the same name
      whimbrel create add_last_active --timestamp
    """
    from whimbrel.migration import describe
    from whimbrel.source import MAX_VERSION, next_version, read_migrations

    slug = re.sub(r"\W+", "_", name.strip().lower()).strip("_")
    if not slug:
        raise ConfigError(f'"{name}" has no letter or digit that a file name could have')
    directory = invocation.config.migrations
    if directory.exists() and not directory.is_dir():
        raise SourceError(f"{_relative(directory)} is not a directory")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        version, digits = next_version(read_migrations(directory).migrations)
        if version > MAX_VERSION and not timestamp:
            raise SourceError(
                f"version {version} is larger than bigint allows", hint=f"The largest version is {MAX_VERSION}."
            )
        number = f"{datetime.now(UTC):%Y%m%d%H%M%S}" if timestamp else f"{version:0{digits}d}"
        paths = [directory / f"{number}_{slug}.{direction}.sql" for direction in ("up", "down")]
        texts = (f"-- {describe(slug).capitalize()}.\n\n", f"-- Undo: {describe(slug)}.\n\n")
        for path, text in zip(paths, texts, strict=True):
            # "x": a file that somebody else has just made is never overwritten.
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise SourceError(f"{_relative(Path(error.filename))}: {(error.strerror or str(error)).lower()}") from None
    if invocation.as_json:
        from whimbrel.cli.documents import document, dump

        output.say(dump(document("created", files=[_relative(path) for path in paths])))
    elif not invocation.is_quiet:
        for path in paths:
            output.say(_relative(path))


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

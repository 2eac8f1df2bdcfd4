"""What is wrong with a command line, in the words of the other errors; and the numbers that stand on one."""

from __future__ import annotations

from collections.abc import Iterable

import click

from whimbrel.errors import ConfigError


def version(text: str) -> int:
    """Return a migration's version as it may be typed: `12`, or `000012` as in the file name."""
    from whimbrel.source import MAX_VERSION

    if not (text.isascii() and text.isdigit()):
        raise click.UsageError(f'"{text}" is not a version, which is the number that a file name begins with')
    if int(text) > MAX_VERSION:
        raise click.UsageError(f"version {text} is larger than bigint allows")
    return int(text)


def number(text: str) -> int:
    """Return how many of something a person wants."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        raise click.UsageError(f'"{text}" is not a number from 1 up')
    return int(text)


class Group(click.Group):
    """A group of commands that knows what a misspelt one may have meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names. Raises UsageError."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            raise click.UsageError(f'no such command "{args[0]}"{_suggestion(args[0], names)}', ctx)
        return super().resolve_command(ctx, args)


def usage_error(error: click.UsageError) -> ConfigError:
    """Return click's complaint as an error of ours, with where to read more."""
    command = error.ctx.command_path if error.ctx is not None else "whimbrel"
    return ConfigError(_fact(error), hint=f"See: {command} --help")


def _fact(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption):
        known = error.ctx.command.get_params(error.ctx) if error.ctx is not None else []
        names = [name for parameter in known for name in parameter.opts if name.startswith("--")]
        return f'no such option "{error.option_name}"{_suggestion(error.option_name, names)}'
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return f"{error.param.param_type_name} {error.param.human_readable_name} is missing"
    text = error.format_message()
    # click quotes as Python does, the errors as PostgreSQL does.
    return (text[:1].lower() + text[1:]).rstrip(".").replace("'", '"')


def _suggestion(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=1)
    return f'; perhaps you meant "{close[0]}"' if close else ""

"""The command line: parse, dispatch, errors → exit codes."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from types import FrameType

import click

from whimbrel import errors
from whimbrel.cli import render

# Each is a module of whimbrel.cli.commands, imported when it is called or when its help is shown.
COMMANDS = (
    "up",
    "down",
    "redo",
    "force",
    "status",
    "history",
    "create",
    "baseline",
    "resolve",
    "repair",
    "seed",
    "psql",
    "cluster",
    "completion",
)

EXIT_CODES: tuple[tuple[type[errors.WhimbrelError], int], ...] = (
    (errors.StatementFailed, 1),
    (errors.Unsettled, 4),
    (errors.LockNotObtained, 5),
    (errors.Modified, 6),
    (errors.OutOfOrder, 7),
    (errors.ConnectionFailed, 8),
    (errors.ClusterError, 8),
)
USAGE = 2


class Commands(click.Group):
    """The commands, each imported only when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        return import_module(f"whimbrel.cli.commands.{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches

        if args and args[0] not in COMMANDS and (close := get_close_matches(args[0], COMMANDS, n=1)):
            ctx.fail(f'no such command "{args[0]}"; perhaps you meant "{close[0]}"')
        return super().resolve_command(ctx, args)


def _show_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    del parameter
    if value:
        from importlib.metadata import version

        click.echo(f"whimbrel {version('whimbrel')}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def group() -> None:
    """PostgreSQL migrations in plain SQL.

    \b
    Exit codes: 0 done, or nothing to do    5 lock not obtained
                1 a statement failed        6 an applied file was modified
                2 usage, or a bad file      7 out of order, and refused
                3 pending (status --check)  8 cannot connect
                4 interrupted, to settle    130, 143 interrupted by a signal
    """


def exit_code(error: errors.WhimbrelError) -> int:
    """Return the exit code of an error; what has none of its own is a usage error or a bad file."""
    if isinstance(error, errors.Interrupted):
        return 128 + error.signum
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), USAGE)


def main() -> None:
    """Run the command line and exit."""
    _raise_on_signals()
    as_json = "--json" in sys.argv
    try:
        code: object = group.main(standalone_mode=False, prog_name="whimbrel")
    except errors.WhimbrelError as error:
        render.show_error(error, exit_code(error), as_json=as_json)
        code = exit_code(error)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "whimbrel"
        usage = errors.ConfigError(_lowered(error.format_message()), hint=f"See: {command} --help")
        render.show_error(usage, USAGE, as_json=as_json)
        code = USAGE
    except (click.Abort, KeyboardInterrupt):
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader went away (| head): nothing is wrong here, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    sys.exit(code if isinstance(code, int) else 0)


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:].rstrip(".")


def _raise_on_signals() -> None:
    def interrupt(signum: int, frame: FrameType | None) -> None:
        del frame
        # The first one starts the clean-up, which takes a few seconds at most; a second must not disturb it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise errors.Interrupted(signum)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)

"""The command line: parse, dispatch, errors → exit codes."""

from __future__ import annotations

import gc
import signal
import sys
from importlib import import_module
from types import FrameType

import click

from whimbrel import errors
from whimbrel.cli import output
from whimbrel.cli.usage import Group, usage_error
from whimbrel.interruption import receive

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
    "backfill",
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


class Commands(Group):
    """The commands, each imported only when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        return import_module(f"whimbrel.cli.commands.{cmd_name}").command


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
    # Half of a short command's time would be looking for garbage that is not there: while modules are imported, and
    # once more at the exit.
    gc.set_threshold(50_000)
    _raise_on_signals()
    as_json = "--json" in sys.argv
    try:
        code: object = group.main(standalone_mode=False, prog_name="whimbrel")
    except errors.WhimbrelError as error:
        code = exit_code(error)
        output.show_error(error, exit_code(error), as_json=as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = USAGE
    except click.UsageError as error:
        code = USAGE
        output.show_error(usage_error(error), USAGE, as_json=as_json)
    except Exception:  # noqa: BLE001  (a bug: its traceback is shown, without the passwords that may stand in it)
        code = 1
        _show_bug(as_json=as_json)
    if (unwritten := output.output_error()) is not None:
        fact = (unwritten.strerror or str(unwritten)).lower()
        output.show_error(errors.ConfigError(f"standard output: {fact}"), USAGE, as_json=False)
        code = code or USAGE
    gc.freeze()
    sys.exit(code if isinstance(code, int) else 0)


def _show_bug(*, as_json: bool) -> None:
    import traceback

    from whimbrel.database import hide_secrets

    sys.stderr.write(hide_secrets(traceback.format_exc()))
    bug = errors.WhimbrelError(
        "this is a bug in whimbrel",
        detail="What was not committed is rolled back by the server.",
        hint="Please report it with the lines above.",
    )
    output.show_error(bug, 1, as_json=as_json)


def _raise_on_signals() -> None:
    def interrupt(signum: int, frame: FrameType | None) -> None:
        del frame
        # The first one starts the clean-up, which takes a few seconds at most; a second must not disturb it. It is
        # taken and forgotten: Python complains of one that has arrived already when it is to be ignored (SIG_IGN).
        signal.signal(signal.SIGINT, _forget)
        signal.signal(signal.SIGTERM, _forget)
        receive(signum)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


def _forget(signum: int, frame: FrameType | None) -> None:
    del signum, frame

"""whimbrel status"""

from __future__ import annotations

import click

from whimbrel.cli import output, tables
from whimbrel.cli.options import Invocation, common
from whimbrel.config import KEYS

PENDING, UNSETTLED, MODIFIED = 3, 4, 6


@click.command("status")
@click.option("--check", is_flag=True, help="Exit with 3 if something is pending, 4 interrupted, 6 modified.")
@click.option("--origins", is_flag=True, help="Show the configuration, and where each value came from.")
@common
def command(invocation: Invocation, check: bool, origins: bool) -> int:
    """Show which migrations are applied and which are pending. Changes nothing.

    A role that may only read is enough.

    \b
    Examples:
      whimbrel status
      whimbrel status --check      for a deployment: exit 3 if something is pending
      whimbrel status --origins    which database, and who said so
    """
    from whimbrel.cli.commands.up import warn_of_ignored
    from whimbrel.execution import operations
    from whimbrel.execution.opening import open_session

    if origins:
        show_origins(invocation)
        return 0
    source = operations.open_source(invocation.config.migrations)
    warn_of_ignored(invocation, source.ignored)
    with open_session(invocation.config) as session:
        states = operations.read_states(session, source)
        if invocation.as_json:
            from whimbrel.cli.documents import document, dump, state_form

            pending = sum(state.applied is None for state in states)
            output.say(
                dump(
                    document(
                        "status",
                        database=session.label,
                        server_version=session.server_version,
                        applied=len(states) - pending,
                        pending=pending,
                        migrations=[state_form(state) for state in states],
                        ignored=list(source.ignored),
                    )
                )
            )
        elif not invocation.is_quiet:
            tables.show_states(states)
    if not check:
        return 0
    if any(state.interruption for state in states):
        return UNSETTLED
    if any(state.is_modified for state in states):
        return MODIFIED
    return PENDING if any(state.applied is None for state in states) else 0


def show_origins(invocation: Invocation) -> None:
    """Write every configured value with its origin; a password is left out."""
    config = invocation.config
    values: dict[str, tuple[str, str]] = {}
    for key in KEYS:
        value = getattr(config, key)
        if key == "database":
            value = _shown_address(config.database, "libpq's defaults and PG* variables")
        elif key == "direct_url":
            value = _shown_address(config.direct_url, "none")
        values[key] = (str(value), config.origins.get(key, "default"))
    if invocation.as_json:
        from whimbrel.cli.documents import document, dump

        found = {key: {"value": value, "origin": origin} for key, (value, origin) in values.items()}
        output.say(dump(document("origins", values=found)))
        return
    for key, (value, origin) in values.items():
        output.say(f"{key:<18} {value}  {output.paint(f'({origin})', 'dim')}")


def _shown_address(address: str | None, missing: str) -> str:
    from whimbrel.database import without_password

    if address is None:
        return missing
    return address if address.startswith("embedded:") else without_password(address)

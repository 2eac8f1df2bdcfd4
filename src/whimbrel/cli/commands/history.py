"""whimbrel history"""

from __future__ import annotations

import click

from whimbrel.cli import output
from whimbrel.cli.options import Invocation, common
from whimbrel.cli.usage import number


@click.command("history", short_help="Show every attempt to change the database.")
@click.option("--limit", "-n", type=number, default="50", show_default=True, help="How many attempts.")
@common
def command(invocation: Invocation, limit: int) -> None:
    """Show every attempt to change the database, newest first: when, what, who, and how it ended.

    \b
    Examples:
      whimbrel history
      whimbrel history -n 5 --json
    """
    from whimbrel.durations import show_duration
    from whimbrel.execution.opening import open_session
    from whimbrel.history import read_log

    with open_session(invocation.config) as session:
        session.read_history()
        attempts = read_log(session.connection, session.config, limit)
    if invocation.as_json:
        from whimbrel.cli.documents import attempt_form, document, dump

        output.say(dump(document("history", attempts=[attempt_form(attempt) for attempt in attempts])))
        return
    if invocation.is_quiet:
        return
    for attempt in attempts:
        sign = output.paint(output.mark("done"), "green")
        if attempt.outcome != "succeeded":
            sign = output.paint(output.mark("failed"), "red")
        duration = show_duration(attempt.finished_at - attempt.started_at)
        name = f"{attempt.version}" + (f" {attempt.name}" if attempt.name else "")
        who = f"{attempt.role}@{attempt.host}" if attempt.host else attempt.role
        say = f"{sign} {attempt.started_at:%Y-%m-%d %H:%M:%S} UTC  {attempt.action:<8}  {name}  ({duration}, {who})"
        output.say(say)
        if attempt.message:
            state = f" ({attempt.sqlstate})" if attempt.sqlstate else ""
            output.say(f"    {attempt.outcome}: {attempt.message}{state}")
    if not attempts:
        output.say("Nothing was ever done here.")

"""whimbrel backfill"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whimbrel.cli import output, render
from whimbrel.cli.options import Invocation, common, runs

if TYPE_CHECKING:
    from whimbrel.backfills import Progress


@click.command("backfill", short_help="Run one UPDATE or DELETE in batches.")
@click.argument("statement_file", metavar="FILE", required=False)
@click.option("--table", metavar="NAME", help="The table that the statement has to be for.")
@click.option("--by", metavar="COLUMNS", help="The columns to walk the table by (its primary key).")
@click.option("--batch", metavar="N", default=None, help="How many rows a batch has, or auto (auto).")
@click.option("--max-lag", metavar="TIME", default="5s", help="How far a standby may lag behind; 0: any (5s).")
@click.option("--status", "is_status", is_flag=True, help="Show the backfills that were begun, and how far they are.")
@runs
@common
def command(
    invocation: Invocation,
    statement_file: str | None,
    table: str | None,
    by: str | None,
    batch: str | None,
    max_lag: str,
    is_status: bool,
) -> None:
    """Run the UPDATE or DELETE of FILE in batches, until it finds no row any more.

    Each batch is a transaction of its own, of half a second at most where that can be. After an error, a kill or a
    restart of the server the same command goes on behind the last batch that was committed.

    \b
    Examples:
      whimbrel backfill fill_content.sql
      whimbrel backfill fill_content.sql --by "tenant_id, id" --batch 500
      whimbrel backfill fill_content.sql --table messages.messages --max-lag 30s
      whimbrel backfill --status
    """
    if is_status:
        if statement_file is not None:
            raise click.UsageError("--status shows all of them: leave out FILE")
        _show_status(invocation)
        return
    if statement_file is None:
        raise click.UsageError("argument FILE is missing")
    from whimbrel.execution import backfilling
    from whimbrel.execution.ordering import read_order

    script, statement, order = read_order(Path(statement_file), table=table, by=by, batch=batch, max_lag=max_lag)
    with render.reporter(as_json=invocation.as_json, is_quiet=invocation.is_quiet) as reporter:
        done = backfilling.run_order(invocation.config, script, statement, order, reporter.handle)
    if invocation.as_json:
        from whimbrel.cli.documents import document, dump

        output.say(
            dump(
                document(
                    "backfilled",
                    table=done.table,
                    changed=done.changed,
                    walks=done.walks,
                    batches=done.batches,
                    duration_ms=round(done.duration.total_seconds() * 1000, 3),
                )
            )
        )
    elif not invocation.is_quiet:
        from whimbrel.durations import show_duration

        batches = f"{done.batches:,} batch{'' if done.batches == 1 else 'es'}"
        output.say(
            f"Done: {output.count(done.changed, 'row')} of {done.table} changed in {batches}"
            f" ({show_duration(done.duration)}); none is left."
        )


def _show_status(invocation: Invocation) -> None:
    from whimbrel.execution.backfilling import read_progress
    from whimbrel.execution.opening import open_session

    with open_session(invocation.config) as session:
        found = read_progress(session)
    if invocation.as_json:
        from whimbrel.cli.documents import document, dump

        output.say(dump(document("backfills", backfills=[_form(each) for each in found])))
        return
    if invocation.is_quiet:
        return
    for each in found:
        is_done = each.finished_at is not None
        sign = output.paint(output.mark("done" if is_done else "pending"), "green" if is_done else "yellow")
        output.say(f"{sign} {each.table}  {_place(each)}  {_extent(each)}")
    if not found:
        output.say("No backfill was ever begun here.")


def _place(progress: Progress) -> str:
    origin = progress.origin
    if origin.version is not None:
        return f"version {origin.version} ({origin.direction}), statement {origin.statement}"
    return origin.file or "a statement without a file"


def _extent(progress: Progress) -> str:
    changed = f"{output.count(progress.changed, 'row')} changed"
    if progress.finished_at is not None:
        return f"{changed}, done at {progress.finished_at:%Y-%m-%d %H:%M:%S} UTC"
    part = f" ({100 * progress.walked // progress.rows} %)" if progress.rows else ""
    again = f" in walk {progress.walk}" if progress.walk > 1 else ""
    last = f"last batch at {progress.updated_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{progress.walked:,} of about {progress.rows:,} rows walked{again}{part}, {changed}, {last}"


def _form(progress: Progress) -> dict[str, Any]:
    origin = progress.origin
    return {
        "id": progress.id,
        "migration": origin.version,
        "direction": origin.direction,
        "statement": origin.statement,
        "file": origin.file,
        "table": progress.table,
        "by": list(progress.key),
        "walk": progress.walk,
        "walked": progress.walked,
        "total": progress.rows,
        "changed": progress.changed,
        "batches": progress.batches,
        "started_at": progress.started_at.isoformat(),
        "updated_at": progress.updated_at.isoformat(),
        "finished_at": progress.finished_at.isoformat() if progress.finished_at is not None else None,
        "role": progress.role,
        "host": progress.host,
    }

"""The benchmark of changes under traffic counts rightly and shows what it measured; no test asks for speed."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from benchmarks import drawing
from benchmarks.nonstop import changes, contestants, document, echo, expansions, report, runner, stalls, targets, waits
from benchmarks.nonstop.application import started
from benchmarks.nonstop.changes import CHANGES, Change
from benchmarks.nonstop.contestants import Contestant
from benchmarks.nonstop.runner import Load, Measured, Sample
from benchmarks.nonstop.stalls import Stretch, Transaction, Window
from benchmarks.nonstop.waits import Waits
from benchmarks.runner import Server, started_server

from whimbrel.source import read_migrations

ROOT = Path(__file__).parents[1]
RATE, CLIENTS = 100.0, 4
own_sql = pytest.mark.parametrize("change", [each for each in CHANGES if not each.sources], ids=lambda each: each.name)


@pytest.fixture(scope="module")
def filled() -> Generator[Server]:
    """Give a server with Echo's database and a few rows in it."""
    with started_server({"fsync": "off"}) as server:
        echo.fill(server, 500)
        yield server


# Stalls


def test_a_transaction_counts_from_when_it_was_due() -> None:
    late = Transaction(due=10.0, ended=13.0, kind="read")
    assert stalls.look([late], Window(12.0, 20.0)) == Stretch(1, 3.0, 1, {})


def test_only_what_was_under_way_in_a_window_counts() -> None:
    inside = [
        Transaction(1.0, 2.1, "read"),
        Transaction(2.9, 3.1, "edit", "42703"),
        Transaction(2.5, 2.6, "send", "42703"),
    ]
    outside = [Transaction(0.5, 1.9, "read", "40P01"), Transaction(3.1, 9.0, "page")]
    found = stalls.look([*outside, *inside], Window(2.0, 3.0))
    assert (found.transactions, found.errors, found.failed, found.slow) == (3, {"42703": 2}, 2, 1)
    assert found.stall == pytest.approx(1.1)
    assert stalls.look(outside, Window(2.0, 3.0)) == Stretch(0, 0.0, 0, {})


def test_a_stall_that_the_quiet_time_had_as_well_was_not_caused() -> None:
    assert stalls.caused(Stretch(9, 0.5, 0, {}), Stretch(9, 0.125, 0, {})) == 0.375
    assert stalls.caused(Stretch(9, 0.5, 0, {}), Stretch(9, 0.75, 0, {})) == 0


def test_transactions_are_read_as_they_were_written(tmp_path: Path) -> None:
    done = [Transaction(1 / 3, 123456.789012345, "read"), Transaction(2.0, 3.5, "send", "23505")]
    stalls.write(done, tmp_path / "transactions")
    assert stalls.read(tmp_path / "transactions") == done


def test_a_quiet_time_is_as_long_as_the_change_was_within_bounds() -> None:
    load = Load(least_quiet=10, most_quiet=30)
    assert runner.quiet_time(load, []) == 10
    assert runner.quiet_time(load, [_sample(seconds=2)]) == 10
    assert runner.quiet_time(load, [_sample(seconds=20), _sample(seconds=3)]) == 20 + runner.AFTERMATH
    assert runner.quiet_time(load, [_sample(seconds=200)]) == 30


# The application


def test_the_application_does_all_that_comes_due_while_it_is_held_up(filled: Server, tmp_path: Path) -> None:
    with echo.copied(filled) as conninfo, started(conninfo, CLIENTS, RATE, tmp_path / "done") as application:
        with psycopg.connect(conninfo) as holder:
            holder.execute("LOCK TABLE messages.messages IN ACCESS EXCLUSIVE MODE")
            time.sleep(0.5)
            begin = time.monotonic()
            time.sleep(1)
            released = time.monotonic()
        done = application.stop()
    held_up = [each for each in done if begin <= each.due <= released]
    assert all(each.ended >= released for each in held_up)
    assert max(each.latency for each in held_up) > 0.9
    # Not fewer because nobody could send them: at most the one that each client has at the edges.
    assert abs(len(held_up) - RATE * (released - begin)) <= 2 * CLIENTS
    assert {each.error for each in done} == {""}


def test_the_application_counts_what_fails_until_it_is_deployed(filled: Server, tmp_path: Path) -> None:
    with echo.copied(filled) as conninfo, started(conninfo, CLIENTS, RATE, tmp_path / "done") as application:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            time.sleep(0.5)
            before = time.monotonic()
            connection.execute("ALTER TABLE messages.messages RENAME COLUMN client TO client_name")
            renamed = time.monotonic()
            time.sleep(0.5)
            application.deploy(0.2)
            deployed = time.monotonic()
            time.sleep(0.5)
        done = application.stop()
    assert {each.error for each in done if each.ended < before} == {""}
    assert {each.error for each in done if renamed < each.due and each.ended < deployed - 0.2} == {"42703"}
    # What was due before may have been begun with the old name.
    after = [each for each in done if each.due > deployed]
    assert after
    assert {each.error for each in after} == {""}
    assert {each.kind for each in done} == {"read", "page", "edit", "send"}


def test_a_connection_that_was_cut_is_a_failure_and_is_made_anew(filled: Server, tmp_path: Path) -> None:
    cut = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE application_name = 'echo'"
    with echo.copied(filled) as conninfo, started(conninfo, CLIENTS, RATE, tmp_path / "done") as application:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            assert connection.execute(cut.encode()).fetchone() == (CLIENTS,)
        time.sleep(1)
        done = application.stop()
    errors = [each.error for each in done]
    assert CLIENTS <= sum(map(bool, errors)) < len(errors)
    assert errors[-CLIENTS:] == [""] * CLIENTS


# The changes


@own_sql
def test_plain_sql_makes_the_change(filled: Server, change: Change) -> None:
    _make(filled, change, Contestant.PSQL)


@own_sql
def test_the_migrations_make_the_change(filled: Server, change: Change) -> None:
    _make(filled, change, Contestant.WHIMBREL)


def test_a_change_that_fails_says_why(filled: Server) -> None:
    [change] = [each for each in CHANGES if each.name == "add-index"]
    with echo.copied(filled) as conninfo:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("ALTER TABLE messages.messages DROP COLUMN device_id")
        for contestant in Contestant:
            made = _change(filled, change, contestant, conninfo)
            assert 'column "device_id" does not exist' in made.failure


@own_sql
def test_the_migrations_come_behind_those_of_echo(change: Change) -> None:
    last = max(migration.version for migration in read_migrations(echo.MIGRATIONS).migrations)
    versions = [migration.version for migration in read_migrations(change.folder).migrations]
    assert len(versions) == len(change.migrations)
    assert min(versions) > last


@pytest.mark.parametrize("change", [each for each in CHANGES if each.expansion], ids=lambda each: each.name)
def test_the_kept_files_of_an_expansion_are_what_the_command_writes(filled: Server, change: Change) -> None:
    hint = "python -m benchmarks.nonstop expand; python -m benchmarks.nonstop document"
    assert expansions.create(filled, change) == dict(changes.shown(change)), hint


def test_every_change_has_a_name_and_a_title_of_its_own_and_every_folder_its_change() -> None:
    for values in ([change.name for change in CHANGES], [change.title for change in CHANGES]):
        assert len(set(values)) == len(values)
    assert {file.name for file in changes.FOLDER.iterdir()} == {change.folder.name for change in CHANGES}


# Events


def test_waits_are_read_from_the_events_of_a_run() -> None:
    reader = {"pid": 7, "application": "reports", "is_autovacuum": False}
    vacuum = {"pid": 8, "application": "", "is_autovacuum": True}
    unnamed = {"pid": 9, "application": "", "is_autovacuum": False}
    awaited: dict[str, Any] = {"whimbrel": "lock_awaited", "step": 5, "attempt": 1, "timeout_ms": None}
    events: list[tuple[float, dict[str, Any]]] = [
        (1.0, {"whimbrel": "run_started"}),
        (2.0, {**awaited, "blockers": [reader, unnamed]}),
        (3.0, {**awaited, "timeout_ms": 50.0, "blockers": [vacuum]}),
        (4.0, {**awaited, "attempt": 4, "blockers": []}),
        (7.5, {"whimbrel": "step_finished", "step": 5}),
        (8.0, {**awaited, "step": 6, "timeout_ms": 50.0, "blockers": []}),
        (8.5, {"whimbrel": "step_finished", "step": 6}),
        (9.0, {"whimbrel": "step_finished", "step": 7}),
        (9.0, {"whimbrel": "statement_running", "blockers": [reader]}),
        (9.0, {"whimbrel": "backfill_advanced", "pause": None}),
        (9.0, {"whimbrel": "backfill_advanced", "pause": "replica"}),
    ]
    found = waits.read_events([*((moment, json.dumps(event) + "\n") for moment, event in events), (9.5, "no JSON\n")])
    assert found == Waits(4, 6.0, 1, ("reports", "process 9", "autovacuum"))
    assert waits.add(found, Waits(2, 1.0, 0, ("autovacuum", "app"))) == Waits(
        6, 7.0, 1, ("reports", "process 9", "autovacuum", "app")
    )


def test_nothing_was_waited_for_where_no_event_says_so() -> None:
    assert waits.read_events([(1.0, '{"whimbrel": "step_finished", "step": 5}')]) == Waits()


# Reporting


def test_a_target_is_reached_below_its_limit_without_failures_and_not_otherwise() -> None:
    assert targets.judge(_form(_sample(stall=0.33, quiet=0.1))).is_reached
    missed = targets.judge(_form(_sample(stall=0.1), _sample(stall=0.45, quiet=0.1)))
    assert missed.reasons == ("a stall of 0.350 s (less than 0.25 s)",)
    failed = targets.judge(_form(_sample(errors={"42703": 2}), _sample(errors={"40P01": 1})))
    assert failed.reasons == ("3 transactions failed",)
    undone = targets.judge(_form(_sample(), _sample(failure="error: no lock")))
    assert undone.reasons == ("not done 1 times of 2",)
    assert not (missed.is_reached or failed.is_reached or undone.is_reached)


def test_the_table_shows_median_and_longest_with_what_went_wrong() -> None:
    samples = [_sample(stall=0.2, seconds=1), _sample(stall=0.3, seconds=2), _sample(stall=4.5, seconds=30)]
    samples.append(
        _sample(stall=0.2, seconds=1, errors={"42703": 12}, failure="psql ended with 1:\nerror: no lock\nHint: Wait.")
    )
    lines = report.table(_form(*samples, waits=Waits(2, 4.0, 0, ("reader",))))
    assert lines[0] == "add-index: Add an index (load 0.50)"
    whimbrel = next(line for line in lines if line.startswith("  whimbrel"))
    # n, stall and its longest, the quiet time's, caused and its longest, slow, failed, change, tries, waited
    assert " ".join(whimbrel.split()) == "whimbrel 4 250 ms 4.50 s 0 ms 250 ms 4.50 s 4 12 1.50 s 8 4.00 s"
    assert [line.strip() for line in lines[-3:]] == [
        "failed with 12 × 42703",
        "waited for reader",
        "not done: error: no lock",
    ]


def test_results_of_several_files_are_one_in_the_order_of_the_changes() -> None:
    old, new = _document("add-index", "add-column"), _document("add-column", "backfill")
    new["changes"][0]["title"] = "newer"
    merged = report.merge([old, new], [change.name for change in CHANGES])
    assert [change["name"] for change in merged["changes"]] == ["add-column", "add-index", "backfill"]
    assert merged["changes"][0]["title"] == "newer"


def test_the_page_shows_the_sql_that_is_measured() -> None:
    text = document.DOCUMENT.read_text(encoding="utf-8")
    begin, end = document.CHANGE_MARKS
    shown = text.partition(begin)[2].partition(end)[0]
    assert shown == "\n\n" + "\n".join(document.changes_of()) + "\n\n"
    for change in CHANGES:
        assert f"### {change.title}\n" in shown
        for name, sql in changes.shown(change):
            assert f"```sql\n-- {name}\n{sql.rstrip()}\n```\n" in shown


def test_the_figures_of_the_page_are_replaced_and_lead_to_the_changes(tmp_path: Path) -> None:
    page = tmp_path / "nonstop.md"
    page.write_text(document.DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    for _ in range(2):
        document.rewrite(_document(*(change.name for change in CHANGES)), page)
    text = page.read_text(encoding="utf-8")
    figures = text.partition(document.FIGURES[0])[2].partition(document.FIGURES[1])[0]
    rows = re.findall(r"^\| \[(.+)\]\(#(.+?)\) \|", figures, flags=re.MULTILINE)
    assert [title for title, _ in rows] == [change.title for change in CHANGES]
    headings = {report.anchor(title) for title in re.findall(r"^### (.+)$", text, flags=re.MULTILINE)}
    assert {anchor for _, anchor in rows} <= headings
    assert text.endswith(document.DOCUMENT.read_text(encoding="utf-8").partition(document.FIGURES[1])[2])


def test_a_plot_is_small_and_the_same_each_time(tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None and not drawing.MATPLOTLIB.program.exists():
        pytest.skip("matplotlib is not installed: python -m benchmarks.nonstop plot")
    file = tmp_path / "results.json"
    file.write_text(json.dumps(_document("add-index", "backfill")))
    for name in ("one", "two"):
        assert drawing.draw([file], tmp_path / name, "benchmarks.nonstop.plots") == 0
    drawn = (tmp_path / "one" / "nonstop.svg").read_bytes()
    assert drawn == (tmp_path / "two" / "nonstop.svg").read_bytes()
    assert len(drawn) < 60_000
    assert b"Add an index" in drawn


# The command


@pytest.mark.slow
def test_a_run_measures_both_and_writes_it_as_json(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    sizes = ("--rows", "500", "--repeats", "1", "--quiet", "0.5", "--rate", "50", "--clients", "2")
    done = _nonstop(*sizes, "--only", "add-index", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))
    assert (results["nonstop"], results["rows"], results["clients"], results["rate"]) == (report.FORMAT, 500, 2, 50)
    [change] = results["changes"]
    assert change["name"] == "add-index"
    assert [row["name"] for row in change["contestants"]] == ["psql", "whimbrel"]
    for row in change["contestants"]:
        assert row["failures"] == []
        assert (row["n"], row["failed"]) == (1, 0)
        assert 0 < row["stall"]["median"] <= row["stall"]["max"]
        assert row["transactions"] > 0
        assert row["seconds"]["median"] > 0
        assert row["samples"][0]["quiet"] > 0
    assert "add-index: Add an index" in done.stdout
    assert "50 transactions a second" in done.stdout


def test_an_unknown_change_is_refused_with_the_names_that_there_are() -> None:
    done = _nonstop("--only", "nonsense")
    assert done.returncode == 2
    assert "no change nonsense; there are add-column, add-not-null" in done.stderr


def test_results_of_another_benchmark_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"benchmarks": 2, "cases": []}))
    done = _nonstop("targets", str(tmp_path / "other.json"))
    assert done.returncode == 2
    assert "not results of this benchmark" in done.stderr


def _make(server: Server, change: Change, contestant: Contestant) -> None:
    with echo.copied(server) as conninfo:
        assert not _is_there_before(conninfo, change)
        made = _change(server, change, contestant, conninfo)
        assert made.failure == ""
        assert echo.is_there(conninfo, change.check)


def _is_there_before(conninfo: str, change: Change) -> bool:
    try:
        return echo.is_there(conninfo, change.check)
    except (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        return False


def _change(server: Server, change: Change, contestant: Contestant, conninfo: str) -> contestants.Made:
    return contestants.change(contestant, change, server.psql, conninfo, server.folder, lambda: None)


def _nonstop(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.nonstop", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _sample(
    stall: float = 0.1,
    quiet: float = 0.0,
    seconds: float = 1.0,
    errors: dict[str, int] | None = None,
    failure: str = "",
) -> Sample:
    during = Stretch(300, stall, 1, errors or {})
    return Sample(Stretch(300, quiet, 0, {}), seconds, during, seconds, Waits(), failure)


def _form(*samples: Sample, name: str = "add-index", waits: Waits | None = None) -> dict[str, Any]:
    """Return a change in which psql was measured once and whimbrel as given."""
    [change] = [each for each in CHANGES if each.name == name]
    waited = [Sample(s.quiet, s.quiet_seconds, s.during, s.seconds, waits or s.waits, s.failure) for s in samples]
    measured = {Contestant.PSQL: [_sample(stall=2.0)], Contestant.WHIMBREL: waited}
    return report.change_form(Measured(change, 0.5, measured))


def _document(*names: str) -> dict[str, Any]:
    return {
        "nonstop": report.FORMAT,
        "rows": 500,
        "repeats": 3,
        "clients": 16,
        "rate": 300.0,
        "date": "2026-01-02T03:04:05+00:00",
        "cores": 2,
        "system": "Linux",
        "python": "3.11",
        "postgresql": "18",
        "psql": "psql",
        "peers": {},
        "settings": {"fsync": "on"},
        "changes": [_form(_sample(), name=name) for name in names],
    }

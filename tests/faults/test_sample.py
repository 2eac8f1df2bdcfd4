"""A sample of the faults, drawn by a seed. All of them: `make faults`."""

from __future__ import annotations

import os

import pytest

from tests.faults.bench import Bench, Prepared, started_bench
from tests.faults.judgement import Fault, Judge, Outcome, Verdict
from tests.faults.points import choose_points
from tests.faults.proxy import Point, Side
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.trial import run_trial

SEED = int(os.environ.get("WHIMBREL_FAULTS_SEED", "1"))
# Points for each scenario and fault.
SAMPLE = int(os.environ.get("WHIMBREL_FAULTS_SAMPLE", "3"))
NAMED = {scenario.name: scenario for scenario in SCENARIOS}

SHARED = (Fault.CUT, Fault.KILL, Fault.TERMINATE)


def expect(outcome: Outcome) -> None:
    """Fail unless the trial converged."""
    told = "\n".join(outcome.problems)
    assert outcome.verdict == Verdict.CONVERGED.value, f"WHIMBREL_FAULTS_SEED={SEED}: {outcome}\n{told}"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.name for each in SCENARIOS])
def test_a_run_that_was_struck_converges(bench: Bench, scenario: Scenario) -> None:
    """At some points of each run: the same command again, and nothing is missing, twice or left over."""
    if bench.version < scenario.since:
        pytest.skip(f"PostgreSQL {scenario.since} and later")
    prepared = bench.prepare(scenario)
    for fault in SHARED:
        for point in choose_points(prepared, fault, SAMPLE, SEED):
            expect(run_trial(bench, prepared, fault, point))


def test_a_stopped_server_loses_nothing_that_was_confirmed() -> None:
    """A server of its own, stopped as by a crash."""
    with started_bench(int(os.environ.get("WHIMBREL_TEST_POSTGRES", "18"))) as bench:
        for name in ("batch", "index"):
            prepared = bench.prepare(NAMED[name])
            for point in choose_points(prepared, Fault.STOP, 2, SEED):
                expect(run_trial(bench, prepared, Fault.STOP, point))


def test_a_new_interpreter_is_no_different(fresh_bench: Bench) -> None:
    """The other trials fork their runs."""
    prepared = fresh_bench.prepare(NAMED["mixed"])
    for point in choose_points(prepared, Fault.KILL, 2, SEED):
        expect(run_trial(fresh_bench, prepared, Fault.KILL, point))


def test_a_point_that_is_never_reached_shows_nothing(bench: Bench) -> None:
    """A harness that does not strike must not pass."""
    prepared = bench.prepare(NAMED["one"])

    outcome = run_trial(bench, prepared, Fault.CUT, Point(Side.FRONTEND.value, len(prepared.seen.frontend) + 1_000))

    assert outcome.verdict == Verdict.MISSED.value
    assert "it never came to" in outcome.problems[0]


def test_a_statement_that_does_not_wait_cannot_be_caught_waiting(bench: Bench) -> None:
    """A hold that nobody waits for is no wait."""
    prepared = bench.prepare(NAMED["copy"])
    waiting = Prepared(
        Scenario("copy", {}, {}, holds=("SELECT 1",)), prepared.template, prepared.seen, prepared.after, (), 1
    )
    bench.migrations(NAMED["copy"])

    outcome = run_trial(bench, waiting, Fault.CUT, Point(Side.WAITING.value, 0))

    assert outcome.verdict == Verdict.MISSED.value
    assert "it ended before it waited" in outcome.problems[0]


@pytest.mark.parametrize(
    ("spoiling", "told"),
    [
        ("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'made'::regclass", "index made is invalid"),
        ("ALTER INDEX account_name RENAME TO account_name_ccnew", "index account_name_ccnew is left over"),
        ("DROP TABLE between", "rows: more [], less [('between', 0, None)]"),
        ("DELETE FROM event WHERE id = 7", "rows:"),
        ("ALTER TABLE account ALTER COLUMN email DROP NOT NULL", "columns:"),
        ("ALTER TABLE event DETACH PARTITION event_2", "partitions:"),
        ("INSERT INTO effects (version, direction) VALUES (2, 'up')", "these scripts ran:"),
        ("DELETE FROM schema_migrations_log WHERE version = 3", "these scripts ran:"),
        ("DELETE FROM schema_migrations WHERE version = 3", "applied:"),
        ("UPDATE schema_migrations SET ordinal = 9 WHERE version = 2", "applied:"),
        (
            "INSERT INTO schema_migrations_journal (version, direction, statement, checksum) VALUES (3, 'up', 1, '')",
            "the journal has statement 1 of the up of 3",
        ),
    ],
)
def test_a_spoiled_database_does_not_pass(bench: Bench, spoiling: str, told: str) -> None:
    """What the harness looks at, it sees."""
    prepared = bench.prepare(NAMED["mixed"])
    judge = Judge(bench, prepared, Fault.CUT)
    with bench.database(prepared.template) as dbname:
        judge.first = judge.second = judge.run_again(dbname, look=False)
        with bench.connection(dbname) as connection:
            connection.execute(spoiling.encode())
        verdict = judge.judge(dbname)

    assert verdict is Verdict.DIVERGED
    assert any(problem.startswith(told) for problem in judge.problems), judge.problems


def test_half_a_migration_between_the_runs_does_not_pass(bench: Bench) -> None:
    """Also where the second run puts it right."""
    prepared = bench.prepare(NAMED["one"])
    judge = Judge(bench, prepared, Fault.CUT)
    with bench.database(prepared.template) as dbname:
        with bench.connection(dbname) as connection:
            connection.execute("ALTER TABLE account ADD COLUMN half int")
        judge.run_again(dbname, look=True)

    assert any("half a migration" in problem for problem in judge.problems)

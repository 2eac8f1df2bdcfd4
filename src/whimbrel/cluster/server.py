"""The server's life: initdb, start, stop."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from whimbrel.cluster.account import Account, choose_account, hand_over, run
from whimbrel.cluster.address import Embedded
from whimbrel.cluster.databases import ensure_database
from whimbrel.cluster.postmaster import (
    LOG,
    PATIENCE,
    PIDFILE,
    Running,
    await_settled,
    check_version,
    is_server,
    read_log,
    read_postmaster,
    reported,
    status,
)
from whimbrel.cluster.programs import find_programs
from whimbrel.errors import ClusterError

# sun_path holds 108 bytes on Linux and 104 on macOS, the last one a NUL.
SOCKET_PATH_LIMIT = 107 if sys.platform == "linux" else 103
PORT = 5432


def start(embedded: Embedded, *, settings: Mapping[str, str] | None = None) -> Running:
    """Return the running server, creating and starting the cluster and its database where needed.

    Any number of processes may do this at once. `settings` hold until the server stops; a server that runs
    already keeps its own, and is not asked whether `dbname` exists: see `ensure_database`.
    """
    with reported(embedded.data), _locked(embedded.data):
        # Also where the server runs: whoever starts it holds the lock until its database is there.
        if running := status(embedded):
            return running
        await_settled(embedded.data)
        if running := status(embedded):
            return running
        if (exists := _is_cluster(embedded.data)) and embedded.version:
            check_version(embedded, embedded.version)
        programs, version = find_programs(embedded)
        account = choose_account(embedded.data)
        if exists:
            check_version(embedded, version)
            hand_over(embedded.data, account)
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
    with reported(embedded.data):
        if not pidfile.exists():
            return False
        with _locked(embedded.data):
            postmaster = read_postmaster(embedded.data)
            if postmaster is None or not postmaster.answers():
                return False
            os.kill(postmaster.pid, signal.SIGINT)
            deadline = time.monotonic() + PATIENCE
            while pidfile.exists() and is_server(postmaster.pid, embedded.data):
                if time.monotonic() > deadline:
                    fact = f"the server (process {postmaster.pid}) does not stop"
                    raise ClusterError(fact, detail=read_log(embedded, 20))
                time.sleep(0.005)
            return True


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


def _create(data: Path, programs: Path, version: int, account: Account | None) -> None:
    import shutil
    import tempfile

    # Another name each time: the initdb of a process that was killed may still be at work.
    prefix = f"{data.name}.new-"
    new = Path(tempfile.mkdtemp(prefix=prefix, dir=data.parent))
    try:
        hand_over(new, account)
        locale = ["--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C"]
        if version >= 17:
            locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb = [f"{programs}/initdb", f"--pgdata={new}", "--username=postgres", "--encoding=UTF8"]
        done = run(
            [*initdb, "--auth-local=trust", "--auth-host=reject", "--no-sync", *locale],
            account,
            [new, programs],
        )
        if done.returncode != 0:
            raise ClusterError(f'initdb could not create "{data}"', detail=done.stderr.strip())
        new.rename(data)
    finally:
        for leftover in data.parent.iterdir():
            if leftover.name.startswith(prefix):
                shutil.rmtree(leftover, ignore_errors=True)


def _launch(embedded: Embedded, programs: Path, account: Account | None, settings: Mapping[str, str]) -> None:
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
                done = run(shell, account, [data, programs], pass_fds=[held])
            finally:
                os.close(held)
            if _is_ready(data, watched, deadline):
                return
        finally:
            os.close(watched)
        written = read_log(embedded, 20)
        # The other processes of a server that was killed notice it when they next wait for something.
        if "pre-existing shared memory block" not in written or time.monotonic() > deadline:
            detail = "\n".join(filter(None, [done.stderr.strip(), written]))
            raise ClusterError("the server could not start", detail=detail)
        time.sleep(0.05)


def _is_ready(data: Path, watched: int, deadline: float) -> bool:
    """Wait until the server is ready, or has ended and with it the pipe `watched`."""
    import select

    while (postmaster := read_postmaster(data)) is None or postmaster.state != "ready":
        if time.monotonic() > deadline or select.select([watched], [], [], 0.005)[0]:
            return False
    return True


def _socket_folder(data: Path, account: Account | None) -> Path:
    # libpq takes a comma for the end of one host and the beginning of the next.
    if len(os.fsencode(data / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LIMIT and "," not in str(data):
        return data
    from hashlib import sha256

    owner = account.uid if account else os.geteuid()
    # Not TMPDIR, which can be as long as the path that did not fit, or root's own.
    folder = Path("/tmp", f"whimbrel-{owner}-{sha256(os.fsencode(data)).hexdigest()[:16]}")  # noqa: S108
    try:
        folder.mkdir(mode=0o700)
        hand_over(folder, account)
    except FileExistsError:
        found = folder.lstat()
        # In a folder that everybody may write to, somebody else could have been first.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) != 0o700:
            raise ClusterError(
                f'"{folder}" is not a private directory of the server\'s user', hint="Remove it."
            ) from None
    return folder

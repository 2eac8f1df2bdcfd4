"""A disk that is full: a small one where one can be mounted; and a limit on the size of the server's files."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.faults.bench import PATIENCE, Bench, BenchError, Prepared, socket_folder
from tests.faults.judgement import Fault, Judge, Outcome, Verdict
from tests.faults.proxy import Blow, Point, Proxy
from tests.faults.scenarios import BULK

TABLESPACE = "small"
# A database takes some 8 MB.
SIZE = 48 * 1024 * 1024
PAGE = 8192
SIDE = "free pages"
# A file cannot be limited to less than a segment of the log, 16 MB.
LIMITS = tuple(range(16, 31, 2))
LIMIT_SIDE = "largest file in MB"
# Where nothing fails with so many free pages, nothing will.
MOST_PAGES = 96


@contextmanager
def small_disk(bench: Bench) -> Generator[Path | None]:
    """Mount a small disk with a tablespace on it; None where that is not allowed."""
    folder = bench.running.embedded.data.with_name(f"{bench.running.embedded.data.name}-disk")
    folder.mkdir()
    with ExitStack() as stack:
        stack.callback(folder.rmdir)
        options = ["-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(folder)]
        try:
            subprocess.run(["mount", *options], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            yield None
            return
        stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        space = folder / "space"
        space.mkdir(mode=0o700)
        owner = bench.running.embedded.data.stat()
        for place in (folder, space):
            os.chown(place, owner.st_uid, owner.st_gid)
        with bench.connection("postgres") as connection:
            connection.execute(f"CREATE TABLESPACE {TABLESPACE} LOCATION '{space}'".encode())
        try:
            yield folder
        finally:
            with bench.connection("postgres") as connection:
                connection.execute(f"DROP TABLESPACE {TABLESPACE}".encode())


def run_on_small_disk(bench: Bench, prepared: Prepared, disk: Path, pages: int) -> Outcome | None:
    """Run with so many free pages on the disk, and again with all; None if they were enough for the first run."""
    begun = time.monotonic()
    scenario = prepared.scenario
    judge = Judge(bench, prepared, Fault.DISK)
    files = bench.migrations(scenario)
    with ExitStack() as stack:
        dbname = stack.enter_context(bench.database(prepared.template, TABLESPACE))
        stack.enter_context(bench.alone(scenario))
        # The first connection writes a file of its own.
        bench.read_state(dbname, scenario)
        filler = disk / "filler"
        try:
            _fill(filler, disk, pages * PAGE)
            judge.first = bench.whimbrel(scenario.command, bench.dsn(dbname), files)
        finally:
            filler.unlink()
        if judge.first.code == 0:
            return None
        judge.second = judge.run_again(dbname, look=pages % 2 == 0)
        verdict = judge.judge(dbname)
    return judge.outcome(Point(SIDE, pages), verdict, _reason(judge), begun)


def _fill(filler: Path, disk: Path, free: int) -> None:
    with filler.open("wb", buffering=0) as file:
        found = os.statvfs(disk)
        rest = found.f_bavail * found.f_frsize - free
        if rest < 0:
            raise BenchError("the disk is too small")
        while rest:
            rest -= file.write(bytes(min(rest, 1 << 20)))


def run_with_limit(bench: Bench, prepared: Prepared, megabytes: int) -> Outcome:
    """Run with a limit on the size of the backend's files, and again without."""
    begun = time.monotonic()
    judge = Judge(bench, prepared, Fault.DISK)
    files = bench.migrations(BULK)
    ready = next(number for number, message in enumerate(prepared.seen.backend, 1) if message.kind == "Z")

    def limit(pid: int | None) -> None:
        assert pid is not None
        # A process may do that to those of its own user alone, also as root.
        owner = bench.running.embedded.data.stat() if os.geteuid() == 0 else None
        subprocess.run(
            ["prlimit", f"--pid={pid}", f"--fsize={megabytes << 20}:unlimited"],
            check=True,
            capture_output=True,
            user=owner.st_uid if owner else None,
            group=owner.st_gid if owner else None,
            extra_groups=[] if owner else None,
        )

    with ExitStack() as stack:
        dbname = stack.enter_context(bench.database(prepared.template))
        place = stack.enter_context(socket_folder())
        with Proxy(place, bench.dsn(dbname), Point("backend", ready), Blow.SERVER, limit) as proxy:
            judge.first = bench.start(BULK.command, proxy.dsn, files).finish(PATIENCE)
        judge.second = judge.run_again(dbname, look=True)
        verdict = judge.judge(dbname)
        if judge.first.code == 0:
            verdict = Verdict.MISSED
    return judge.outcome(Point(LIMIT_SIDE, megabytes), verdict, _reason(judge), begun)


def _reason(judge: Judge) -> str:
    assert judge.first is not None
    return next((line for line in judge.first.err.splitlines() if "error:" in line), "").strip()

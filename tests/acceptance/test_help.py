"""--help, suggestions, what is said of a command line that cannot be understood, and completion."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .programs import Done, Project, finish

COMMANDS = (
    "up",
    "down",
    "redo",
    "force",
    "status",
    "history",
    "create",
    "baseline",
    "resolve",
    "repair",
    "seed",
    "psql",
    "cluster",
    "cluster start",
    "cluster stop",
    "cluster status",
    "cluster logs",
    "completion",
)


@pytest.fixture
def nowhere(tmp_path: Path) -> Project:
    """Give a project without a database."""
    return Project(tmp_path, None)


# One process for all of them.
HELPS = """
import sys
from whimbrel.cli import group
for command in sys.argv[1:]:
    group.main([*command.split(), "--help"], prog_name="whimbrel", standalone_mode=False)
    print("\f")
"""


def test_the_help_of_every_command_has_an_example(nowhere: Project) -> None:
    nowhere.write("helps.py", HELPS)
    done = finish(nowhere.start(*COMMANDS, program=(sys.executable, "helps.py")))
    assert (done.code, done.err) == (0, "")
    texts = done.out.split("\f\n")[:-1]
    for command, text in zip(COMMANDS, texts, strict=True):
        assert text.startswith(f"Usage: whimbrel {command}")
        assert f"\n    whimbrel {command}" in text
        assert max(map(len, text.splitlines())) <= 100
        assert "..." not in text.partition("\n")[2]


def test_whimbrel_alone_shows_its_commands_and_exit_codes(nowhere: Project) -> None:
    done = nowhere.run()
    assert (done.code, done.err) == (2, "")
    assert done.out == nowhere.succeed("--help") == nowhere.succeed("-h")
    for command in COMMANDS:
        assert f"\n  {command.split()[0]} " in done.out
    assert "130, 143 interrupted by a signal" in done.out
    assert "..." not in done.out.partition("\n")[2]


def test_the_version(nowhere: Project) -> None:
    assert nowhere.succeed("--version").startswith("whimbrel 0.")


USAGE = {
    "staus": ('no such command "staus"; perhaps you meant "status"', "whimbrel"),
    "frobnicate": ('no such command "frobnicate"', "whimbrel"),
    "--frobnicate": ('no such option "--frobnicate"', "whimbrel"),
    "cluster stat": ('no such command "stat"; perhaps you meant "start"', "whimbrel cluster"),
    "up --rehears": ('no such option "--rehears"; perhaps you meant "--rehearse"', "whimbrel up"),
    "up --xyzzy": ('no such option "--xyzzy"', "whimbrel up"),
    "up -x": ('no such option "-x"', "whimbrel up"),
    "up 3": ("got unexpected extra argument (3)", "whimbrel up"),
    "up --to": ('option "--to" requires an argument', "whimbrel"),
    "up --to x": ('"x" is not a version, which is the number that a file name begins with', "whimbrel up"),
    "up --plan --rehearse": ("--plan and --rehearse exclude each other", "whimbrel up"),
    "up --database=": ('option "--database" is empty', "whimbrel up"),
    "create": ("argument NAME is missing", "whimbrel create"),
    "force": ("argument VERSION is missing", "whimbrel force"),
    "resolve 3": ("give --done or --retry", "whimbrel resolve"),
    "history -n 0": ('"0" is not a number from 1 up', "whimbrel history"),
    "history -n x": ('"x" is not a number from 1 up', "whimbrel history"),
    "completion csh": (
        'invalid value for "{bash|zsh|fish}": "csh" is not one of "bash", "zsh", "fish"',
        "whimbrel completion",
    ),
}


@pytest.mark.parametrize("words", USAGE)
def test_a_command_line_that_cannot_be_understood(nowhere: Project, words: str) -> None:
    fact, command = USAGE[words]
    assert nowhere.run(*words.split()) == Done(2, "", f"error: {fact}\nHint: See: {command} --help\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_writes_a_script(nowhere: Project, shell: str) -> None:
    assert "_WHIMBREL_COMPLETE" in nowhere.succeed("completion", shell)


def test_bash_completes_commands_and_options(nowhere: Project) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    program = nowhere.write("bin/whimbrel", f"#!/bin/sh\nexec '{sys.executable}' -m whimbrel \"$@\"\n")
    program.chmod(0o755)
    script = (
        "source <(whimbrel completion bash) && complete -p whimbrel >/dev/null\n"
        "try() { COMP_WORDS=(whimbrel $*) COMP_CWORD=$# COMPREPLY=()\n"
        "        _whimbrel_completion whimbrel; echo ${COMPREPLY[@]}; }\n"
        "try sta; try up --reh"
    )
    environment = nowhere.environment()
    environment["PATH"] = f"{program.parent}:{environment['PATH']}"
    done = subprocess.run(
        [bash, "--norc", "-c", script], env=environment, cwd=nowhere.root, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["status", "--rehearse"], done
    assert done.stderr == ""

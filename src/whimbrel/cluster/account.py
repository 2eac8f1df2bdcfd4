"""Whose process the server is: PostgreSQL refuses to be root's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from whimbrel.errors import ClusterError

if TYPE_CHECKING:
    from subprocess import CompletedProcess

REACH_HINT = (
    "The server's user cannot enter a directory on the way to the data directory or to PostgreSQL's "
    "programs, and the program setpriv or the capability CAP_DAC_OVERRIDE is missing. Use a path that "
    "everybody may enter, or run as an ordinary user."
)


class Account(NamedTuple):
    uid: int
    gid: int


def choose_account(data: Path) -> Account | None:
    """Return whom the server runs as, or None for whoever runs this. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    import pwd

    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return Account(found.pw_uid, found.pw_gid)
    raise ClusterError(
        "PostgreSQL refuses to run as root, and there is no user postgres or nobody",
        hint="Run as another user.",
    )


def hand_over(folder: Path, account: Account | None) -> None:
    """Give the folder and all that is in it to the account, unless the folder is its own already."""
    if account is None or folder.stat().st_uid == account.uid:
        return
    # The folder comes last: its owner says that all is done.
    for path in (*folder.rglob("*"), folder):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def run(
    command: Sequence[str], account: Account | None, reach: Sequence[Path], *, pass_fds: Sequence[int] = ()
) -> CompletedProcess[str]:
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
            encoding="utf-8",
            errors="replace",
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
    if not direct and done.stderr.startswith("setpriv:"):
        raise ClusterError(f"cannot run {command[0]}", detail=done.stderr.strip(), hint=REACH_HINT)
    return done


def _may_reach(account: Account, path: Path) -> bool:
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

"""A signal that is taken at a safe point, and not between two steps that belong together."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from whimbrel.errors import Interrupted

_depth = 0
_pending: int | None = None


def receive(signum: int) -> None:
    """Take a signal: raise Interrupted here and now, or where signals are deferred, at the next `check`."""
    global _pending
    if _depth:
        _pending = _pending or signum
    else:
        raise Interrupted(signum)


@contextmanager
def deferred() -> Generator[None]:
    """Keep signals back in the block; one that came is raised behind it unless the block itself raises."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
    if not _depth:
        check()


def check() -> None:
    """Raise Interrupted if a signal was kept back."""
    global _pending
    if _pending is not None:
        signum, _pending = _pending, None
        raise Interrupted(signum)

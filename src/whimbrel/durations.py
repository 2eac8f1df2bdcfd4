"""Durations: as PostgreSQL writes them, in seconds, and as a person reads them."""

from __future__ import annotations

from datetime import timedelta

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(duration: str) -> float:
    """Return a PostgreSQL duration in seconds; a bare number is milliseconds, as in PostgreSQL."""
    number = duration.rstrip("abcdefghijklmnopqrstuvwxyz ")
    return float(number) * _UNITS[duration[len(number) :].strip() or "ms"]


def show_duration(duration: timedelta) -> str:
    """Return a duration as a person reads it."""
    passed = duration.total_seconds()
    if passed < 0.9995:
        return f"{passed * 1000:.0f} ms"
    if passed < 59.95:
        return f"{passed:.1f} s"
    minutes, rest = divmod(round(passed), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"

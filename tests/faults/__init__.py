"""Faults injected at every boundary of a run, and whether the next plain run converges; docs/reliability.md."""

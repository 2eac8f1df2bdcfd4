"""From a plan to a database and its history: run, record, go on after an interruption."""

from whimbrel.interruption import deferred

with deferred():
    # psycopg takes whatever is raised while it loads for a library that is missing, and an interruption with it.
    import psycopg as psycopg

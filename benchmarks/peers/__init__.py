"""Other migration tools, each in a module: how it is installed, what it wants its files to look like, how it is run.

Everything is installed into `.whimbrel/peers`. What is not there is left out of a run.
"""

from benchmarks.peers import (
    alembic,
    dbmate,
    django,
    graphile_migrate,
    liquibase,
    node_pg_migrate,
    pgmigrate,
    sqitch,
    sql_migrate,
    yoyo,
)
from benchmarks.peers.installation import HOME, NotInstallable, Python
from benchmarks.peers.peer import Peer

PEERS: tuple[Peer, ...] = (
    dbmate.PEER,
    sql_migrate.PEER,
    node_pg_migrate.PEER,
    graphile_migrate.PEER,
    alembic.PEER,
    django.PEER,
    pgmigrate.PEER,
    yoyo.PEER,
    sqitch.PEER,
    liquibase.PEER,
)

__all__ = ["HOME", "PEERS", "NotInstallable", "Peer", "Python"]

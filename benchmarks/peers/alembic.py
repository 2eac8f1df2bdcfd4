"""Alembic, with SQLAlchemy and psycopg 3: a Python module for each migration, which sends its SQL as one Query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.installation import Python
from benchmarks.peers.peer import Peer, write

VERSION = "1.20.1"
_INSTALLATION = Python("alembic", (f"alembic=={VERSION}", "sqlalchemy==2.1.9", "psycopg[binary]==3.3.9"))
_ENVIRONMENT = """\
import os
from alembic import context
from sqlalchemy import create_engine, pool

with create_engine(os.environ["SQLALCHEMY_URL"], poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""
_REVISION = """\
from pathlib import Path
from alembic import op

revision = "{number:06d}"
down_revision = {previous}


def upgrade():
    # op.execute would take ":name" for a parameter, and other calls a "%".
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql(Path(__file__).with_suffix(".sql").read_text())
"""


def lay_out(folder: Path, files: Sequence[Path]) -> None:
    write(folder / "alembic.ini", "[alembic]\nscript_location = alembic\n")
    write(folder / "alembic" / "env.py", _ENVIRONMENT)
    for number, file in enumerate(files, 1):
        module = folder / "alembic" / "versions" / f"m{number:06d}.py"
        previous = f'"{number - 1:06d}"' if number > 1 else "None"
        write(module, _REVISION.format(number=number, previous=previous))
        write(module.with_suffix(".sql"), file.read_text())


_ALEMBIC = (str(_INSTALLATION.program),)
PEER = Peer(
    name="alembic",
    version=VERSION,
    installation=_INSTALLATION,
    lay_out=lay_out,
    up=(*_ALEMBIC, "upgrade", "head"),
    status=(*_ALEMBIC, "current"),
    variables={"SQLALCHEMY_URL": "postgresql+psycopg://$user@/$dbname?host=$host&port=$port"},
)

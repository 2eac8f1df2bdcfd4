"""Django with psycopg 3: a migration of one RunSQL each, which it sends as one Query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.installation import Python
from benchmarks.peers.peer import Peer, write

VERSION = "5.2.19"
_INSTALLATION = Python("django-admin", (f"django=={VERSION}", "psycopg[binary]==3.3.9"))
_SETTINGS = """\
import os

INSTALLED_APPS = ["shop"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["PGDATABASE"],
        "USER": os.environ["PGUSER"],
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
    }
}
USE_TZ = True
"""
_MIGRATION = """\
from pathlib import Path
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [{dependency}]
    operations = [migrations.RunSQL(Path(__file__).with_suffix(".sql").read_text())]
"""


def lay_out(folder: Path, files: Sequence[Path]) -> None:
    write(folder / "settings.py", _SETTINGS)
    write(folder / "shop" / "__init__.py", "")
    write(folder / "shop" / "migrations" / "__init__.py", "")
    for number, file in enumerate(files, 1):
        module = folder / "shop" / "migrations" / f"m{number:06d}.py"
        dependency = f'("shop", "m{number - 1:06d}")' if number > 1 else ""
        write(module, _MIGRATION.format(dependency=dependency))
        write(module.with_suffix(".sql"), file.read_text())


_DJANGO = (str(_INSTALLATION.program),)
_OPTIONS = ("--settings", "settings", "--pythonpath", ".")
PEER = Peer(
    name="django",
    version=VERSION,
    installation=_INSTALLATION,
    lay_out=lay_out,
    up=(*_DJANGO, "migrate", "--verbosity", "0", *_OPTIONS),
    status=(*_DJANGO, "showmigrations", *_OPTIONS),
)

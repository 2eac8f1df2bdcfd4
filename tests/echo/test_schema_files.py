"""database/schemas/: the same database as the migrations make, in files to read."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from .programs import ROOT, SCHEMA_FILES, SCHEMAS, Server, dump, psql

SCRIPT = ROOT / "infra" / "scripts" / "dump-schemas.sh"


def dump_schemas(server: Server, conninfo: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE": conninfo, "PG_DUMP": str(server.running.bin / "pg_dump")}
    command = [str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False, encoding="utf-8")


def test_the_readme_gives_the_order_to_load_them_in() -> None:
    text = (SCHEMA_FILES / "README.md").read_text()
    assert tuple(re.findall(r"^\d\. `(\w+)-schema\.sql`$", text, re.MULTILINE)) == SCHEMAS
    assert {file.name for file in SCHEMA_FILES.glob("*.sql")} == {f"{schema}-schema.sql" for schema in SCHEMAS}


def test_loading_the_files_makes_the_database_that_the_migrations_make(server: Server, dsn: str, echo: str) -> None:
    for schema in SCHEMAS:
        psql(server, dsn, f"--file={SCHEMA_FILES / f'{schema}-schema.sql'}")
    assert dump(server, dsn, *SCHEMAS) == dump(server, echo, *SCHEMAS)


def test_the_files_are_up_to_date(server: Server, echo: str, tmp_path: Path) -> None:
    if server.version != 18:
        pytest.skip("the files are what PostgreSQL 18 writes")
    done = dump_schemas(server, echo, tmp_path, "--check")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_check_fails_when_the_database_has_more(server: Server, echo: str, tmp_path: Path) -> None:
    psql(server, echo, "--command=ALTER TABLE users.profiles ADD COLUMN last_active_at TIMESTAMPTZ")
    done = dump_schemas(server, echo, tmp_path, "--check")
    assert done.returncode == 1
    assert "+    last_active_at timestamp with time zone," in done.stdout
    assert "run infra/scripts/dump-schemas.sh" in done.stderr


def test_the_check_fails_when_there_is_no_database(server: Server, echo: str, tmp_path: Path) -> None:
    done = dump_schemas(server, echo.replace("dbname=", "dbname=no_such_"), tmp_path, "--check")
    assert done.returncode not in (0, 2)
    assert "does not exist" in done.stderr


def test_the_files_name_no_owner_and_no_version() -> None:
    for file in SCHEMA_FILES.glob("*.sql"):
        assert not re.search(
            r"OWNER TO|Dumped|restrict |^GRANT|^SET (?!check_function_bodies)", file.read_text(), re.MULTILINE
        )

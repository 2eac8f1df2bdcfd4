"""The guides show what is written: each SQL block that begins with a file's name is a part of that file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import Change

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "howto"


def test_the_guides_show_the_files_that_are_written(change: Change) -> None:
    assert change.server is not None
    if change.server.version < 15:
        pytest.skip("Echo's migrations need PostgreSQL 15")
    change.migrations.mkdir()
    for path in (ROOT / "migrations" / "postgres").glob("*.sql"):
        (change.migrations / path.name).write_bytes(path.read_bytes())
    change.up(4)
    change.rename("messages.messages.content", "body")
    retype = (GUIDES / "change-a-columns-type.md").read_text()
    for statement in re.findall(r"^CREATE TABLE .*", retype, flags=re.MULTILINE):
        change.execute(statement)
    change.retype("parcels.id", "bigint")
    shown = 0
    for text in ((GUIDES / "rename-a-column.md").read_text(), retype):
        for name, block in re.findall(r"^```sql\n-- (\d+_\S+\.sql)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            assert block.strip() in (change.migrations / name).read_text()
            shown += 1
    assert shown == 10

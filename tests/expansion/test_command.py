"""`whimbrel create --expand` at the command line, and its files in psql."""

from __future__ import annotations

import json
import subprocess

import pytest

from whimbrel import cluster

from .conftest import Change

TABLE = """
CREATE SCHEMA app;
CREATE TABLE app.notes (id integer PRIMARY KEY, body text NOT NULL, seq integer);
CREATE INDEX notes_body ON app.notes (body);
INSERT INTO app.notes SELECT i, 'note ' || i, i FROM generate_series(1, 100) AS i;
"""


def test_it_prints_the_files_and_when_to_deploy_what(change: Change) -> None:
    change.execute(TABLE)

    assert change.succeed("create", "--expand", "rename", "app.notes.body", "content").splitlines() == [
        *(
            f"migrations/00000{number}_notes_body_to_content_{step}.{direction}.sql"
            for number, step in enumerate(("expand", "backfill", "validate", "contract"), 1)
            for direction in ("up", "down")
        ),
        "Up to 000003 the old version of the application runs on: whimbrel up --to 000003",
        "Then deploy the version that uses content; old and new may run side by side.",
        "Merge or apply 000004 (contract) when no version that uses body runs any more.",
    ]


def test_a_type_of_several_words_needs_no_quotes(change: Change) -> None:
    change.execute(TABLE)

    change.succeed("create", "--expand", "retype", "app.notes.seq", "double", "precision", "--quiet")

    assert "ADD COLUMN seq_new double precision;" in change.text(1)
    assert [path.name for path in sorted(change.migrations.glob("*.up.sql"))] == [
        f"00000{number}_notes_seq_to_double_precision_{step}.up.sql"
        for number, step in enumerate(("expand", "backfill", "validate", "swap", "contract"), 1)
    ]


def test_json_is_the_document_of_create(change: Change) -> None:
    change.execute(TABLE)

    written = json.loads(change.succeed("create", "--expand", "rename", "app.notes.body", "content", "--json"))

    assert (written["whimbrel"], len(written["files"])) == ("created", 8)


def test_the_files_are_numbered_behind_those_that_are_there(change: Change) -> None:
    change.execute(TABLE)
    change.migration(41, "SELECT 1;", "SELECT 1;")

    change.succeed("create", "--expand", "rename", "app.notes.body", "content")

    assert sorted(path.name[:6] for path in change.migrations.glob("*.up.sql")) == [
        "000041", "000042", "000043", "000044", "000045",
    ]  # fmt: skip


def test_timestamps_keep_the_order_of_the_steps(change: Change) -> None:
    change.execute(TABLE)

    change.succeed("create", "--timestamp", "--expand", "rename", "app.notes.body", "content")

    names = sorted(path.name for path in change.migrations.glob("*.up.sql"))
    assert [name.split("_")[-1] for name in names] == [
        "expand.up.sql",
        "backfill.up.sql",
        "validate.up.sql",
        "contract.up.sql",
    ]
    assert len({name[:14] for name in names}) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--expand", "rename"), "--expand rename takes the column and its new name, and 0 arguments are given"),
        (("--expand", "rename", "a.b"), "--expand rename takes the column and its new name, and 1 argument is given"),
        (("--expand", "rename", "a.b", "c", "d"), "and 3 arguments are given"),
        (("--expand", "retype", "a.b"), "--expand retype takes the column and its new type, and 1 argument is given"),
        (("--expand", "move", "a.b", "c"), '--expand is "rename" or "retype" and not "move"'),
        (("--expand", "rename", "a.b", "c", "--using", "d"), "--using belongs to --expand retype"),
        (("name", "--using", "d"), "--using belongs to --expand retype"),
        ((), "argument NAME is missing"),
        (("a", "b"), "got unexpected extra argument (b)"),
    ],
)
def test_what_is_wrong_with_the_command_line_is_said(change: Change, arguments: tuple[str, ...], message: str) -> None:
    error = change.fail(2, "create", *arguments)

    assert message in error
    assert "Hint: See: whimbrel create --help" in error


def test_the_contract_waits_until_every_row_is_filled(change: Change) -> None:
    change.execute(TABLE)
    change.rename("app.notes.body", "content")
    change.up(1)
    for version in (2, 3):
        for path in change.migrations.glob(f"{version:06d}_*"):
            path.rename(change.root / path.name)

    error = change.fail(1, "up")

    assert "column body cannot be dropped yet: it is not proven that every row has its value in content" in error
    assert "Let the backfill and the migration that validates end first." in error
    assert change.value("SELECT count(body) FROM app.notes") == 100
    for path in change.root.glob("*.sql"):
        path.rename(change.migrations / path.name)
    change.succeed("up")
    assert change.value("SELECT count(*) FROM app.notes WHERE content = 'note ' || id") == 100


@pytest.mark.parametrize(("missing", "message"), [(4, "cannot be dropped yet"), (3, "cannot change its type yet")])
def test_a_swap_and_its_contract_wait_for_what_comes_before(change: Change, missing: int, message: str) -> None:
    change.execute(TABLE)
    change.retype("app.notes.seq", "bigint")
    for path in change.migrations.glob(f"{missing:06d}_*"):
        path.unlink()

    assert message in change.fail(1, "up")


def test_a_row_that_is_not_filled_fails_the_proof(change: Change) -> None:
    change.execute(TABLE)
    change.rename("app.notes.body", "content")
    change.up(1)
    for path in change.migrations.glob("000002_*"):
        path.unlink()

    assert "notes_body_content_in_step" in change.fail(1, "up", "--to", "3")


@pytest.mark.parametrize(
    ("made", "name"),
    [
        ("ALTER TABLE app.notes ADD CONSTRAINT later FOREIGN KEY (kind) REFERENCES kinds", "later"),
        ("ALTER TABLE app.notes ADD CONSTRAINT later CHECK (kind <> '')", "later"),
        ("CREATE INDEX later ON app.notes (kind)", "later"),
        ("CREATE INDEX later ON app.notes (id) WHERE kind = 'a'", "later"),
    ],
)
def test_what_was_made_meanwhile_does_not_vanish_with_the_column(change: Change, made: str, name: str) -> None:
    change.execute("CREATE TABLE kinds (kind text PRIMARY KEY)")
    change.execute(TABLE + "ALTER TABLE app.notes ADD kind text REFERENCES kinds CHECK (kind > 'a');")
    change.execute("CREATE INDEX notes_kind ON app.notes (kind)")
    change.rename("app.notes.kind", "sort")
    change.up(3)
    change.execute(made)

    assert f"column kind is used by what was made after this file was written: {name}\n" in change.fail(1, "up")


@pytest.mark.parametrize("kind", ["rename", "retype"])
def test_the_files_run_in_psql_as_well(change: Change, kind: str) -> None:
    assert change.server is not None
    psql = cluster.find_program(change.server.running.embedded, "psql")
    if psql is None:
        pytest.skip("psql is not installed")
    change.execute(TABLE)
    before = change.schema()
    expansion = (
        change.rename("app.notes.body", "content") if kind == "rename" else change.retype("app.notes.id", "bigint")
    )
    last = len(expansion.steps)

    def run(version: int, direction: str) -> None:
        (path,) = change.migrations.glob(f"{version:06d}_*.{direction}.sql")
        alone = [] if "transaction = off" in path.read_text() else ["--single-transaction"]
        command = [str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", *alone, "-d", change.dsn, "-f", str(path)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    for version in range(1, last):
        run(version, "up")
    for version in range(last - 1, 0, -1):
        run(version, "down")
    assert change.schema() == before
    for version in range(1, last + 1):
        run(version, "up")


def test_a_file_that_cannot_be_written_leaves_none_behind(change: Change) -> None:
    change.execute(TABLE)
    change.migrations.mkdir()
    from whimbrel.expansion import write_files

    expansion = change.rename("app.notes.body", "content")
    for path in change.migrations.glob("*"):
        path.unlink()
    (change.migrations / "000003_notes_body_to_content_validate.down.sql").write_text("mine")

    with pytest.raises(FileExistsError):
        write_files(expansion, change.migrations, ["000001", "000002", "000003", "000004"])

    assert [path.read_text() for path in change.migrations.glob("*")] == ["mine"]

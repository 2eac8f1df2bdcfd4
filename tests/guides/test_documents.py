"""README, QUICKSTART and MIGRATION_GUIDE: every command in them is run, and does what the text says."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg import pq

from .conftest import ProjectAt
from .markdown import COMMANDS, Block, find_missing, read_blocks
from .project import ROOT, Done, Project

DOCUMENTS = [ROOT / name for name in ("README.md", "QUICKSTART.md", "MIGRATION_GUIDE.md")]
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
ALICE = b"a1111111-1111-1111-1111-111111111111"


def run_block(project: Project, block: Block) -> None:
    """Run a block as the reader would: a shell for each, psql for SQL."""
    if block.language == "sql":
        done = project.try_("make db-connect", stdin=block.text)
        # At psql's prompt an error is no reason to exit.
        assert "ERROR:" not in done.output, f"{block}: {done.output}"
    else:
        done = project.try_(block.text)
    check(block, done)


def check(block: Block, done: Done) -> None:
    assert done.code == block.exit_code, f"{block} exited with {done.code}:\n{done.output}"
    missing = find_missing(block.shows, done.output)
    assert missing is None, f"{block} does not show\n{missing}\nbut\n{done.output}"


@each_document
def test_every_command_of_a_guide_does_what_the_text_says(fresh: Project, document: Path) -> None:
    ran = 0
    for block in read_blocks(document):
        if block.language in COMMANDS and not block.is_for_docker and not block.reason:
            run_block(fresh, block)
            ran += 1
    assert ran


@pytest.mark.skipif("WHIMBREL_TEST_DOCKER" not in os.environ, reason="needs Docker; set WHIMBREL_TEST_DOCKER=1")
def test_every_command_for_docker_does_what_the_text_says(fresh: Project) -> None:
    """Covered without Docker as far as can be: the log by `whimbrel cluster logs`, the files by test_compose."""
    blocks = [block for document in DOCUMENTS for block in read_blocks(document) if block.is_for_docker]
    # Docker's own settings are needed; those of a make that runs the tests are not.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    password = {"POSTGRES_PASSWORD": "any ' character \\ goes: #@:/?%"}
    # Images are fetched and built.
    project = Project(fresh.root, {**inherited, **fresh.environment, **password}, patience=600)
    project.run("make up ENGINE=docker && make db-init ENGINE=docker")
    try:
        for block in blocks:
            run_block(project, block)
        compose = "docker compose -f docker-compose.prod.yml"
        # What waits for the migrations found them all applied.
        assert project.run(f'docker wait "$({compose} ps --all --quiet api)"').lines[-1] == "0"
    finally:
        project.run("make down ENGINE=docker && docker compose -f docker-compose.prod.yml down --volumes")


@each_document
def test_every_block_is_one_that_is_checked(document: Path) -> None:
    for block in read_blocks(document):
        assert block.language in COMMANDS | {"go", "mermaid", "yaml"}, f"{block}: {block.language or 'no language'}"
        assert re.fullmatch(r"|exit \d+|docker|not run: .+", block.note), f"{block}: {block.note}"


@each_document
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)\b", document.read_text(), re.MULTILINE))
    assert named - targets == set()


@each_document
def test_every_script_and_command_that_is_named_exists(document: Path, project: Project) -> None:
    text = document.read_text()
    for script in set(re.findall(r"`([a-z-]+\.sh)", text)):
        assert (ROOT / "infra" / "scripts" / script).is_file(), script
    commands = set(re.findall(r"\bwhimbrel ((?:cluster )?[a-z]+)\b(?=[^\n`]*`)|bin/whimbrel ([a-z]+)", text))
    for command in {one or other for one, other in commands}:
        project.run(f".venv/bin/whimbrel {command} --help")


@pytest.mark.parametrize(
    "document",
    sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "database").rglob("*.md")]),
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if not re.match(r"https?://|mailto:", target):
            assert (document.parent / target.partition("#")[0]).exists(), target


@each_document
def test_every_path_that_is_named_exists(document: Path) -> None:
    for path in re.findall(r"`((?:src|migrations|database|infra|tests|docs)/[^`\s*]*)`", document.read_text()):
        if "NNNNNN" not in path:
            assert (ROOT / path).exists(), path


@each_document
def test_yaml_can_be_read(document: Path) -> None:
    for block in read_blocks(document):
        if block.language == "yaml":
            assert yaml.safe_load(block.text), str(block)


@pytest.mark.parametrize(
    ("document", "pattern"),
    [
        ("QUICKSTART.md", r"<b>(\w+)</b> · (\d+) tables"),
        ("MIGRATION_GUIDE.md", r"^\| `(\w+)` \| (\d+) \|"),
    ],
)
def test_the_schemas_have_as_many_tables_as_the_guides_say(project_at: ProjectAt, document: str, pattern: str) -> None:
    text = (ROOT / document).read_text()
    said = {name: int(count) for name, count in re.findall(pattern, text, re.MULTILINE)}
    counted = project_at(4).query(
        "SELECT schemaname, count(*)::int FROM pg_tables"
        " WHERE schemaname !~ '^pg_' AND schemaname NOT IN ('public', 'information_schema') GROUP BY 1"
    )
    assert sorted(said.items()) == sorted(counted)


def test_the_diagram_has_the_foreign_keys_between_the_schemas(project_at: ProjectAt) -> None:
    [diagram] = [block for block in read_blocks(ROOT / "QUICKSTART.md") if block.language == "mermaid"]
    drawn = {
        (source, target)
        for source, targets in re.findall(r"^ *(\w+) --> (.*)$", diagram.text, re.MULTILINE)
        for target in str(targets).split(" & ")
    }
    found = project_at(4).query(
        "SELECT DISTINCT a.relnamespace::regnamespace::text, b.relnamespace::regnamespace::text FROM pg_constraint"
        " JOIN pg_class AS a ON a.oid = conrelid JOIN pg_class AS b ON b.oid = confrelid"
        " WHERE contype = 'f' AND a.relnamespace <> b.relnamespace"
    )
    assert drawn == set(found)


def test_the_go_code_of_the_guide_runs_its_three_statements(project_at: ProjectAt) -> None:
    project = project_at(4, is_seeded=True)
    [block] = [block for block in read_blocks(ROOT / "MIGRATION_GUIDE.md") if block.language == "go"]
    report, connect, type_ = [query.encode() for query in re.findall(r"`(.*?)`", block.text, re.DOTALL)]
    conversation = str(project.value("SELECT min(id::text) FROM messages.conversations")).encode()
    with psycopg.connect(project.conninfo, autocommit=True) as connection:

        def execute(query: bytes, *parameters: bytes) -> None:
            result = connection.pgconn.exec_params(query, list(parameters))
            done = {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK}
            assert result.status in done, result.error_message.decode()

        for _ in range(2):
            execute(report, ALICE, b"busy", b"phone")
            execute(connect, ALICE, b"c-1", b"phone", b"ios", b"192.0.2.7", b"Echo/1.0", b"server-1")
            execute(type_, conversation, ALICE, b"phone")
    assert project.query("SELECT status, active_connections FROM presence.user_status ORDER BY user_id LIMIT 1") == [
        ("busy", 1)
    ]


# -- the runner itself


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], list[Block]]:
    """Give a function that reads the blocks of a text."""

    def read(text: str) -> list[Block]:
        file = tmp_path / "text.md"
        file.write_text(text)
        return read_blocks(file)

    return read


def test_a_block_takes_its_note_and_the_output_below_it(write: Callable[[str], list[Block]]) -> None:
    text = (
        "# One\n\n<!-- test: exit 3 -->\n```bash\nfalse\n```\n\nIt says:\n\n```text\nno\n```\n\n```sql\nTABLE t;\n```\n"
    )
    first, second = write(text)
    assert (first.heading, first.exit_code, first.text, first.shows, first.line) == ("One", 3, "false\n", "no\n", 4)
    assert (second.language, second.note, second.shows) == ("sql", "", "")


@pytest.mark.parametrize(
    ("shown", "output", "missing"),
    [
        ("✓ a (2 ms)\n…\nb", "x\n✓ a (34 ms)\ny\nb\n", None),
        ("a\nb", "b\na\n", "b"),
        (" n |  c \n---+---", " n | c\n------+---\n", None),
        ("error: a", "error: ab\n", "error: a"),
    ],
)
def test_output_is_compared_line_by_line_in_order(shown: str, output: str, missing: str | None) -> None:
    assert find_missing(shown, output) == missing

"""The JSON forms: everything that --json writes is what docs/reference/json/*.schema.json says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast

import click
import psycopg
import pytest
from jsonschema import Draft202012Validator

from whimbrel.cli import group
from whimbrel.cli.documents import event_form
from whimbrel.config import config_from
from whimbrel.database import lock_key
from whimbrel.events import BackfillAdvanced

ROOT = Path(__file__).parents[1]
SCHEMAS = ROOT / "docs" / "reference" / "json"
PAGE = ROOT / "docs" / "reference" / "json.md"
Document = dict[str, Any]

MIGRATIONS = {
    "000001_create_notes.up.sql": "CREATE TABLE notes (id int PRIMARY KEY);\n",
    "000001_create_notes.down.sql": "DROP TABLE notes;\n",
    "000002_add_body.up.sql": "ALTER TABLE notes ADD COLUMN body text;\n",
    "000002_add_body.down.sql": "ALTER TABLE notes DROP COLUMN body;\n",
}
# Its first statement is done, its second is interrupted as long as there is no table `gate`.
INTERRUPTED = """\
-- whimbrel: transaction = off
CREATE TABLE extra (id int);
DO $$BEGIN COMMIT; IF to_regclass('public.gate') IS NULL THEN RAISE 'the gate is shut'; END IF; END$$;
"""


@cache
def validators() -> dict[str, Draft202012Validator]:
    found: dict[str, Draft202012Validator] = {}
    for path in sorted(SCHEMAS.glob("*.schema.json")):
        schema = json.loads(path.read_text())
        Draft202012Validator.check_schema(schema)
        found[path.name.removesuffix(".schema.json")] = Draft202012Validator(
            schema, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
    return found


def check(document: Document) -> str:
    """Check a document against the schema of its kind, and return the kind."""
    kind = str(document["whimbrel"])
    problems = [
        f"{'/'.join(map(str, error.absolute_path)) or kind}: {error.message}"
        for error in validators()[kind].iter_errors(document)  # pyright: ignore[reportUnknownMemberType]
    ]
    assert not problems, f"{document}\n" + "\n".join(problems)
    return kind


@dataclass
class Run:
    """What one command wrote: its documents, each checked."""

    code: int
    documents: list[Document]
    stderr: str

    @property
    def kinds(self) -> list[str]:
        return [str(document["whimbrel"]) for document in self.documents]

    def one(self, kind: str) -> Document:
        """Return the only document of a kind."""
        (found,) = [document for document in self.documents if document["whimbrel"] == kind]
        return found


class Project:
    """A folder with migrations, seeds and an empty configuration, and the database to try them on."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.dsn = dsn
        (folder / "whimbrel.toml").touch()
        for name, text in MIGRATIONS.items():
            self.write(f"migrations/{name}", text)
        self.write("seeds/01_notes.sql", "INSERT INTO notes VALUES (1) ON CONFLICT DO NOTHING;\n")

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def remove(self, *patterns: str) -> None:
        for pattern in patterns:
            for path in self.folder.glob(pattern):
                path.unlink()

    def sql(self, text: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(text.encode())

    def run(self, *words: str, database: str | None = None) -> Run:
        """Run a command with --json and check each line of its output."""
        done = self._start(*words, "--json", "--database", database or self.dsn)
        documents = [json.loads(line) for line in done.stdout.splitlines()]
        for document in documents:
            check(document)
        return Run(done.returncode, documents, done.stderr)

    def prepare(self, *words: str, code: int = 0) -> None:
        """Run a command of which only the effect is of interest."""
        done = self._start(*words, "--quiet", "--database", self.dsn)
        assert done.returncode == code, done.stderr

    def _start(self, *words: str) -> subprocess.CompletedProcess[str]:
        own = ("PG", "WHIMBREL_", "DATABASE_URL")
        return subprocess.run(
            [sys.executable, "-m", "whimbrel", *words],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith(own)},
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )


@pytest.fixture
def project(tmp_path: Path, dsn: str) -> Project:
    return Project(tmp_path, dsn)


# Preparations


def fresh(project: Project) -> None:
    del project


def applied(project: Project) -> None:
    project.prepare("up")


def applied_partly(project: Project) -> None:
    project.prepare("up", "--to", "1")


def modified(project: Project) -> None:
    project.prepare("up")
    project.write("migrations/000002_add_body.up.sql", "ALTER TABLE notes ADD COLUMN body varchar;\n")


def missing(project: Project) -> None:
    project.prepare("up")
    project.remove("migrations/000002*")
    project.write("migrations/000003_extra.up.sql", "CREATE TABLE extra (id int);\n")


def talkative(project: Project) -> None:
    project.write("migrations/000001_create_notes.up.sql", "DO $$BEGIN RAISE NOTICE 'hello'; END$$;\n")
    project.remove("migrations/000002*")


def concurrent(project: Project) -> None:
    project.write("migrations/000003_index.up.sql", "CREATE INDEX CONCURRENTLY notes_body ON notes (body);\n")


def interrupted(project: Project) -> None:
    project.write("migrations/000003_extra.up.sql", INTERRUPTED)
    project.prepare("up", code=1)


def resolved(project: Project) -> None:
    interrupted(project)
    project.prepare("resolve", "3", "--retry")
    project.sql("CREATE TABLE gate ()")


def broken(project: Project) -> None:
    project.write(
        "migrations/000002_add_body.up.sql", "ALTER TABLE notes ADD COLUMN body text;\nUPDATE notes SET bdy = '';\n"
    )


def filling(project: Project) -> None:
    applied(project)
    project.write("fill.sql", "UPDATE notes SET body = '' WHERE body IS NULL;\n")


def filled(project: Project) -> None:
    filling(project)
    project.prepare("backfill", "fill.sql")


def by_hand(project: Project) -> None:
    """Give every oddity that status knows."""
    project.write("migrations/000004_extra.up.sql", INTERRUPTED)
    project.prepare("up", code=1)
    project.sql("INSERT INTO schema_migrations (version, description) VALUES (7, 'by hand')")
    project.write("migrations/000001_create_notes.up.sql", "create table notes (id int primary key);\n")
    project.write("migrations/000002_add_body.up.sql", "SELECT 1;\n")
    project.write("migrations/000003_late.up.sql", "SELECT 1;\n")
    project.write("migrations/notes.sql", "SELECT 1;\n")


@dataclass
class Case:
    """A command, what comes before it, and the kinds of document that it has to write."""

    words: list[str]
    kinds: list[str]
    prepare: Callable[[Project], None] = fresh
    code: int = 0

    def __str__(self) -> str:
        return " ".join([*self.words, f"({self.prepare.__name__})"])


STEP = ["step_started", "step_finished"]
CASES = [
    Case(["up", "--plan"], ["plan"]),
    Case(["up", "--plan"], ["error"], modified, 6),
    Case(["up"], ["run_started", *STEP, *STEP, "run_finished"]),
    Case(["up"], ["warning", "run_started", *STEP, "run_finished"], missing),
    Case(["up"], ["run_started", "step_started", "notice", "step_finished", "run_finished"], talkative),
    Case(
        ["up"],
        ["run_started", *STEP, *STEP, "step_started", "step_advanced", "step_finished", "run_finished"],
        concurrent,
    ),
    Case(
        ["up"],
        ["run_started", "step_started", "statement_skipped", "step_failed", "run_finished", "error"],
        interrupted,
        4,
    ),
    Case(
        ["up"],
        ["run_started", "step_started", "statement_skipped", "step_advanced", "step_finished", "run_finished"],
        resolved,
    ),
    Case(["up"], ["run_started", *STEP, "step_started", "step_failed", "run_finished", "error"], broken, 1),
    Case(["up"], ["error"], modified, 6),
    Case(["up", "--rehearse"], ["run_started", *STEP, *STEP, "run_finished"]),
    Case(["down", "--plan"], ["plan"], applied),
    Case(["down", "--yes"], ["run_started", *STEP, "run_finished"], applied),
    Case(["down"], ["error"], applied, 2),
    Case(["redo", "--yes"], ["run_started", *STEP, *STEP, "run_finished"], applied),
    Case(["redo", "--plan"], ["plan"], applied),
    Case(["force", "2"], ["run_started", *STEP, "run_finished"], applied_partly),
    Case(["status"], ["status"]),
    Case(["status", "--check"], ["status"], code=3),
    Case(["status"], ["status"], by_hand),
    Case(["status", "--origins"], ["origins"]),
    Case(["history"], ["history"], interrupted),
    Case(["create", "add_title"], ["created"]),
    Case(["baseline", "1"], ["baseline"]),
    Case(["repair"], ["repair"], modified),
    Case(["resolve", "3", "--done"], ["resolved"], interrupted),
    Case(["resolve", "1", "--done"], ["error"], applied, 2),
    Case(["backfill", "fill.sql"], ["backfill_advanced", "backfill_advanced", "backfilled"], filling),
    Case(["backfill", "--status"], ["backfills"], filled),
    Case(["seed"], ["run_started", *STEP, "run_finished"], applied),
    Case(["up", "--nope"], ["error"], code=2),
    Case(["up", "--to", "9"], ["error"], code=2),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in CASES])
def test_a_command_writes_what_the_schemas_say(project: Project, case: Case) -> None:
    case.prepare(project)
    done = project.run(*case.words)
    assert done.code == case.code, done.stderr
    assert done.kinds == case.kinds


def test_the_embedded_postgresql_writes_what_the_schemas_say(project: Project) -> None:
    address = "embedded:pg?dbname=notes"
    try:
        started = project.run("cluster", "start", database=address)
        assert (started.code, started.kinds) == (0, ["cluster"]), started.stderr
        running = project.run("cluster", "status", database=address)
        assert running.documents == started.documents
        assert project.run("cluster", "logs", "--lines", "2", database=address).kinds == ["cluster_log"]
    finally:
        stopped = project.run("cluster", "stop", database=address)
    assert stopped.one("cluster_stopped")["was_running"] is True
    assert project.run("cluster", "stop", database=address).one("cluster_stopped")["was_running"] is False
    stopped = project.run("cluster", "status", database=address)
    assert (stopped.code, stopped.one("cluster")["is_running"]) == (3, False)


def test_a_run_that_waits_says_for_whom(project: Project) -> None:
    key = lock_key(config_from({}))
    with psycopg.connect(project.dsn, autocommit=True, application_name="the other one") as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [key])
        done = project.run("up", "--lock-wait", "1s")
        pid = holder.info.backend_pid
    assert (done.code, done.kinds) == (5, ["lock_held", "error"])
    held = done.one("lock_held")
    assert (held["pid"], held["application"]) == (pid, "the other one")


def test_a_step_that_waits_for_a_table_says_for_whom(project: Project) -> None:
    applied_partly(project)
    with psycopg.connect(project.dsn, application_name="the other one") as holder:
        holder.execute("SELECT FROM notes")
        done = project.run("up", "--lock-budget", "1s")
        pid = holder.info.backend_pid
    assert done.code == 5
    awaited = [document for document in done.documents if document["whimbrel"] == "lock_awaited"]
    assert awaited
    assert [(each["pid"], each["application"], each["state"]) for each in awaited[-1]["blockers"]] == [
        (pid, "the other one", "idle in transaction")
    ]


def test_a_statement_that_takes_long_says_for_whom_it_waits(project: Project) -> None:
    applied(project)
    project.write("migrations/000003_slow.up.sql", "CREATE INDEX CONCURRENTLY slow ON notes (body);\n")
    with psycopg.connect(project.dsn, application_name="the other one") as holder:
        holder.execute("INSERT INTO notes VALUES (7, 'secret')")
        done = project.run("up", "--lock-budget", "1s")
        pid = holder.info.backend_pid
    assert done.code == 5
    running = [document for document in done.documents if document["whimbrel"] == "statement_running"]
    assert running[0]["phase"] == "waiting for writers before build"
    assert running[0]["sql"] == "CREATE INDEX CONCURRENTLY slow ON notes (body)"
    assert [(each["pid"], each["query"]) for each in running[0]["blockers"]] == [
        (pid, "INSERT INTO notes VALUES (7, '…')")
    ]


def test_a_backfill_tells_what_its_schema_says() -> None:
    event = BackfillAdvanced(None, "notes", 10, 30, 9, 10, 1234.56789, timedelta(seconds=2), "a standby lags")
    document = event_form(event)
    assert check(document) == "backfill_advanced"
    assert (document["rate"], document["remaining_ms"]) == (1234.568, 2000)


def test_an_error_has_its_place_and_its_sqlstate(project: Project) -> None:
    broken(project)
    error = project.run("up").one("error")
    assert error["exit_code"] == 1
    assert error["sqlstate"] == "42703"
    assert error["message"] == 'column "bdy" of relation "notes" does not exist'
    assert error["position"] == {"file": "migrations/000002_add_body.up.sql", "line": 2, "column": 18}


def test_an_error_of_a_file_has_its_place(project: Project) -> None:
    project.write("migrations/000003_bad.up.sql", "SELECT 1;\n  SELECT 'x;\n")
    done = project.run("up")
    assert (done.code, done.kinds) == (2, ["error"])
    assert done.one("error")["position"] == {"file": "migrations/000003_bad.up.sql", "line": 2, "column": 10}


def test_a_connection_that_fails_is_a_document_without_the_password(project: Project) -> None:
    done = project.run("status", database="postgresql://app:hunter2@127.0.0.1:1/app")
    assert (done.code, done.kinds) == (8, ["error"])
    assert "hunter2" not in json.dumps(done.documents) + done.stderr


def test_the_origins_show_no_password(project: Project) -> None:
    done = project.run("status", "--origins", database="postgresql://app:hunter2@127.0.0.1:1/app")
    shown = done.one("origins")["values"]["database"]
    assert shown["origin"] == "command line"
    assert "hunter2" not in shown["value"]
    assert "user=app" in shown["value"]


def test_the_status_tells_every_oddity(project: Project) -> None:
    by_hand(project)
    states = {state["version"]: state for state in project.run("status").one("status")["migrations"]}
    assert states[1]["is_reformatted"]
    assert states[2]["is_modified"]
    assert states[3]["is_late"]
    assert states[4]["interrupted_at"] == 2
    assert states[7]["is_missing"]
    assert states[7]["is_by_hand"]


# The schemas themselves


def written_kinds() -> set[str]:
    """Return the kinds of document that the command line's source names."""
    text = "\n".join(path.read_text() for path in (ROOT / "src" / "whimbrel" / "cli").rglob("*.py"))
    return set(re.findall(r'\bdocument\(\s*"(\w+)"', text))


def commands_with_json() -> Iterator[str]:
    def walk(command: click.Command, path: list[str]) -> Iterator[str]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from walk(found, [*path, name])
        elif any("--json" in parameter.opts for parameter in command.params):
            yield " ".join(path)

    yield from walk(group, [])


def test_every_kind_of_document_has_a_schema_and_every_schema_a_kind() -> None:
    assert set(validators()) == written_kinds()


@pytest.mark.parametrize("kind", sorted(written_kinds()))
def test_a_schema_is_closed_and_says_its_kind_and_version(kind: str) -> None:
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text())
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"]["whimbrel"]["const"] == kind
    assert schema["properties"]["version"]["const"] == 1

    def objects(value: Any) -> Iterator[Document]:
        if isinstance(value, list):
            parts = cast("list[Any]", value)
        elif isinstance(value, dict):
            mapping = cast("Document", value)
            parts = list(mapping.values())
            if mapping.get("type") == "object":
                yield mapping
        else:
            return
        for part in parts:
            yield from objects(part)

    for each in objects(schema):
        assert each["additionalProperties"] is False
        assert set(each["required"]) <= set(each["properties"])


def test_every_kind_of_document_is_seen_in_these_tests() -> None:
    elsewhere = {"cluster", "cluster_stopped", "cluster_log", "lock_held"}
    elsewhere |= {"lock_awaited", "statement_running", "backfill_advanced"}
    assert {kind for case in CASES for kind in case.kinds} | elsewhere == set(validators())


def test_every_command_with_json_is_run_in_these_tests() -> None:
    # psql gives its place to the real psql, which writes what it likes.
    elsewhere = {"cluster start", "cluster stop", "cluster status", "cluster logs", "psql"}
    assert {case.words[0] for case in CASES} | elsewhere == set(commands_with_json())


def test_the_page_on_json_describes_every_kind() -> None:
    linked = set(re.findall(r"\(json/(\w+)\.schema\.json\)", PAGE.read_text()))
    assert linked == set(validators())


def test_the_examples_of_the_page_on_json_are_what_the_schemas_say() -> None:
    examples = [json.loads(line) for line in PAGE.read_text().splitlines() if line.startswith('{"whimbrel"')]
    assert len(examples) > 5
    for example in examples:
        check(example)

"""The files for Docker and for CI: what can be known of them without a Docker engine.

Their shape is checked here; that Docker runs them, by the job Docker in .github/workflows/ci.yml.
"""

from __future__ import annotations

import os
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from .project import ROOT, Project

DOCKER = ROOT / "infra" / "docker"


def read(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text())


def test_the_server_for_development_is_as_the_guides_and_the_makefile_say() -> None:
    service = read(DOCKER / "docker-compose.yml")["services"]["postgres"]
    assert service["container_name"] == "echo-postgres"
    assert service["environment"] == {"POSTGRES_DB": "echo", "POSTGRES_USER": "echo", "POSTGRES_PASSWORD": "echo"}
    # The Makefile's WHIMBREL_DATABASE.
    assert "postgresql://echo:echo@localhost:$(POSTGRES_PORT)/echo" in (ROOT / "Makefile").read_text()
    # Nobody but this machine reaches it.
    assert service["ports"] == ["127.0.0.1:${POSTGRES_PORT:-5432}:5432"]


def test_the_folders_that_psql_includes_from_are_mounted_read_only() -> None:
    volumes = read(DOCKER / "docker-compose.yml")["services"]["postgres"]["volumes"]
    mounted = {target: source for source, target, mode in (each.split(":") for each in volumes[1:]) if mode == "ro"}
    assert set(mounted) == {"/migrations", "/database"}
    for target, source in mounted.items():
        assert (DOCKER / source).resolve() == ROOT / target.strip("/")


def test_both_servers_keep_their_data_where_postgresql_18_does_and_are_waited_for() -> None:
    for name in ("docker-compose.yml", "docker-compose.prod.yml"):
        file = read(DOCKER / name)
        service = file["services"]["postgres"]
        assert re.fullmatch(r"postgres:18(-\w+)?", service["image"])
        volume, folder = service["volumes"][0].split(":")
        assert folder == "/var/lib/postgresql"
        assert volume in file["volumes"]
        assert service["healthcheck"]["test"][:3] == ["CMD", "pg_isready", "--host=127.0.0.1"]


def test_in_production_the_migrations_run_once_and_everything_else_waits_for_them() -> None:
    services = read(DOCKER / "docker-compose.prod.yml")["services"]
    migrate = services["migrate"]
    assert migrate["command"] == ["up"]
    assert migrate["restart"] == "no"
    assert migrate["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in set(services) - {"postgres", "migrate"}:
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


def test_in_production_there_is_no_password_in_the_file_and_none_in_an_address() -> None:
    text = (DOCKER / "docker-compose.prod.yml").read_text()
    services = read(DOCKER / "docker-compose.prod.yml")["services"]
    assert "://" not in text
    for service in services.values():
        for name, value in service["environment"].items():
            assert "PASSWORD" not in name or re.fullmatch(r"\$\{POSTGRES_PASSWORD:\?.+\}", value)


def test_the_file_at_the_root_includes_the_one_for_production() -> None:
    file = read(ROOT / "docker-compose.prod.yml")
    assert [ROOT / each for each in file["include"]] == [DOCKER / "docker-compose.prod.yml"]
    assert file["name"] == read(DOCKER / "docker-compose.prod.yml")["name"]


def test_the_image_is_built_from_files_that_are_there_and_not_ignored() -> None:
    copied: list[str] = []
    for line in (DOCKER / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied += line.split()[1:-1]
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(kept)
    for path in copied:
        assert (ROOT / path).exists(), path


def test_the_services_use_the_image_that_is_built() -> None:
    for name, service in read(DOCKER / "docker-compose.prod.yml")["services"].items():
        if name != "postgres":
            assert service["image"] == "echo-migrations:${TAG:-latest}"
            assert (DOCKER / service["build"]["context"]).resolve() == ROOT
            assert (ROOT / service["build"]["dockerfile"]) == DOCKER / "Dockerfile"


def test_the_image_runs_the_tool_as_nobody_in_particular_and_without_the_embedded_postgresql() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    _, last = text.rsplit("FROM ", 1)
    assert re.search(r"^USER (?!root)\w+$", last, re.MULTILINE)
    assert 'ENTRYPOINT ["whimbrel"]' in last
    assert "[embedded]" not in text
    assert "--constraint constraints.txt" in text


def test_the_tool_finds_what_it_needs_as_in_the_image(project: Project) -> None:
    """No whimbrel.toml, the server from libpq's variables, the folders from the Dockerfile."""
    text = (DOCKER / "Dockerfile").read_text()
    folders = dict(re.findall(r"(WHIMBREL_\w+)=/echo/(\S+)", text))
    assert set(folders) == {"WHIMBREL_MIGRATIONS", "WHIMBREL_SEEDS"}
    (project.root / "whimbrel.toml").unlink()
    fields = dict(each.split("=") for each in project.conninfo.split())
    variables = {f"PG{name.upper().replace('DBNAME', 'DATABASE')}": value for name, value in fields.items()}
    variables |= {name: str(project.root / folder) for name, folder in folders.items()}
    environment = {name: value for name, value in project.environment.items() if name != "DATABASE_URL"}
    container = Project(project.root, {**environment, **variables, "PGPASSWORD": "any ' character $HOME \\ #"})
    for command in ("up", "seed", "status --check"):
        container.run(f".venv/bin/whimbrel {command}")
    assert project.versions() == [1, 2, 3, 4]


def test_the_example_of_env_can_be_read_with_every_line_switched_on(project: Project) -> None:
    text = re.sub(r"^#(?=[A-Z_]+=)", "", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    (project.root / ".env").write_text(text)
    environment = {name: value for name, value in project.environment.items() if name != "DATABASE_URL"}
    done = Project(project.root, environment).run(".venv/bin/whimbrel status --origins")
    assert re.search(r"^database .*dbname=echo.*\(\.env\)$", done.output, re.MULTILINE)
    assert "echo:echo" not in done.output


def test_the_workflow_does_what_ci_run_does() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    assert jobs["run"]["steps"][-1] == {"run": ".ci/run"}
    assert jobs["run"]["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}


def test_ci_run_can_be_read_by_its_shell_and_is_executable() -> None:
    script = ROOT / ".ci" / "run"
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    patterns = ("Makefile", "*.md", "*.yml", ".env.example", ".dockerignore")
    files = [file for file in ROOT.iterdir() if any(fnmatch(file.name, pattern) for pattern in patterns)]
    for folder in ("infra", ".github", ".ci"):
        files += [file for file in (ROOT / folder).rglob("*") if file.is_file()]
    for file in files:
        assert not re.search(r"(?<![\w.])/(work|root|Users)/", file.read_text()), file

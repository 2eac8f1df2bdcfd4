"""The address around the pooler, and the kind of lock: where they come from, and what is shown of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.programs import Project
from whimbrel.config import Config, config_from, read_config
from whimbrel.errors import ConfigError

SECRET = "s3cret"


def read(folder: Path, flags: Mapping[str, str | None] | None = None, **environment: str) -> Config:
    (folder / ".git").mkdir(exist_ok=True)
    return read_config(flags or {}, directory=folder, environment=environment)


def test_an_address_around_the_pooler_takes_the_place_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "whimbrel.toml").write_text('database = "dbname=pooled"\ndirect_url = "dbname=direct"\n')

    assert read(tmp_path).address == "dbname=direct"
    assert read(tmp_path, DATABASE_URL="dbname=other").address == "dbname=direct"
    assert read(tmp_path, DIRECT_URL="dbname=named").address == "dbname=named"
    assert read(tmp_path, DIRECT_URL="dbname=a", WHIMBREL_DIRECT_URL="dbname=b").address == "dbname=b"


def test_an_address_on_the_command_line_wins_over_one_around_the_pooler(tmp_path: Path) -> None:
    """Whoever types an address means that one."""
    (tmp_path / "whimbrel.toml").write_text('direct_url = "dbname=direct"\n')

    config = read(tmp_path, {"database": "dbname=typed"}, WHIMBREL_DIRECT_URL="dbname=named")

    assert config.address == "dbname=typed"
    assert (config.direct_url, "direct_url" in config.origins) == (None, False)
    assert read(tmp_path, {"database": None}).address == "dbname=direct"


@pytest.mark.parametrize("place", [".env", "environment"])
def test_whimbrels_own_database_wins_over_the_applications_address_around_the_pooler(
    tmp_path: Path, place: str
) -> None:
    """It was set for whimbrel alone, DIRECT_URL perhaps for somebody else."""
    if place == ".env":
        (tmp_path / ".env").write_text("DIRECT_URL=dbname=direct\n")

    ours = read(tmp_path, WHIMBREL_DATABASE="dbname=ours", DIRECT_URL="" if place == ".env" else "dbname=direct")
    both = read(tmp_path, WHIMBREL_DATABASE="dbname=ours", WHIMBREL_DIRECT_URL="dbname=both")

    assert ours.address == "dbname=ours"
    assert both.address == "dbname=both"


def test_a_lock_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert read(tmp_path).lock == "session"
    assert read(tmp_path, WHIMBREL_LOCK="transaction").lock == "transaction"
    with pytest.raises(ConfigError, match='"lock" cannot be "table"'):
        config_from({"lock": "table"})


def test_the_origins_show_both_addresses_and_no_password(project: Project) -> None:
    variables = {"DIRECT_URL": f"postgresql://app:{SECRET}@127.0.0.1:1/app"}

    shown = project.succeed("status", "--origins", variables=variables)
    values = json.loads(project.succeed("status", "--origins", "--json", variables=variables))["values"]

    assert SECRET not in shown
    assert values["direct_url"]["value"].startswith("user=app password=********")
    assert values["direct_url"]["origin"] == "environment"
    assert "none" in project.succeed("status", "--origins")


def test_a_password_of_the_address_around_the_pooler_is_in_no_message(project: Project) -> None:
    project.three_tables()
    address = f"postgresql://app:{SECRET}@127.0.0.1:1/app"

    for variables in ({"DIRECT_URL": address}, {"WHIMBREL_DIRECT_URL": address}):
        done = project.run("up", variables=variables)
        assert done.code == 8
        assert SECRET not in done.out + done.err


def test_the_repr_of_a_configuration_shows_no_address() -> None:
    assert SECRET not in repr(config_from({"direct_url": f"postgresql://app:{SECRET}@h/d"}))

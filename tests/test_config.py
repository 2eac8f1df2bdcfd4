"""Where the configuration comes from, and what is refused in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whimbrel.config import KEYS, Config, config_from, read_config
from whimbrel.errors import ConfigError

SECRET = "s3cret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder whose parents hold no configuration."""
    (tmp_path / ".git").mkdir()
    return tmp_path


def read(
    folder: Path, flags: Mapping[str, str | None] | None = None, environment: Mapping[str, str] | None = None
) -> Config:
    return read_config(flags or {}, directory=folder, environment=environment or {})


def refusal(
    folder: Path, flags: Mapping[str, str | None] | None = None, environment: Mapping[str, str] | None = None
) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(folder, flags, environment)
    assert SECRET not in str(caught.value)
    return caught.value


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


def env(folder: Path, text: str) -> Mapping[str, str]:
    """Return what `.env` sets of the variables PGA, PGB, …"""
    write(folder, ".env", text)
    return read(folder).variables


def test_without_any_configuration_the_defaults_hold(folder: Path) -> None:
    config = read(folder)
    assert config.database is None
    assert config.migrations == folder / "migrations"
    assert config.seeds == folder / "seeds"
    assert config.history_table == "public.schema_migrations"
    assert config.origins == {}


# ----------------------------------------------------------------------------------------------- order


def test_file_dotenv_environment_and_flags_rise_in_this_order(folder: Path) -> None:
    names = ["lock_timeout", "statement_timeout", "lock_wait", "search_path"]
    write(folder, "whimbrel.toml", "".join(f'{name} = "1"\n' for name in names))
    write(folder, ".env", "".join(f"WHIMBREL_{name.upper()}=2\n" for name in names[1:]))
    config = read(
        folder, {"search_path": "4", "lock_wait": None}, {f"WHIMBREL_{each.upper()}": "3" for each in names[2:]}
    )
    assert [getattr(config, name) for name in names] == ["1", "2", "3", "4"]
    assert [config.origins[name] for name in names] == ["whimbrel.toml", ".env", "environment", "command line"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 3)))
def test_the_highest_place_that_gives_a_value_wins(folder: Path, places: set[int]) -> None:
    write(folder, "whimbrel.toml", 'lock_wait = "1s"\n' if 0 in places else "")
    write(folder, ".env", "WHIMBREL_LOCK_WAIT=2s\n" if 1 in places else "")
    environment = {"WHIMBREL_LOCK_WAIT": "3s"} if 2 in places else {}
    config = read(folder, {"lock_wait": "4s" if 3 in places else None}, environment)
    assert config.lock_wait == (f"{max(places) + 1}s" if places else "1min")


def test_whimbrels_own_variable_goes_before_database_url(folder: Path) -> None:
    both = {"DATABASE_URL": "dbname=other", "WHIMBREL_DATABASE": "dbname=ours"}
    assert read(folder, environment=both).database == "dbname=ours"
    assert read(folder, environment={"DATABASE_URL": "dbname=other"}).database == "dbname=other"


def test_the_environment_goes_before_dotenv_whichever_variable_it_uses(folder: Path) -> None:
    write(folder, ".env", "WHIMBREL_DATABASE=dbname=file\n")
    assert read(folder, environment={"DATABASE_URL": "dbname=environment"}).database == "dbname=environment"


def test_an_empty_variable_is_none(folder: Path) -> None:
    assert read(folder, environment={"DATABASE_URL": "", "WHIMBREL_LOCK_WAIT": ""}) == read(folder)


def test_pg_variables_of_dotenv_are_kept_for_libpq_unless_the_environment_has_them(folder: Path) -> None:
    write(folder, ".env", f"PGHOST=a\nPGPASSWORD={SECRET}\nOTHER=x\n")
    config = read(folder, environment={"PGHOST": "b"})
    assert config.variables == {"PGPASSWORD": SECRET}
    assert SECRET not in repr(config)


def test_the_repr_shows_no_database(folder: Path) -> None:
    assert SECRET not in repr(read(folder, {"database": f"postgresql://u:{SECRET}@h/d"}))


# ----------------------------------------------------------------------------------------------- places


def test_the_file_is_looked_for_in_the_parents(folder: Path) -> None:
    write(folder, "whimbrel.toml", 'lock_wait = "9s"\n')
    deep = folder / "a" / "b"
    deep.mkdir(parents=True)
    config = read(deep)
    assert (config.lock_wait, config.root) == ("9s", folder)
    assert config.origins == {"lock_wait": str(folder / "whimbrel.toml")}


def test_the_search_ends_where_a_repository_begins(folder: Path) -> None:
    write(folder, "whimbrel.toml", 'lock_wait = "9s"\n')
    (folder / "vendored" / ".git").mkdir(parents=True)
    assert read(folder / "vendored").lock_wait == "1min"


def test_paths_are_relative_to_where_they_were_written(folder: Path) -> None:
    write(folder, "whimbrel.toml", 'migrations = "m"\nseeds = "../s"\ndatabase = "embedded:.pg?dbname=echo"\n')
    deep = folder / "a"
    deep.mkdir()
    config = read(deep)
    assert (config.migrations, config.seeds) == (folder / "m", folder / "../s")
    assert config.database == f"embedded:{folder}/.pg?dbname=echo"
    assert read(deep, {"migrations": "m"}).migrations == deep / "m"
    assert read(deep, environment={"WHIMBREL_DATABASE": "embedded:x"}).database == f"embedded:{deep}/x"
    write(folder, ".env", "WHIMBREL_SEEDS=x\n")
    assert read(deep).seeds == folder / "x"


def test_an_absolute_path_stays(folder: Path) -> None:
    config = read(folder, {"migrations": "/m", "database": "embedded:/pg"})
    assert (config.migrations, config.database) == (Path("/m"), "embedded:/pg")


def test_a_home_directory_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert read(folder, {"migrations": "~/m"}).migrations == Path("/home/ada/m")
    assert read(folder, {"database": "embedded:~/pg"}).database == "embedded:/home/ada/pg"
    assert refusal(folder, {"migrations": "~nobody-of-that-name/m"}).hint == "There is no such home directory."


def test_a_folder_with_strange_characters_reaches_the_embedded_address(folder: Path) -> None:
    from whimbrel.cluster import parse_address

    strange = folder / "a 100% b?c"
    strange.mkdir()
    (strange / ".git").mkdir()
    config = read(strange, {"database": "embedded:my%20pg?dbname=x"})
    assert config.database
    found = parse_address(config.database, Path("/"))
    assert (found.data, found.dbname) == ((strange / "my pg").resolve(), "x")


def test_a_file_can_be_named(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    write(other, "prod.toml", 'migrations = "m"\n')
    config = read_config({}, file=other / "prod.toml", directory=folder, environment={})
    assert (config.root, config.migrations) == (other, other / "m")
    with pytest.raises(ConfigError, match=r"configuration file .*gone\.toml does not exist"):
        read_config({}, file=folder / "gone.toml", directory=folder, environment={})


# ----------------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('lock_timout = "1s"', 'unknown key "lock_timout"', 'Perhaps you meant "lock_timeout".'),
        ("zzz = 1", 'unknown key "zzz"', f"The keys are: {', '.join(KEYS)}."),
        ('root = "x"', 'unknown key "root"', None),
        ("lock_wait = true", '"lock_wait" has to be a string', None),
        ("lock_wait = 1.5", '"lock_wait" has to be a string', None),
        ("[database]\nurl = 1", '"database" has to be a string', None),
    ],
)
def test_what_is_wrong_in_the_file_is_named(folder: Path, text: str, message: str, hint: str | None) -> None:
    write(folder, "whimbrel.toml", text)
    found = refusal(folder)
    assert found.message == f"{folder / 'whimbrel.toml'}: {message}"
    assert found.hint == hint or hint is None


def test_what_is_no_toml_is_refused_with_its_place_and_without_the_line(folder: Path) -> None:
    write(folder, "whimbrel.toml", f"\ndatabase = postgresql://u:{SECRET}@h/d\n")
    assert str(refusal(folder)) == f"{folder / 'whimbrel.toml'}:2:12: invalid value"
    write(folder, "whimbrel.toml", 'a = "')
    assert str(refusal(folder)).startswith(f"{folder / 'whimbrel.toml'}: ")


def test_a_file_may_begin_with_a_byte_order_mark_and_hold_numbers(folder: Path) -> None:
    write(folder, "whimbrel.toml", '\ufefflock_timeout = 0\r\nstatement_timeout = "2 min"\r\n')
    config = read(folder)
    assert (config.lock_timeout, config.statement_timeout) == ("0", "2 min")


@pytest.mark.parametrize("name", ["whimbrel.toml", ".env"])
def test_a_file_in_another_encoding_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"# caf\xe9\n")
    assert refusal(folder).message == f"{folder / name}: not valid UTF-8"


def test_a_folder_in_place_of_dotenv_is_refused(folder: Path) -> None:
    (folder / ".env").mkdir()
    assert refusal(folder).message == f"{folder / '.env'}: is a directory"


@pytest.mark.parametrize("key", ["lock_timeout", "statement_timeout", "lock_wait"])
@pytest.mark.parametrize("value", ["soon", "5y", "-1", "1.5s", "5 s s", "٥s", ""])
def test_a_bad_duration_is_refused_with_where_it_came_from(folder: Path, key: str, value: str) -> None:
    found = refusal(folder, {key: value})
    assert found.message == f'"{key}" cannot be "{value}" (from command line)'
    assert found.hint == 'It is a duration such as "5s" or "2min".'


@pytest.mark.parametrize("value", ["0", "5", "100ms", "5s", "2min", "1 h", "1d", "500us"])
def test_durations_are_postgresqls(folder: Path, value: str) -> None:
    assert read(folder, {"lock_timeout": value}).lock_timeout == value


def test_a_bad_choice_is_refused(folder: Path) -> None:
    found = refusal(folder, environment={"WHIMBREL_OUT_OF_ORDER": "ignore"})
    assert found.message == '"out_of_order" cannot be "ignore" (from environment)'
    assert read(folder, {"out_of_order": "refuse"}).out_of_order == "refuse"


@pytest.mark.parametrize(
    ("value", "schema", "name"), [("m", "public", "m"), ("ops.m", "ops", "m"), ("_a1.b$_2", "_a1", "b$_2")]
)
def test_the_history_table_has_a_schema(folder: Path, value: str, schema: str, name: str) -> None:
    config = read(folder, {"history_table": value})
    assert (config.history_schema, config.history_name) == (schema, name)


@pytest.mark.parametrize("value", ["M", "a.b.c", "a b", '"m"', "1m", "a;b", ".m", "m."])
def test_a_history_table_that_would_need_quotes_is_refused(folder: Path, value: str) -> None:
    assert refusal(folder, {"history_table": value}).hint == "It is a name or schema.name in lower case."


# ----------------------------------------------------------------------------------------------- .env


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("PGA=x", "x"),
        ("  export   PGA = x y  ", "x y"),
        ("PGA=", ""),
        ("PGA= # empty", ""),
        ("PGA=x # comment", "x"),
        ("PGA=x#y", "x#y"),
        ("PGA=#y", "#y"),
        ("PGA=a'b\"c", "a'b\"c"),
        ("PGA=postgresql://u:p%23@h/d?x=y", "postgresql://u:p%23@h/d?x=y"),
        ("PGA='x # y' # z", "x # y"),
        ("PGA='a\\n\"$B'", 'a\\n"$B'),
        ('PGA="a\\nb\\"c\\\\d\\$"', 'a\nb"c\\d$'),
        ("PGA=\"x # 'y'\"", "x # 'y'"),
        ('PGA="two\nlines"', "two\nlines"),
        ("PGA='-----BEGIN\nX=\n-----END'", "-----BEGIN\nX=\n-----END"),
        ("PGA=$HOME", "$HOME"),
        ("PGA=ä\u2028b", "ä\u2028b"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_value_of_dotenv_is_read(folder: Path, line: str, value: str, newline: str) -> None:
    text = f"\ufeff# comment\n\n{line}\n  # more\nPGB=2"
    write(folder, ".env", text.replace("\n", newline))
    assert read(folder).variables == {"PGA": value, "PGB": "2"}


def test_the_last_of_two_lines_counts(folder: Path) -> None:
    assert env(folder, "PGA=1\nPGA=2\n") == {"PGA": "2"}


@pytest.mark.parametrize("line", [SECRET, f"PGA='{SECRET}", f'PGA="{SECRET}" x', f"1A={SECRET}", f"PGA B={SECRET}"])
def test_a_line_that_cannot_be_read_is_named_and_not_shown(folder: Path, line: str) -> None:
    write(folder, ".env", f"PGB='two\nlines'\n{line}\n")
    assert refusal(folder).message == f"{folder / '.env'}:3: not of the form NAME=value"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.from_regex(r"\APG[A-Z0-9_]{0,4}\Z"),
        st.text(st.characters(codec="utf-8", exclude_characters="\r")),
        max_size=4,
    ),
    st.booleans(),
)
def test_quoted_values_come_back_as_they_were(folder: Path, values: dict[str, str], single: bool) -> None:
    def quoted(value: str) -> str:
        if single and "'" not in value:
            return f"'{value}'"
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    assert env(folder, "".join(f"{name}={quoted(value)}\n" for name, value in values.items())) == values


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("PGA='\"# \\\n\texportx\0é") | st.characters(codec="utf-8"), max_size=40))
def test_any_text_is_read_or_refused_by_its_line(folder: Path, text: str) -> None:
    try:
        env(folder, text)
    except ConfigError as error:
        assert error.message.endswith(": not of the form NAME=value")


# ----------------------------------------------------------------------------------------------- a library


def test_a_library_gives_its_values_and_nothing_else_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "whimbrel.toml", 'lock_wait = "9s"\n')
    monkeypatch.setenv("DATABASE_URL", "dbname=other")
    config = config_from({"migrations": "m", "lock_timeout": "1s"}, folder)
    assert (config.database, config.lock_wait, config.lock_timeout) == (None, "1min", "1s")
    assert config.migrations == folder / "m"
    with pytest.raises(ConfigError, match="Perhaps you meant"):
        config_from({"lock_timout": "1s"}, folder)

"""A directory of files becomes migrations, or is refused with a message of its own."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.errors import SourceError
from whimbrel.source import MAX_VERSION, next_version, read_migrations


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty folder `migrations` in the current one."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "migrations"
    folder.mkdir()
    return folder


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(f"SELECT '{name}';")


def refusal(folder: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read_migrations(folder)
    return caught.value


def test_pairs_are_read_in_the_order_of_their_versions(folder: Path) -> None:
    write(folder, "10_c.up.sql", "9_b.up.sql", "9_b.down.sql", "000001_a_x.up.sql", "20260101120000_d.e.up.sql")
    source = read_migrations(folder)
    assert [(each.version, each.name, each.down is not None) for each in source.migrations] == [
        (1, "a_x", False),
        (9, "b", True),
        (10, "c", False),
        (20260101120000, "d.e", False),
    ]
    assert source.path == "migrations"
    assert source.migrations[0].up.path == "migrations/000001_a_x.up.sql"


def test_a_directory_without_migrations_is_an_empty_source(folder: Path) -> None:
    write(folder, "README.md")
    assert read_migrations(folder).migrations == ()
    assert read_migrations(folder).ignored == ()


def test_sql_files_that_are_no_migrations_are_named(folder: Path) -> None:
    write(folder, "1_a.up.sql", "2_b.sql", "c.up.sql", "3_.up.sql", "4_d.UP.SQL", "5_e.up.sql.bak", "-6_f.up.sql")
    source = read_migrations(folder)
    assert [each.version for each in source.migrations] == [1]
    assert source.ignored == ("-6_f.up.sql", "2_b.sql", "3_.up.sql", "4_d.UP.SQL", "c.up.sql")


def test_digits_of_other_scripts_are_no_version(folder: Path) -> None:
    write(folder, "١_a.up.sql")
    assert read_migrations(folder).ignored == ("١_a.up.sql",)


def test_a_missing_directory_is_refused(folder: Path) -> None:
    found = refusal(folder / "gone")
    assert found.message == "directory migrations/gone does not exist"
    assert found.hint == "Give the directory of the migrations: --migrations DIR"


def test_a_file_in_place_of_the_directory_is_refused(folder: Path) -> None:
    write(folder, "1_a.up.sql")
    assert refusal(folder / "1_a.up.sql").message == "migrations/1_a.up.sql is not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_directory_is_refused(folder: Path) -> None:
    folder.chmod(0)
    try:
        assert refusal(folder).message == "directory migrations: permission denied"
    finally:
        folder.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused_by_name(folder: Path) -> None:
    write(folder, "1_a.up.sql")
    (folder / "1_a.up.sql").chmod(0)
    assert refusal(folder).message == "migrations/1_a.up.sql: permission denied"


def test_a_broken_link_is_refused_by_name(folder: Path) -> None:
    (folder / "1_a.up.sql").symlink_to("gone")
    assert refusal(folder).message == "migrations/1_a.up.sql: no such file or directory"


def test_a_directory_with_the_name_of_a_migration_is_refused(folder: Path) -> None:
    (folder / "1_a.up.sql").mkdir()
    assert refusal(folder).message == "migrations/1_a.up.sql: is a directory"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_two_files_of_one_version_are_refused_and_both_named(folder: Path, direction: str) -> None:
    write(folder, "7_a.up.sql", f"7_x.{direction}.sql", f"007_y.{direction}.sql")
    found = refusal(folder).message
    assert found.startswith(f"migrations: two files for version 7 {direction}: ")
    assert "007_y" in found


def test_a_down_file_without_its_up_file_is_refused(folder: Path) -> None:
    write(folder, "1_a.up.sql", "2_b.down.sql")
    found = refusal(folder)
    assert found.message == "migrations/2_b.down.sql: down file without its up file"
    assert found.hint == "Restore 2_b.up.sql, or remove this file."


def test_a_down_file_of_another_name_is_refused(folder: Path) -> None:
    """Left over from another branch, it would undo what was never done."""
    write(folder, "2_a.up.sql", "2_b.down.sql")
    assert refusal(folder).message == "migrations: 2_b.down.sql does not belong to 2_a.up.sql"


def test_the_digits_of_a_pair_may_differ(folder: Path) -> None:
    write(folder, "2_a.up.sql", "02_a.down.sql")
    assert read_migrations(folder).migrations[0].down is not None


def test_a_version_beyond_bigint_is_refused(folder: Path) -> None:
    write(folder, f"{MAX_VERSION}_a.up.sql")
    assert read_migrations(folder).migrations[0].version == MAX_VERSION
    write(folder, f"{MAX_VERSION + 1}_b.up.sql")
    found = refusal(folder)
    assert (
        found.message
        == f"migrations/{MAX_VERSION + 1}_b.up.sql: version {MAX_VERSION + 1} is larger than bigint allows"
    )


def test_migrations_can_be_the_resources_of_a_package(tmp_path: Path) -> None:
    file = tmp_path / "package.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("app/migrations/000001_a.up.sql", "SELECT 1;")
        archive.writestr("app/migrations/notes.sql", "")
    source = read_migrations(zipfile.Path(file, "app/migrations/"))
    assert [each.up.content for each in source.migrations] == [b"SELECT 1;"]
    assert source.ignored == ("notes.sql",)


def test_a_directory_far_away_is_shown_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = folder / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert read_migrations(folder.parent).path == str(folder.parent)


def test_the_next_version_has_as_many_digits_as_the_newest(folder: Path) -> None:
    assert next_version([]) == (1, 6)
    write(folder, "0009_a.up.sql", "0010_b.up.sql")
    assert next_version(read_migrations(folder).migrations) == (11, 4)


@given(st.lists(st.integers(0, MAX_VERSION), unique=True, max_size=8), st.randoms())
def test_any_versions_come_in_numeric_order(
    tmp_path_factory: pytest.TempPathFactory, versions: list[int], random: object
) -> None:
    folder = tmp_path_factory.mktemp("any")
    write(folder, *(f"{version:0{version % 5}d}_m.up.sql" for version in versions))
    assert [each.version for each in read_migrations(folder).migrations] == sorted(versions)


def test_messages_begin_in_lower_case_and_end_without_a_full_stop(folder: Path) -> None:
    write(folder, "2_b.down.sql")
    for found in (refusal(folder), refusal(folder / "gone")):
        assert re.fullmatch(r"[a-z].*[^.]", found.message)
        assert re.fullmatch(r"[A-Z].*", found.hint or "")

"""The documentation: links lead somewhere, and every command and option is described."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from whimbrel.cli import group
from whimbrel.cli.options import common, runs
from whimbrel.config import KEYS

ROOT = Path(__file__).parents[1]
COMMANDS = ROOT / "docs" / "reference" / "commands.md"
# Folders of other people's files.
FOREIGN = {"build", "dist", "node_modules", "results"}
COMMON_LINK = "(#options-of-every-command)"
RUN_LINK = "(#options-of-a-run)"


def markdown_files() -> list[Path]:
    def walk(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                if not path.name.startswith(".") and path.name not in FOREIGN:
                    yield from walk(path)
            elif path.suffix == ".md":
                yield path

    return list(walk(ROOT))


@cache
def prose(path: Path) -> str:
    """Return a page without its code blocks, in which nothing is a link or a heading."""
    return re.sub(r"^( *)```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(path: Path) -> set[str]:
    """Return the names that a page's headings have on the usual forges."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", prose(path), flags=re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        name, number = slug, 0
        while name in found:
            number += 1
            name = f"{slug}-{number}"
        found.add(name)
    return found


@pytest.mark.parametrize("path", markdown_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", prose(path))
    broken: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = unquote(target).partition("#")
        page = (path.parent / place).resolve() if place else path
        if not page.exists() or (anchor and page.suffix == ".md" and anchor not in anchors(page)):
            broken.append(target)
    assert not broken


def test_every_page_of_the_documentation_is_in_its_map() -> None:
    start = ROOT / "docs" / "README.md"
    linked = {
        (start.parent / target.partition("#")[0]).resolve() for target in re.findall(r"\]\(([^)]+)\)", prose(start))
    }
    pages = set((ROOT / "docs").rglob("*.md")) - {start}
    assert {str(page.relative_to(ROOT)) for page in pages - linked} == set()


# Commands and options


def options(command: click.Command) -> set[str]:
    context = click.Context(command)
    found = {name for each in command.get_params(context) if isinstance(each, click.Option) for name in each.opts}
    return found | {name for each in command.get_params(context) for name in each.secondary_opts}


def options_of(decorate: object) -> set[str]:
    """Return the options that `common` or `runs` adds."""
    assert callable(decorate)

    def nothing() -> None:
        pass

    parameters: list[click.Parameter] = getattr(decorate(nothing), "__click_params__", [])
    return {name for each in parameters for name in each.opts}


HELP = {"-h", "--help"}
COMMON = options_of(common)
RUN = options_of(runs)


def commands() -> dict[str, click.Command]:
    def walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield f"{path} {name}", found
                yield from walk(found, f"{path} {name}")

    return dict(walk(group, "whimbrel"))


@cache
def sections() -> dict[str, str]:
    """Return the page on commands by its headings."""
    parts = re.split(r"^##+ +(.+?) *$", COMMANDS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def described(section: str) -> set[str]:
    """Return the options that the first cells of a section's tables name."""
    cells = re.findall(r"^\| (`-[^|]*) \|", section, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(--?[a-z][a-z-]*)", cell)}


def test_every_command_has_its_section_and_every_section_its_command() -> None:
    assert {title for title in sections() if title.startswith("whimbrel ")} == set(commands())


@pytest.mark.parametrize("name", sorted(commands()))
def test_a_command_is_described_with_every_option(name: str) -> None:
    command, section = commands()[name], sections()[name]
    own = options(command) - HELP
    if isinstance(command, click.Group):
        assert described(section) == own
        return
    takes_common, takes_run = own >= COMMON, own >= RUN
    assert (COMMON_LINK in section, RUN_LINK in section) == (takes_common, takes_run)
    shared = (COMMON if takes_common else set[str]()) | (RUN if takes_run else set[str]())
    assert described(section) - HELP == own - shared


def test_the_shared_options_are_described() -> None:
    assert described(sections()["Options of every command"]) == COMMON | HELP
    assert described(sections()["Options of a run"]) == RUN


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_help_of_a_command_names_what_the_page_names(name: str) -> None:
    command = commands()[name]
    shown = command.get_help(click.Context(command, info_name=name, help_option_names=["-h", "--help"]))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", shown.partition("\nOptions:")[2])) >= {
        option for option in described(sections()[name]) if option.startswith("--")
    }


def test_every_key_of_the_configuration_is_described() -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    table = page.partition("## Keys")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == list(KEYS)


def test_every_exception_is_described() -> None:
    from whimbrel import errors

    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {name for name in kinds if f" {name} " not in page and f"{name}  " not in page} == set()

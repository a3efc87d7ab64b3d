"""The documentation: complete, its commands real, its links leading somewhere."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from adtool import __version__, data, models
from adtool.cli import _console, main
from adtool.rows import COLUMNS

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def shown(name: str) -> list[str]:
    """The lines of a page's code blocks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page(name), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def examples() -> Iterator[str]:
    """The `adtool` command lines of the README and of every command's help."""
    yield from (line for line in shown("README.md") if line.startswith("adtool "))
    for command in commands(main):
        for line in (command.help or "").partition("Example:")[2].splitlines():
            if (start := line.find("adtool ")) >= 0:
                yield line[start:].partition(" > ")[0].strip()


def commands(group: click.Group) -> Iterator[click.Command]:
    """A group, its commands and theirs."""
    yield group
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield from commands(command) if isinstance(command, click.Group) else [command]


def parse(words: list[str]) -> dict[str, Any]:
    """The options and arguments of a command line; click complains of what does not exist. Files are not looked for."""
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"no command {words[0]}"
        command, words = found, words[1:]
    context = click.Context(command)
    values, rest, _ = command.make_parser(context).parse_args(words)
    assert not rest or isinstance(command, click.Group)
    for parameter in command.params:
        value = values.get(parameter.name or "")
        if isinstance(value, str) and not isinstance(parameter.type, click.Path):
            parameter.type_cast_value(context, value)
        assert not parameter.required or isinstance(value, str | tuple), f"{parameter.name} is missing"
    return values


@pytest.mark.parametrize("line", sorted(set(examples())))
def test_example_can_be_typed(line: str) -> None:
    values = parse(shlex.split(line)[1:])
    if line.split()[1] in ("train", "demo") and (name := values.get("model")):
        assert models.load(name).Config.preset(values.get("preset") or "default")


def test_an_example_that_cannot_be_typed_is_found() -> None:
    for wrong in ("paint x", "train x --colour red", "train", "train x --holdout much", "data make cloud x"):
        with pytest.raises((AssertionError, click.UsageError)):
            parse(wrong.split())


def test_readme_shows_every_command() -> None:
    missing = [name for name in main.list_commands(click.Context(main)) if f"adtool {name}" not in page("README.md")]
    assert missing == ["demo"] and "make demo" in page("README.md")


@pytest.mark.parametrize("name", models.names())
def test_model_has_a_row_with_its_paper(name: str) -> None:
    row = re.search(rf"^\| `{name}` \|(.*)$", page("README.md"), re.MULTILINE)
    assert row, f"{name}: no row in the README's table of models"
    link = models.load(name).Config.PAPER.rsplit(" ", 1)[1]
    assert f"({link})" in row[1]


@pytest.mark.parametrize("name", data.LAYOUTS)
def test_layout_has_a_row(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", page("README.md"), re.MULTILINE)


def test_readme_explains_every_column_and_status() -> None:
    rows = set(re.findall(r"^\| `?(\w+)`? \|", page("README.md"), re.MULTILINE))
    assert {*COLUMNS, *(str(status.value) for status in _console.ExitStatus)} <= rows


def test_operators_are_named() -> None:
    operators = {file.stem for file in (ROOT / "adtool/ops").glob("[!_]*.py")}
    assert [name for name in sorted(operators) if f"`{name}`" not in page("README.md")] == []


def test_changelog_has_this_version() -> None:
    assert re.search(rf"^## \[{re.escape(__version__)}\] - (unreleased|\d{{4}}-\d\d-\d\d)$", page("CHANGELOG.md"), re.M)


@pytest.mark.parametrize("name", PAGES)
def test_links_and_paths_lead_somewhere(name: str) -> None:
    links = [
        link.partition("#")
        for link in re.findall(r"\]\(([^)]+)\)|^\[[^]]+\]: (\S+)$", page(name), re.M)
        for link in link
    ]
    for file, _, anchor in links:
        if file.startswith("http") or not file + anchor:
            continue
        assert (ROOT / file).exists(), file
        assert not anchor or anchor in anchors(file or name), anchor
    for path in re.findall(r"`((?:adtool|csrc|tests|benchmarks|\.ci)/[\w./-]*)`", page(name)):
        assert (ROOT / path).exists() or Path(path).stem.removeprefix("test_") == "x", path  # x is any name


def anchors(name: str) -> set[str]:
    """What a page's headings are called in links."""
    titles = re.findall(r"^#+ (.+)$", page(name), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", page("Makefile"), re.MULTILINE))
    named = {target for name in PAGES for target in re.findall(r"\bmake ([\w-]+)\b", "\n".join(shown(name)))}
    named |= {target for name in PAGES for target in re.findall(r"`make ([\w-]+)`", page(name))}
    assert {"demo", "test"} <= named <= targets
    assert named <= set(re.findall(r"^# +make ([\w-]+)", page("Makefile"), re.MULTILINE))


def test_extras_exist() -> None:
    extras = tomllib.loads(page("pyproject.toml"))["project"]["optional-dependencies"]
    named = {name for text in map(page, [*PAGES, "Makefile"]) for name in re.findall(r'"\.\[(\w+)\]"', text)}
    assert named <= set(extras) and {"test", "lint"} <= set(extras)


def test_architecture_is_a_page() -> None:
    assert len(page("ARCHITECTURE.md").splitlines()) <= 150

"""What the documentation says can be typed, opened and found."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
import yaml

from shared import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PROGRAM = typer.main.get_command(cli.build())
#: A command and what follows it, up to a comment, a pipe or another command.
COMMAND = re.compile(r"^(?:\$ )?(?:\S*/)?osteofed\b(.*)$", re.MULTILINE)


INLINE = re.compile(r"`osteofed ([^`|{\[]+)`")


def snippets(page: Path) -> Iterator[tuple[str, str]]:
    """Each fenced snippet: its language, its text."""
    for found in FENCE.finditer(page.read_text(encoding="utf-8")):
        yield found[1], found[2]


def commands() -> list[tuple[str, str]]:
    """Each command line of ours: the page, and what follows ``osteofed``."""
    return [
        (page.name, line[1].strip())
        for page in PAGES
        for _, text in snippets(page)
        for line in COMMAND.finditer(text.replace("\\\n", " "))
    ]


def words_of(line: str) -> list[str]:
    """Words of a command, without comments, alternatives and what it is piped into."""
    words = []
    for word in shlex.split(line, comments=True):
        if word in ("|", ">", "&&", ";", "2>", ">>"):
            break
        words.append(word.partition("|")[0])
    return words


def found_in(page: str, line: str) -> tuple[click.Context, list[str]]:
    """The command that a line names, and the words after it."""
    command: click.Command = PROGRAM
    words, context = words_of(line), click.Context(PROGRAM, info_name="osteofed")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"{page}: osteofed {line}: there is no {words[0]}"
        command, words = found, words[1:]
        context = click.Context(command, parent=context, info_name=command.name)
    return context, words


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_of_the_documentation_can_be_typed(page: str, line: str) -> None:
    context, words = found_in(page, line)
    _, extra, order = context.command.make_parser(context).parse_args(list(words))
    assert extra == [], f"{page}: osteofed {line}"
    given = {parameter.name for parameter in order}
    missing = [
        one.name for one in context.command.params
        if isinstance(one, click.Argument) and one.required and one.name not in given
    ]  # fmt: skip
    assert missing == [] or {"-h", "--help"} & set(words), f"{page}: osteofed {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_command_in_a_sentence_is_there_with_its_options(page: Path) -> None:
    for line in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        context, words = found_in(page.name, " ".join(line.split()))
        known = {option for one in context.command.params for option in one.opts}
        asked = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert asked <= known | {"-h", "--help"}, f"{page}: osteofed {line}"


def test_commands_are_found_at_all() -> None:
    assert len(commands()) > 30
    assert words_of("site init SITE --name a  # makes it") == [
        "site",
        "init",
        "SITE",
        "--name",
        "a",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_leads_to_what_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(FENCE.sub("", text)):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_and_data_in_a_page_can_be_read(page: Path) -> None:
    for language, text in snippets(page):
        if language in ("yaml", "yml"):
            assert yaml.safe_load(text) is not None
        elif language == "json":
            json.loads(text)


def test_where_to_find_what_names_what_is_there() -> None:
    page = (ROOT / "docs" / "where.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| .+\? \| `(\S+)` \|$", page, re.MULTILINE)
    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_how_long_the_setup_takes_is_said_in_one_way() -> None:
    for name in ("README.md", "Makefile", "docs/run-a-consortium.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "about three minutes" in text, name


def test_the_readme_is_short_and_shows_the_figures_of_the_benchmarks() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.split()) <= 1000
    benchmarks = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for task, cohort in (
        ("dxa-segmentation", "dxa-segmentation-150"), ("dxa-bmd", "dxa-bmd-150"),
        ("vfa-fracture", "vfa-fracture-150"), ("xray-vertebrae", "radiographs"),
    ):  # fmt: skip
        row = re.search(rf"^\| {cohort} \|.*$", benchmarks, re.MULTILINE)
        shown = re.search(rf"^\| `{task}` \|.*$", readme, re.MULTILINE)
        assert row, cohort
        assert shown, task
        cells = [cell.strip().split(" ")[0] for cell in row[0].strip("|").split("|")]
        assert [cell.strip() for cell in shown[0].strip("|").split("|")][2:] == [
            cells[2], cells[3], cells[5], cells[6],
        ]  # fmt: skip

"""The help of every command, read as a person would; and what a shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

import click
import click.testing
import pytest
import typer
from typer.testing import CliRunner

from shared import cli
from shared.tasks import TASKS
from shared.tasks.shell_completion import complete_task

#: Nobody should wait for these when they press the tabulator.
HEAVY = ("torch", "monai", "mlflow", "flwr", "matplotlib", "sqlalchemy", "numpy", "pydicom")


def commands(
    command: click.Command, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and group, with the words that call it."""
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


def plain(text: str) -> str:
    """Text without frames and line breaks."""
    return " ".join(word for word in text.split() if not set(word) <= set("╭╮╰╯│─"))


@pytest.fixture(scope="module")
def program() -> click.Command:
    return typer.main.get_command(cli.build())


@pytest.fixture(scope="module")
def shown(program: click.Command) -> dict[tuple[str, ...], str]:
    """What each command shows when it is asked for help with -h, on a wide terminal."""
    found = {}
    for words, _ in commands(program):
        # typer's runner takes its own apps only; click's takes what they are made into.
        done = click.testing.CliRunner().invoke(
            program, [*words, "-h"], env={"COLUMNS": "300"}, prog_name="osteofed"
        )
        assert done.exit_code == 0, (words, done.output)
        found[words] = plain(done.output)
    return found


def test_every_command_says_what_it_does_and_what_each_word_means(
    program: click.Command, shown: dict[tuple[str, ...], str]
) -> None:
    read = 0
    for words, command in commands(program):
        help_text = shown[words]
        summary = plain((command.help or "").partition("\n\n")[0])
        assert summary, f"{words}: says nothing"
        assert summary in help_text, words
        if words:  # and its group lists it with the same words
            assert f"{words[-1]} {summary}" in shown[words[:-1]], words
        for parameter in command.params:
            says = plain(getattr(parameter, "help", None) or "")
            assert says, f"{' '.join(words)}: {parameter.name} has no help"
            assert says in help_text, f"{' '.join(words)}: {parameter.name}'s help is not shown"
            read += 1
    assert read > 100


def test_help_is_asked_for_in_two_ways_and_is_the_same(program: click.Command) -> None:
    for words in ([], ["server"], ["site", "check"], ["predict"]):
        said = [
            click.testing.CliRunner().invoke(program, [*words, way], prog_name="osteofed").output
            for way in ("-h", "--help")
        ]
        assert said[0] == said[1]
        assert "Usage: osteofed" in said[0]


def test_the_version_is_that_of_the_package() -> None:
    done = CliRunner().invoke(cli.build(), ["--version"])
    assert (done.exit_code, done.output) == (0, f"osteofed {version('osteofed')}\n")


COMPLETE = f"""
import atexit, sys
sys.argv = ["osteofed"]
heavy = {HEAVY!r}
atexit.register(lambda: sys.stderr.write(" ".join(set(heavy) & set(sys.modules))))
from shared.cli import main
main()
"""


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("osteofed ser", ["serve", "server"]),
        ("osteofed site st", ["studies", "status"]),
        ("osteofed server passport ver", ["verify"]),
        ("osteofed site check FOLDER dxa", ["dxa-bmd", "dxa-segmentation"]),
        ("osteofed server export vfa", ["vfa-fracture@champion"]),
        ("osteofed server versions --ta", ["--task"]),
        ("osteofed server versions --task x", ["xray-vertebrae", "xray-bmd"]),
    ],
)
def test_a_shell_completes_words_and_imports_nothing_heavy(line: str, completed: list[str]) -> None:
    asked = {"_OSTEOFED_COMPLETE": "complete_bash", "COMP_WORDS": line}
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE], capture_output=True, text=True, check=False,
        env=os.environ | asked | {"COMP_CWORD": str(len(line.split()) - 1)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == sorted(completed)


def test_a_shell_can_be_told_how_to_complete(program: click.Command) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE.replace('["osteofed"]', '["osteofed", *sys.argv[1:]]'),
         "--show-completion", "bash"],
        capture_output=True, text=True, check=False,
        env=os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )  # fmt: skip
    assert "complete -o default -F _osteofed_completion osteofed" in done.stdout


def test_every_task_is_completed() -> None:
    assert set(complete_task("")) == set(TASKS)
    assert complete_task("vfa") == ["vfa-fracture"]

"""Run commands one after the other, each in a fork of one small process; say what each imported.

``python -m tests.system.importing FILE`` reads a JSON list of command lines (lists of words) and
prints a JSON list of ``{"words", "code", "said", "modules"}``. What a command imports counts
from the program put together on, as its help does.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from shared.cli import SILENCED, build
from shared.errors import OsteofedError


def run(words: list[str]) -> int:
    """Run one command in this process; give its exit code."""
    try:
        code = build(words[0])(words, standalone_mode=False)
    except OsteofedError as error:
        sys.stderr.write(f"osteofed: {error}\n")
        return error.exit_code
    except click.ClickException as error:
        sys.stderr.write(f"{error.format_message()}\n")
        return error.exit_code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
    return code if isinstance(code, int) else 0


def in_a_fork(words: list[str]) -> dict[str, Any]:
    """Run one command in a child of its own."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as facts:
        child = os.fork()
        if not child:
            try:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                found = {"code": run(words), "modules": sorted(sys.modules)}
                sys.stdout.flush()
                facts.write(json.dumps(found))
                facts.flush()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        said.seek(0)
        facts.seek(0)
        text = facts.read() or '{"code": 1, "modules": []}'
        return {"words": words, "said": said.read()[-2000:], **json.loads(text)}


def commands() -> list[tuple[str, ...]]:
    """Every command of the program, and every group: what is typed before ``--help``."""
    import typer

    def inside(one: Any, typed: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = [typed]
        for name, command in getattr(one, "commands", {}).items():
            found += inside(command, (*typed, name))
        return found

    return inside(typer.main.get_command(build()), ())


def help_of_all() -> list[dict[str, Any]]:
    """Ask every command and group for its help, all in this process."""
    answers = []
    program = build()
    for typed in commands():
        with contextlib.redirect_stdout(io.StringIO()) as said:
            code = program([*typed, "--help"], standalone_mode=False) or 0
        facts = {"words": typed, "code": code, "said": said.getvalue()}
        answers.append(facts | {"modules": sorted(sys.modules)})
    return answers


if __name__ == "__main__":
    os.environ.update(SILENCED)
    asked = json.loads(Path(sys.argv[1]).read_text())
    answers = help_of_all() if asked is None else [in_a_fork(words) for words in asked]
    sys.stdout.write(json.dumps(answers))

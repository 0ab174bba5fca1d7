"""``osteofed site browse``: parse, call one function, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from shared.command_line import JsonOption, console, print_facts, until_ctrl_c


def add_commands(app: typer.Typer) -> None:
    """Add the command to the group ``osteofed site``."""
    app.command("browse")(browse)


def browse(
    folder: Annotated[Path, typer.Argument(help="The site folder.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 takes a free one.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Show the store in a browser of this machine, until Ctrl-C."""
    from client.browse.serve import browse as serve

    def say(site: str, link: str) -> None:
        print_facts({"site": site, "link": link}, as_json, lambda: _show(site, link))

        sys.stdout.flush()  # a program that reads the link waits for it

    def tell(link: str) -> None:
        # Standard output stays pure facts under --json.
        print(f"open once: {link}", file=sys.stderr if as_json else sys.stdout, flush=True)

    with until_ctrl_c("the pages are closed"):
        serve(folder, port, say, tell)


def _show(site: str, link: str) -> None:
    console().print(
        f"site {site} can be looked at from this machine only, until Ctrl-C.\nopen once: {link}",
        markup=False,
        soft_wrap=True,
    )

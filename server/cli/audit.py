"""``osteofed server audit verify | show``: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.command_line import JsonOption, command_group, print_facts, print_verified, show_chain
from shared.errors import ConfigError

app = command_group("audit", "The coordinator's audit trail.")

HomeFolder = Annotated[Path, typer.Argument(help="The coordinator's home.")]


@app.command()
def verify(
    home: HomeFolder,
    against: Annotated[
        list[str] | None,
        typer.Option(help="SITE=FILE: an admitted site's audit trail, to compare with; repeat."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every line of the audit trail, offline."""
    from server.state.home import AUDIT, Home
    from shared.protocol.chain_cross_check import Other, verify_coordinator_chain

    coordinator = Home(home)
    others = []
    for text in against or []:
        site, equals, path = text.partition("=")
        if not equals:
            raise ConfigError(f"--against {text}: must be SITE=FILE")
        others.append(Other(Path(path), coordinator.member(site).signing_key))
    key = coordinator.key().public
    lines = verify_coordinator_chain(home / AUDIT, key, others)
    print_verified(lines, as_json, key=key, against=len(others))


@app.command()
def show(
    home: HomeFolder,
    last: Annotated[int, typer.Option(min=1, help="How many lines.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show the last lines of the audit trail, after checking all of it."""
    from server.state.home import AUDIT, Home
    from shared.protocol.chain_cross_check import verify_coordinator_chain

    lines = verify_coordinator_chain(home / AUDIT, Home(home).key().public)[-last:]
    print_facts([line.model_dump() for line in lines], as_json, lambda: show_chain(lines))

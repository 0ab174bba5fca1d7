"""``osteofed server passport verify``: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.command_line import JsonOption, command_group, console, print_facts
from shared.errors import ConfigError

app = command_group("passport", "Where a version comes from.")


@app.callback()
def group() -> None:
    """Where a version comes from."""


@app.command()
def verify(
    passport: Annotated[Path, typer.Argument(help="The version's passport, TASK.passport.json.")],
    key: Annotated[str | None, typer.Option(help="The coordinator's public key.")] = None,
    home: Annotated[
        Path | None, typer.Option(help="The coordinator's home: its key and its audit trail.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="The version's weights.")] = None,
    chain: Annotated[Path | None, typer.Option(help="The coordinator's audit trail.")] = None,
    site: Annotated[
        list[str] | None, typer.Option(help="SITE=KEY=FILE: a site's key and audit trail; repeat.")
    ] = None,
    updates: Annotated[Path | None, typer.Option(help="Folder of the kept updates.")] = None,
    start: Annotated[Path | None, typer.Option(help="Weights that the run began with.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a passport offline, as far as what is given allows."""
    from server.registry.passport import verify_passport
    from server.state.home import AUDIT, Home
    from shared.protocol.chain_cross_check import Other

    if (key is None) == (home is None):
        raise ConfigError("give either --key KEY or --home HOME")
    if (updates is None) != (start is None):
        raise ConfigError("give both --updates DIR and --start FILE, or neither")
    known = key if home is None else Home(home).key().public
    sites = {}
    for text in site or []:
        parts = text.split("=", 2)
        if len(parts) != 3:
            raise ConfigError(f"--site {text}: must be SITE=KEY=FILE")
        sites[parts[0]] = Other(Path(parts[2]), parts[1])
    checked = verify_passport(
        passport, str(known), weights=weights,
        chain=chain if home is None else home / AUDIT, sites=sites, updates=updates, start=start,
    )  # fmt: skip
    print_facts(
        {"checked": checked},
        as_json,
        lambda: console().print("good: " + "; ".join(checked), markup=False),
    )

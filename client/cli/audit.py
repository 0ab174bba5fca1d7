"""``osteofed site audit verify | show``: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.command_line import JsonOption, command_group, print_facts, print_verified, show_chain
from shared.errors import ConfigError

app = command_group("audit", "The site's audit trail.")

SiteFolder = Annotated[Path, typer.Argument(help="The site folder.")]


@app.command()
def verify(
    folder: SiteFolder,
    against: Annotated[
        Path | None, typer.Option(help="The coordinator's audit trail, to compare with.")
    ] = None,
    coordinator_key: Annotated[
        str | None, typer.Option(help="The coordinator's public key.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every line of the audit trail, and the ledger against it, offline."""
    from client.identity.chain import AUDIT, show_identity
    from client.node.ledger_summary import ledger_entries
    from client.privacy.chain_check import check_ledger
    from shared.protocol.chain_cross_check import Other, verify_site_chain

    if (against is None) != (coordinator_key is None):
        raise ConfigError("give both --against FILE and --coordinator-key KEY, or neither")
    key = show_identity(folder)["signing_key"]
    other = None if against is None else Other(against, str(coordinator_key))
    lines = verify_site_chain(folder / AUDIT, key, other)
    if any(line.event == "reserved" for line in lines):
        check_ledger(folder / AUDIT, lines, ledger_entries(folder))
    print_verified(lines, as_json, key=key)


@app.command()
def show(
    folder: SiteFolder,
    last: Annotated[int, typer.Option(min=1, help="How many lines.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show the last lines of the audit trail, after checking all of it."""
    from client.identity.chain import AUDIT, show_identity
    from shared.protocol.chain_cross_check import verify_site_chain

    lines = verify_site_chain(folder / AUDIT, show_identity(folder)["signing_key"])[-last:]
    print_facts([line.model_dump() for line in lines], as_json, lambda: show_chain(lines))

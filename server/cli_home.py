"""``osteofed server pki | up | admit | expel | members | bundle``: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.command_line import JsonOption, console, print_facts

HomeFolder = Annotated[Path, typer.Argument(help="The coordinator's home.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the group ``osteofed server``."""
    app.command("pki")(pki)
    app.command("up")(up)
    app.command("admit")(admit)
    app.command("expel")(expel)
    app.command("members")(members)
    app.command("bundle")(bundle)


def pki(
    home: HomeFolder,
    name: Annotated[str, typer.Option(help="DNS name or IP address that hospitals reach.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="The one published port.")] = 8443,
    as_json: JsonOption = False,
) -> None:
    """Make a coordinator's home: keys, certificates, the invitation for hospitals."""
    from server.pki import make_home

    facts = make_home(home, name, port=port)
    print_facts(
        facts,
        as_json,
        lambda: console().print(
            f"home made in {home}. Give {facts['invitation']} to the hospitals, and read them "
            f"this key by telephone:\n{facts['coordinator']}",
            markup=False,
        ),
    )


def up(
    home: HomeFolder,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Instead of the invitation's.")
    ] = None,
) -> None:
    """Serve: Flower's SuperLink behind nginx, until Ctrl-C."""
    from server.up import up as serve

    console().print(f"serving {home}; Ctrl-C ends it", markup=False)
    serve(home, host=host, port=port)


def admit(
    home: HomeFolder,
    enrolment: Annotated[Path, typer.Argument(help="The hospital's enrolment.json.")],
    most_patients: Annotated[
        int | None, typer.Option(min=1, help="Most patients that its contract lets it claim.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Admit a hospital."""
    from server.members import admit as take

    member = take(home, enrolment, most_patients)
    print_facts(
        member.model_dump(),
        as_json,
        lambda: console().print(
            f"{member.site} is admitted, up to {member.most_patients} patients. Compare its key "
            f"by telephone:\n{member.signing_key}",
            markup=False,
        ),
    )


def expel(
    home: HomeFolder,
    site: Annotated[str, typer.Argument(help="The hospital's name.")],
    as_json: JsonOption = False,
) -> None:
    """Expel a hospital: its node is cut off at once."""
    from server.members import expel as remove

    member = remove(home, site)
    print_facts(
        member.model_dump(),
        as_json,
        lambda: console().print(f"{member.site} is expelled", markup=False),
    )


def members(home: HomeFolder, as_json: JsonOption = False) -> None:
    """List who is admitted."""
    from server.home import Home

    found = [member.model_dump() for member in Home(home).members()]

    def show() -> None:
        for one in found:
            console().print(
                f"{one['site']}: key {one['signing_key']}, at most {one['most_patients']} "
                f"patients, admitted {one['admitted']}",
                markup=False,
            )

    print_facts(found, as_json, show)


def bundle(
    out: Annotated[Path, typer.Argument(help="File to write, .fab.")], as_json: JsonOption = False
) -> None:
    """Build the bundle of code that hospitals approve."""
    from server.bundle import make_bundle

    facts = make_bundle(out)
    print_facts(
        facts,
        as_json,
        lambda: console().print(f"{out}: digest {facts['digest']}", markup=False),
    )

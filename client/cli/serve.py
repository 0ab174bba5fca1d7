"""``osteofed serve``: parse, call one function, print."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.command_line import JsonOption, console, print_facts
from shared.errors import ConfigError

if TYPE_CHECKING:
    from client.serving.served_site import ServedSite
    from shared.inference.runtime.runtime import InferenceRuntime


def serve(
    folder: Annotated[Path, typer.Argument(help="The site folder.")],
    check: Annotated[
        bool, typer.Option("--check", help="Look at versions, certificates, address and disk only.")
    ] = False,
    trust: Annotated[
        str | None,
        typer.Option(help="The coordinator's public key. Default: that of coordinator.json."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read studies for the hospital's systems, with verified versions, until it is stopped.

    Research use only; not a medical device.
    """
    from client.serving.doors import serve as open_and_wait
    from client.serving.served_site import served_site

    site = served_site(folder, trust)
    if check:
        _check(site, as_json)
        return
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )

    def say(addresses: Mapping[str, str], runtime: InferenceRuntime) -> None:
        models = [
            {"task": one.task, "version": one.version, "digest": one.digest}
            for one in runtime.current.facts()
        ]
        facts = {"site": site.config.site, "addresses": dict(addresses), "models": models}
        print_facts(facts, as_json, lambda: _show(site.config.site, addresses))
        sys.stdout.flush()  # a program that reads the address waits for it

    open_and_wait(site, say)


def _show(site: str, addresses: Mapping[str, str]) -> None:
    where = ", ".join(f"{name} at {address}" for name, address in addresses.items())
    console().print(f"site {site} reads studies: {where}. Ctrl-C ends it.", markup=False)


def _check(site: ServedSite, as_json: bool) -> None:
    from client.serving.check import check_site

    found = check_site(site)

    def render() -> None:
        for one in found:
            word = "good" if one.good else "BAD"
            console().print(f"{word}  {one.what}: {one.words}", markup=False, soft_wrap=True)

    print_facts(
        {one.what: {"good": one.good, "words": one.words} for one in found}, as_json, render
    )
    bad = [one.what for one in found if not one.good]
    if bad:
        raise ConfigError(f"{site.folder}: cannot be served as it is: see {', '.join(bad)} above")

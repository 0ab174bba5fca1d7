"""Whether a coordinator is up and a hospital that asks on its public port is served."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from server.deployment.pki import CA
from shared.errors import RuntimeUnavailableError
from shared.runtime.fleet import ask
from shared.runtime.leftovers import holder_of
from shared.runtime.supervisor import is_alive

UP: Final = "up.json"

#: Addresses that stand for all of the machine's, and by which it reaches itself.
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104

START_SECONDS: Final = 60.0


def is_up(folder: Path) -> bool:
    """Tell whether `up` is serving a home now."""
    return is_served(read_up(folder))


def is_served(facts: dict[str, Any]) -> bool:
    """Tell by ``up.json`` whether the `up` that wrote it still runs."""
    return is_alive(facts.get("pid"), facts.get("born", ""))


def read_up(folder: Path) -> dict[str, Any]:
    """Read ``up.json``; empty if nothing is up."""
    try:
        found = json.loads((folder / UP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def wait_until_ready(folder: Path, seconds: float = START_SECONDS, *, public: bool = True) -> int:
    """Wait until the SuperLink answers and all members are admitted; return its port.

    Parameters
    ----------
    folder : Path
        The home.
    seconds : float
        How long to wait.
    public : bool
        Whether hospitals must be answered too, on the public port.

    Raises
    ------
    RuntimeUnavailableError
        If nothing is up, or it does not get ready.
    """
    deadline = time.monotonic() + seconds
    while True:
        facts = read_up(folder)
        if not is_served(facts):
            raise RuntimeUnavailableError(
                f"{folder}: is not up; start it with: osteofed server up {folder}"
            )
        port = int(facts["superlink"]["port"])
        if not (facts.get("ready") and is_healthy(port, folder)):
            why = (
                f"the SuperLink did not answer within {seconds:g} seconds; see "
                f"{folder / 'superlink' / 'superlink.log'}"
            )
        else:
            why = why_not_reached(folder, facts) if public else ""
        if not why:
            return port
        if time.monotonic() >= deadline:
            raise RuntimeUnavailableError(why)
        time.sleep(0.2)


def why_not_reached(folder: Path, facts: dict[str, Any]) -> str:
    """Say why a hospital that asks on the public port would not be served; empty: it would.

    Parameters
    ----------
    folder : Path
        The home.
    facts : dict
        Its ``up.json``.
    """
    host = str(facts.get("host", "127.0.0.1"))
    port = int(facts["port"])
    # The certificate is for the name that hospitals use; the authority has signed no other.
    said = ask(EVERYWHERE.get(host, host), port, folder / CA, by_name=False, seconds=2.0)
    if not said.refusal:
        return ""
    held = holder_of(port)
    return f"{said.refusal}; the port is held by {held}" if held else said.refusal


def is_healthy(port: int, folder: Path) -> bool:
    """Ask the SuperLink whether it is well."""
    import ssl

    trusted = ssl.create_default_context(cafile=str(folder / CA))
    try:
        url = f"https://127.0.0.1:{port}/health"
        with urllib.request.urlopen(url, timeout=2, context=trusted) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False

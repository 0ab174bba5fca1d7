"""How a site stands: its node, what it is doing now, what it was asked, what is left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import psutil

from client.identity.chain import AUDIT
from client.node.code_approval import approved_digests
from client.node.enrol import enrolled_with
from client.node.join import is_joined, read_status
from client.node.ledger_summary import ledger_statement
from client.store.site_store import SiteStore
from shared.audit.chain import ChainLine, tail_of
from shared.errors import RuntimeUnavailableError
from shared.protocol.invitation import pinned_coordinator
from shared.protocol.signatures import SIMULATION
from shared.settings.files import SiteConfig, load_settings

#: Lines of the chain that are looked at.
LOOKED_AT: Final = 200
#: What ends a request.
ENDS: Final = ("released", "refused", "sent again")
SHOWN: Final = 5
NOT_JOINED: Final = "not joined"


def site_status(folder: Path) -> dict[str, Any]:
    """Tell how a site stands, from its files.

    Parameters
    ----------
    folder : Path
        The site folder.

    Returns
    -------
    dict
        ``site``; ``node``: ``state`` (``not joined``, ``stopped``, ``connecting``,
        ``connected``, ``refused``, ``frozen`` or ``gone``), ``reason`` (before the site has
        joined: the command that comes next), ``restarts``, ``superlink``; ``next``: the
        command that the engineer runs next, or None; ``studies`` in the store; ``coordinator``
        (address, or None); ``approved`` (digests); ``working_on``: what was asked and is not
        answered yet (run, round, task, since), or None; ``last``: the last requests with their
        outcome; ``chain_lines``;
        ``epsilon_spent``, ``epsilon_left`` (None: unbounded), ``epsilon_budget``, ``delta``;
        ``disk_free_bytes``.

    Raises
    ------
    StoreMissingError
        If the folder is no site, or its ledger is missing.
    """
    ledger = ledger_statement(folder)
    lines = tail_of(folder / AUDIT, LOOKED_AT)
    pinned = pinned_coordinator(folder)
    studies, node = _studies(folder), _node(folder)
    joined = node["state"] != NOT_JOINED
    following = _next_command(folder, studies, joined=joined)
    if not joined:
        node["reason"] = _before_joining(following)
    return {
        "site": ledger["site"],
        "node": node,
        "next": following,
        "studies": studies,
        "coordinator": None if pinned is None or pinned.address == SIMULATION else pinned.address,
        "approved": [one["digest"] for one in approved_digests(folder)],
        "working_on": _working_on(lines),
        "last": _last(lines),
        "chain_lines": lines[-1].line if lines else 0,
        "epsilon_spent": ledger["epsilon_spent"],
        "epsilon_left": ledger["epsilon_left"],
        "epsilon_budget": ledger["epsilon_budget"],
        "delta": ledger["delta"],
        "disk_free_bytes": shutil.disk_usage(folder).free,
    }


def require_connected(folder: Path) -> None:
    """Do nothing if the site's node is connected.

    Raises
    ------
    RuntimeUnavailableError
        With the node's state and what stands in its way.
    """
    node = _node(folder)
    if node["state"] == NOT_JOINED:
        node["reason"] = _before_joining(_next_command(folder, _studies(folder), joined=False))
    if node["state"] != "connected":
        said = f"the node is {node['state']}"
        raise RuntimeUnavailableError(f"{folder}: {said}: {node['reason']}".rstrip(": "))


def _before_joining(following: str | None) -> str:
    return f"the next command is `{following}`"


def _studies(folder: Path) -> int:
    """How many studies the store holds."""
    store = SiteStore.open(folder)
    try:
        return store.counts()["studies"]
    finally:
        store.close()


def _node(folder: Path) -> dict[str, Any]:
    """What the node does; nothing of the store is read, so that it can be asked often."""
    facts = read_status(folder)
    if not facts:
        return {"state": NOT_JOINED, "reason": "", "restarts": 0, "superlink": None}
    state, reason = facts["state"], facts["reason"]
    if state != "stopped" and not is_joined(facts):
        state, reason = "gone", "its program was killed; join again"
    elif state != "stopped" and _is_frozen(facts["pid"]):
        state, reason = "frozen", "its program was stopped by a signal; continue or join again"
    return {
        "state": state, "reason": reason, "restarts": facts["restarts"],
        "superlink": facts["superlink"],
    }  # fmt: skip


def _next_command(folder: Path, studies: int, *, joined: bool) -> str | None:
    """What a site's engineer runs next: studies, their numbers, what `join` asks for, in order.

    None where studies are there and the site has joined.
    """
    if not studies:
        return f"osteofed site ingest {folder} /path/to/studies"
    if joined:
        return None
    if enrolled_with(folder) is None:
        if not load_settings(folder / "site.yaml", SiteConfig).declared:
            return f"osteofed site declare {folder}"
        return f"osteofed site enrol {folder} invitation.json"
    if not approved_digests(folder):
        return f"osteofed site approve {folder} osteofed.fab"
    return f"osteofed site join {folder}"


def _is_frozen(pid: int) -> bool:
    """Tell whether a process is there but does not run (SIGSTOP)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def _working_on(lines: list[ChainLine]) -> dict[str, Any] | None:
    """The last request that nothing was said of yet."""
    for line in reversed(lines):
        if line.event in ENDS:
            return None
        if line.event == "asked":
            return {
                "run": line.facts["ticket"]["run"], "round": line.facts["round"],
                "task": line.facts["task"], "since": line.time,
            }  # fmt: skip
    return None


def _last(lines: list[ChainLine]) -> list[dict[str, Any]]:
    found = []
    for line in lines:
        if line.event not in (*ENDS, "bundle refused"):
            continue
        facts = line.facts
        found.append(
            {
                "time": line.time,
                "outcome": line.event,
                "run": facts.get("run", ""),
                "round": facts.get("round"),
                "task": facts.get("task", ""),
                "reason": facts.get("reason", facts.get("digest", "")),
            }
        )
    return found[-SHOWN:]

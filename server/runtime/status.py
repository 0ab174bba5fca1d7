"""How a run stands, from what it wrote: for whoever watches, while it runs or after it died."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from server.deployment.readiness import is_served, read_up, why_not_reached
from server.rounds.plan import PLAN_FILE
from server.state.events import EVENTS, EventReader, waiting_words
from server.state.result import Absence, Facts
from shared.errors import InputMissingError
from shared.runtime.supervisor import is_alive

State = Literal["running", "finished", "failed", "paused", "lost", "waiting"]
ENDED: Final[dict[str, State]] = {"finished": "finished", "failed": "failed", "paused": "paused"}


class RunStatus(Facts):
    """How a run stands.

    `state`: ``waiting`` (nothing started yet), ``running``, ``paused``, ``failed``,
    ``finished``, or ``lost`` (its events say running, but its process is gone).
    `round` is the one at work, from 1, of `rounds`; `waiting_for` are the sites that were
    asked in it and have not answered; `eta_seconds` is for the task at work.
    """

    run: str
    state: State
    reason: str = ""
    task: str = ""
    kind: str = ""
    round: int = 0
    rounds: int = 0
    attempt: int = 0
    minimum_sites: int = 0
    sites: list[str] = Field(default_factory=list)
    answered: dict[str, float] = Field(default_factory=dict)
    waiting_for: list[str] = Field(default_factory=list)
    absent: list[Absence] = Field(default_factory=list)
    rounds_done: int = 0
    epsilon: dict[str, float] = Field(default_factory=dict)
    delta: dict[str, float] = Field(default_factory=dict)
    bytes_up: int = 0
    bytes_down: int = 0
    resumed: int = 0
    seconds: float = 0.0
    eta_seconds: float | None = None


class ServerStatus(Facts):
    """What is served, and the run that wrote last. `up` is None where no home was asked for.

    `up` means that a hospital would be served on the public port; `reason` says why not.
    """

    up: bool | None = None
    reason: str = ""
    superlink_restarts: int = 0
    nginx_restarts: int = 0
    members: list[str] = Field(default_factory=list)
    run: RunStatus | None = None


def server_status(workspace: Path | None, home: Path | None = None) -> ServerStatus:
    """Tell how the latest run of a workspace stands, and what a home serves.

    Parameters
    ----------
    workspace : Path or None
        Holds ``runs``; None where only what a home serves is asked for.
    home : Path, optional
        A coordinator's home on real nodes.

    Raises
    ------
    InputMissingError
        If there is neither a run nor a home.
    """
    plans = () if workspace is None else workspace.glob(f"runs/*/{PLAN_FILE}")
    runs = sorted(plans, key=_last_said)
    if not runs and home is None:
        raise InputMissingError(f"{workspace}: holds no run (no runs/*/{PLAN_FILE})")
    run = run_status(runs[-1].parent) if runs else None
    if home is None:
        return ServerStatus(run=run)
    from server.state.home import Home

    facts = read_up(home)
    why = why_not_reached(home, facts) if is_served(facts) else "`server up` does not run"
    return ServerStatus(
        up=not why,
        reason=why,
        superlink_restarts=int(facts.get("superlink", {}).get("restarts", 0)),
        nginx_restarts=int(facts.get("nginx", {}).get("restarts", 0)),
        members=[member.site for member in Home(home).members()],
        run=run,
    )


def run_status(folder: Path) -> RunStatus:
    """Tell how one run stands, from its events; a file that is not there yet is no error."""
    plan = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
    found: dict[str, Any] = {
        "run": plan["run"],
        "state": "waiting",
        "minimum_sites": plan["quorum"]["minimum_sites"],
        "sites": [member["site"] for member in plan["members"]],
    }
    started = ended = None
    starts = 0
    working: int | None = None
    lasted: list[float] = []
    for event in EventReader(folder / EVENTS).new():
        kind = event["event"]
        started = started or event["time"]
        ended = event["time"] if kind in ENDED else None
        if kind == "started":
            working = event.get("pid")
            starts += 1
            found |= {"state": "running", "reason": "", "resumed": starts - 1}
        elif kind == "waiting":
            found["reason"] = waiting_words(event)
        elif kind == "task":
            found |= _fresh(event)
            lasted = []
        elif kind in ("asked", "answered", "absent"):
            _exchange(found, event)
        elif kind == "round":
            lasted.append(float(event["facts"]["seconds"]))
            _round(found, event)
        elif kind in ENDED:
            found |= {"state": ENDED[kind], "reason": event.get("reason", "")}
    if found["state"] == "running" and working is not None and not is_alive(working):
        found |= {"state": "lost", "reason": "its program is gone; it can be resumed"}
    if found["state"] != "running":
        found |= {"waiting_for": []}
    left = found.get("rounds", 0) - found.get("rounds_done", 0)
    if found["state"] == "running" and lasted and left > 0:
        found["eta_seconds"] = statistics.median(lasted) * left
    if started is not None:
        found["seconds"] = (ended or time.time()) - started
    return RunStatus.model_validate(found)


def _fresh(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": event["task"], "rounds": event["rounds"], "rounds_done": 0, "round": 0,
        "reason": "",
        "attempt": 0, "answered": {}, "waiting_for": [], "absent": [], "kind": "",
    }  # fmt: skip


def _exchange(found: dict[str, Any], event: dict[str, Any]) -> None:
    """Take what one event says of the exchange at work."""
    if (event["kind"], event["round"]) != (found.get("kind"), found.get("round")):
        found |= {"kind": event["kind"], "round": event["round"], "answered": {},
                  "waiting_for": [], "absent": []}  # fmt: skip
    site = event["site"]
    if event["event"] == "answered" and site not in found["sites"]:  # admitted while the run was on
        found["sites"] = sorted([*found["sites"], site])
    others = [one for one in found["absent"] if one["site"] != site]
    waiting = [one for one in found["waiting_for"] if one != site]
    if event["event"] == "asked":
        found |= {"attempt": event["attempt"], "waiting_for": sorted([*waiting, site])}
        found["absent"] = others
    elif event["event"] == "answered":
        found["answered"] = found["answered"] | {site: event["seconds"]}
        found |= {"waiting_for": waiting, "absent": others}
    else:
        one = {"site": site, "kind": event["why"], "reason": event["reason"]}
        found |= {"waiting_for": waiting, "absent": [*others, one]}


def _round(found: dict[str, Any], event: dict[str, Any]) -> None:
    facts = event["facts"]
    found["rounds_done"] = facts["round"]
    found["epsilon"] = found.get("epsilon", {}) | facts["epsilon"]
    found["delta"] = found.get("delta", {}) | facts.get("delta", {})
    found["bytes_up"] = found.get("bytes_up", 0) + facts["bytes_up"]
    found["bytes_down"] = found.get("bytes_down", 0) + facts["bytes_down"]
    found["absent"] = facts["absent"]
    found["waiting_for"] = []


def _last_said(plan: Path) -> float:
    events = plan.with_name(EVENTS)
    return (events if events.exists() else plan).stat().st_mtime

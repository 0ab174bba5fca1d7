"""Every site on this machine: one program for one run, ended with it, nothing left behind.

The program (`server.runtime.simulated`) is the coordinator's of a real run, and the sites are
children that it forks. Every process inherits a mark in its environment, and is found and
ended by it.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from server.rounds.plan import PLAN_FILE, RunPlan
from server.runtime.simulated import hospital
from server.state.event_tail import Watch, follow
from server.state.events import EVENTS, EventReader
from server.state.home import Home
from shared.errors import ConfigError
from shared.protocol.signatures import SIMULATION, Invitation
from shared.runtime.files import OWNER_ONLY, write_text_atomically
from shared.runtime.flower import environment_for
from shared.runtime.orphan_cleanup import cleaned_up_if_killed
from shared.runtime.processes import cores, end_marked, new_token, own_module
from shared.settings.files import SimulationRuntime

#: Where a site keeps whom it answers.
PINNED: Final = "coordinator.json"
MARK: Final = "OSTEOFED_RUN_TOKEN"
#: How long the run's processes may take to end by themselves when it is over.
PATIENCE_SECONDS: Final = 1.0


def run_simulation(plan: RunPlan, runtime: SimulationRuntime, watch: Watch) -> None:
    """Run a plan with every site on this machine, and end everything that was started.

    Parameters
    ----------
    plan : RunPlan
        Saved in its folder already.
    runtime : SimulationRuntime
        How many sites work at the same time, on how many CPUs each.
    watch : callable
        Told every event of the run.

    Raises
    ------
    RuntimeUnavailableError
        If the hospital's part is not installed, or the run's program ends before the run does.
    OsteofedError
        What ended the run, as the server said it.
    """
    invite_sites(plan)
    hospital()  # said here, in one sentence, and not in the log of what is started
    token = new_token()
    logs = plan.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    reader = EventReader.from_now(plan.folder / EVENTS)
    # Whatever Flower would write into the user's home, it writes here.
    home = Path(tempfile.mkdtemp(prefix="osteofed-"))
    with cleaned_up_if_killed(MARK, token, home):
        try:
            started = _start(plan, runtime, environment_for(home) | {MARK: token}, logs / "run.log")
            follow(
                reader,
                watch,
                lambda: started.poll() is not None,
                f"the run's program ended before the run did; see {logs / 'run.log'}",
            )
        finally:
            end_marked(MARK, token, PATIENCE_SECONDS)
            shutil.rmtree(home, ignore_errors=True)


def invite_sites(plan: RunPlan) -> None:
    """Give every site of a simulation the coordinator's key, before the first message.

    A site answers only who signs with the key that it was given. One that is enrolled with a
    real coordinator keeps that, and refuses.

    Raises
    ------
    ConfigError
        If a site is enrolled with another coordinator than this simulation's.
    """
    invitation = Invitation(address=SIMULATION, ca="", coordinator=Home(plan.home).make().public)
    for site in plan.sites:
        path = site / PINNED
        try:
            known = Invitation.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            known = None
        except (OSError, ValueError):
            raise ConfigError(f"{path}: is not an invitation; enrol the site again") from None
        if known is not None and known.coordinator == invitation.coordinator:
            continue
        if known is not None and known.address != SIMULATION:
            raise ConfigError(
                f"{site}: is enrolled with the coordinator at {known.address} and answers nobody "
                "else; simulate with a copy of the site without its coordinator.json"
            )
        write_text_atomically(path, invitation.model_dump_json(indent=1) + "\n", mode=OWNER_ONLY)


def _start(
    plan: RunPlan, runtime: SimulationRuntime, environment: dict[str, str], log: Path
) -> subprocess.Popen[bytes]:
    sites = len(plan.sites)
    room = cores() // runtime.cpus_per_site
    at_once = min(runtime.parallel_sites or sites_at_once(sites, room), sites)
    command, environment = own_module("server.runtime.simulated", environment)
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, plan.folder / PLAN_FILE, str(at_once)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            # A group of its own: Ctrl-C reaches us alone, and we end the others.
            start_new_session=True,
        )


def sites_at_once(sites: int, room: int) -> int:
    """Sites of about one size that train at the same time so that all end soonest.

    With as many as the machine has room for, three sites on two cores are a pair and one
    that leaves a core idle; all three at once share both to the end. Fewer than twice the
    room, and no more than that needs.

    Parameters
    ----------
    sites : int
        All there are.
    room : int
        Sites for which there are cores.
    """
    turns = max(1, sites // max(1, room))
    return math.ceil(sites / turns)

"""A run on the hospitals' nodes: submitted to the SuperLink that `server up` keeps running."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from server.deployment.members import CONNECTION, flwr_home
from server.deployment.readiness import wait_until_ready
from server.rounds.plan import PLAN_FILE, RunPlan
from server.runtime.bundle import stage_bundle
from server.state.event_tail import Watch, follow
from server.state.events import EVENTS, EventReader
from shared.runtime.flower import environment_for, program
from shared.runtime.supervisor import end_with_parent, is_alive

#: How long the ServerApp may take from submission to its first event.
START_SECONDS: Final = 120.0


def run_on_nodes(plan: RunPlan, watch: Watch) -> None:
    """Run a plan on the nodes of its members.

    Parameters
    ----------
    plan : RunPlan
        Saved in its folder already.
    watch : callable
        Told every event of the run.

    Raises
    ------
    RuntimeUnavailableError
        If nothing is up, or the ServerApp or the SuperLink is lost.
    OsteofedError
        What ended or paused the run, as the server said it.
    """
    wait_until_ready(plan.home)
    reader = EventReader.from_now(plan.folder / EVENTS)
    logs = plan.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="osteofed-") as temporary:
        staged = Path(temporary) / "bundle"
        staged.mkdir()
        stage_bundle(staged)
        command = [
            program("flwr"), "run", str(staged), CONNECTION, "--stream",
            "--run-config", f'federation="{plan.folder / PLAN_FILE}"',
        ]  # fmt: skip
        with (logs / "run.log").open("ab") as log:
            submitted = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=environment_for(flwr_home(plan.home)), cwd=os.sep,
                start_new_session=True, preexec_fn=end_with_parent,
            )  # fmt: skip
        try:
            _follow(plan, reader, submitted, watch)
        finally:
            submitted.kill()
            submitted.wait()


def _follow(
    plan: RunPlan, reader: EventReader, submitted: subprocess.Popen[bytes], watch: Watch
) -> None:
    """Follow the run; its own program, which it names itself, must live as long."""
    working: list[int] = []
    latest = time.monotonic() + START_SECONDS

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "started":
            working.append(int(event["pid"]))
        watch(event)

    def is_over() -> bool:
        if submitted.poll() is not None:
            return True
        return not is_alive(working[-1]) if working else time.monotonic() > latest

    follow(
        reader, note, is_over,
        "the server's program or the SuperLink ended before the run did; see "
        f"{plan.folder / 'logs' / 'run.log'} and {plan.home / 'superlink'}",
    )  # fmt: skip

"""A run on the hospitals' nodes: submitted to the SuperLink that `server up` keeps running."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from server.events import EVENTS, EventReader
from server.members import CONNECTION, flwr_home
from server.plan import PLAN_FILE, RunPlan
from server.simulation import environment_for, error_of, program, stage_bundle
from server.up import wait_until_ready
from shared.errors import RuntimeUnavailableError
from shared.supervise import end_with_parent, is_alive

POLL_SECONDS: Final = 0.1
#: How long the ServerApp may take from submission to its first event.
START_SECONDS: Final = 120.0

Watch = Callable[[dict[str, Any]], None]


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
    """Hand on the run's events until it is over; notice if its processes die first."""
    working: int | None = None
    latest = time.monotonic() + START_SECONDS
    while True:
        over = submitted.poll() is not None or (working is not None and not is_alive(working))
        over = over or (working is None and time.monotonic() > latest)
        for event in reader.new():
            watch(event)
            if event["event"] == "started":
                working = int(event["pid"])
            elif event["event"] == "finished":
                return
            elif event["event"] in ("failed", "paused"):
                raise error_of(event)
        if over:
            raise RuntimeUnavailableError(
                f"the server's program or the SuperLink ended before the run did; see "
                f"{plan.folder / 'logs' / 'run.log'} and {plan.home / 'superlink'}"
            )
        time.sleep(POLL_SECONDS)

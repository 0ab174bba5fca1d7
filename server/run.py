"""``osteofed server run``: an agreement becomes a run, and the run a result."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.events import EVENTS
from server.federation import RESULT
from server.plan import make_plan, save_plan
from server.result import RunResult, save_result
from server.simulation import run_simulation
from shared.config import FederationConfig, load_settings
from shared.processes import termination_as_interrupt

Watch = Callable[[dict[str, Any]], None]


def run_federation(path: Path, watch: Watch | None = None) -> RunResult:
    """Run a federation file on Flower's simulation runtime.

    Parameters
    ----------
    path : Path
        ``federation.yaml``.
    watch : callable, optional
        Told every event (`server.events`).

    Returns
    -------
    RunResult
        Also written to ``WORKSPACE/result.json``.

    Raises
    ------
    OsteofedError
        What was wrong with the file, or what ended the run. No process is left.
    """
    began = time.time()
    plan = make_plan(path)
    runtime = load_settings(path, FederationConfig).runtime
    plan.folder.mkdir(parents=True, exist_ok=True)
    (plan.folder / EVENTS).unlink(missing_ok=True)
    (plan.folder / RESULT).unlink(missing_ok=True)
    save_plan(plan)
    first_message: list[float] = []

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "started" and not first_message:
            first_message.append(float(event["time"]) - began)
        if watch is not None:
            watch(event)

    with termination_as_interrupt():
        run_simulation(plan, runtime, note)
    found = RunResult.model_validate_json((plan.folder / RESULT).read_text(encoding="utf-8"))
    result = found.model_copy(
        update={
            "seconds": time.time() - began,
            "startup_seconds": first_message[0] if first_message else 0.0,
        }
    )
    save_result(result, plan.workspace / RESULT)
    return result

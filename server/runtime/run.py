"""``osteofed server run`` and ``resume``: an agreement becomes a run, and the run a result."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, Final

from server.rounds.plan import PLAN_FILE, RunPlan, load_plan, make_plan, save_plan
from server.runtime.federation import RESULT
from server.runtime.simulation import run_simulation
from server.state.event_tail import Watch
from server.state.home import Home
from server.state.lock import LOCK, alone
from server.state.result import RunResult, save_result
from shared.errors import InputMissingError, RunPausedError, RuntimeUnavailableError
from shared.phrases import counted
from shared.runtime.processes import termination_as_interrupt

#: How long a run of the same name that was just killed may take to be gone.
LOCK_SECONDS: Final = 10.0


def run_federation(
    path: Path, watch: Watch | None = None, *, home: Path | None = None, fresh: bool = False
) -> RunResult:
    """Run a federation file; the same agreement that did not come to its end goes on.

    One that came to its end on the same sites or home is only told of: it makes no second
    version.

    Parameters
    ----------
    path : Path
        ``federation.yaml``.
    watch : callable, optional
        Told every event (`server.state.events`).
    home : Path, optional
        A coordinator's home: run on its members' nodes instead of simulating them.
    fresh : bool
        Forget what an earlier run of the same agreement has reached, also one that finished.

    Returns
    -------
    RunResult
        Of the earlier run where that finished. Also written to ``WORKSPACE/result.json``.

    Raises
    ------
    RunPausedError
        If it stopped in order; the sentence says how to go on.
    OsteofedError
        What was wrong with the file, or what ended the run. No process is left.
    """
    began = time.time()
    plan = make_plan(path, home)
    _check_alone(plan)
    if not fresh and _is_same(plan):
        found = _finished(plan, watch)
        if found is not None:
            save_result(found, plan.workspace / RESULT)
            return found
    if fresh or (plan.folder / RESULT).is_file():
        shutil.rmtree(plan.folder, ignore_errors=True)
    plan.folder.mkdir(parents=True, exist_ok=True)
    save_plan(plan)
    if plan.runtime is not None:
        Home(plan.home).make()
        Home(plan.home).save_members(plan.members)
    return _go(plan, watch, began)


def resume_run(run: Path, watch: Watch | None = None) -> RunResult:
    """Go on with a run after its last finished round.

    Parameters
    ----------
    run : Path
        The run's folder, ``WORKSPACE/runs/RUN``.
    watch : callable, optional
        Told every event.

    Raises
    ------
    InputMissingError
        If there is no such run.
    OsteofedError
        See `run_federation`.
    """
    began = time.time()
    path = run / PLAN_FILE
    if not path.is_file():
        raise InputMissingError(
            f"{path}: no such file; name the folder of a run, WORKSPACE/runs/RUN (the command "
            "that stopped said which)"
        )
    plan = load_plan(path)
    _check_alone(plan)
    return _finished(plan, watch) or _go(plan, watch, began)


def _is_same(plan: RunPlan) -> bool:
    """Say whether the run that is in a plan's folder was of the same sites or the same home."""
    path = plan.folder / PLAN_FILE
    if not path.is_file():
        return False
    kept = load_plan(path)
    return (kept.home, kept.sites) == (plan.home, plan.sites)


def _finished(plan: RunPlan, watch: Watch | None) -> RunResult | None:
    """Read and tell the result of a run that came to its end; None if it did not."""
    done = plan.folder / RESULT
    if not done.is_file():
        return None
    result = RunResult.model_validate_json(done.read_text(encoding="utf-8"))
    if watch is not None:
        versions = {name: task.version for name, task in result.tasks.items()}
        watch({"event": "already finished", "time": time.time(), "run": plan.run,
               "versions": versions})  # fmt: skip
    return result


def _go(plan: RunPlan, watch: Watch | None, began: float) -> RunResult:
    """Run a plan until it ends, going on by itself when its runtime is lost."""
    first_message: list[float] = []

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "started" and not first_message:
            first_message.append(float(event["time"]) - began)
        if watch is not None:
            watch(event)

    with termination_as_interrupt():
        lost = 0
        while True:
            try:
                _on_runtime(plan, note)
                break
            except RuntimeUnavailableError as error:
                lost += 1
                if not first_message:
                    raise  # it never began: trying again would not help
                if lost > plan.quorum.restarts:
                    raise RunPausedError(
                        f"{error}; it was lost {counted(lost, 'time')}; go on with: "
                        f"osteofed server resume {plan.folder}"
                    ) from None
                note({"event": "lost", "time": time.time(), "reason": str(error), "times": lost})
    found = RunResult.model_validate_json((plan.folder / RESULT).read_text(encoding="utf-8"))
    result = found.model_copy(
        update={
            "seconds": time.time() - began,
            "startup_seconds": first_message[0] if first_message else 0.0,
        }
    )
    save_result(result, plan.workspace / RESULT)
    return result


def _check_alone(plan: RunPlan) -> None:
    """Refuse to work on a run that another process works on; see `server.app`."""
    with alone(plan.folder / LOCK, LOCK_SECONDS):
        pass


def _on_runtime(plan: RunPlan, watch: Watch) -> None:
    if plan.runtime is not None:
        run_simulation(plan, plan.runtime, watch)
        return
    from server.runtime.real_nodes import run_on_nodes

    run_on_nodes(plan, watch)

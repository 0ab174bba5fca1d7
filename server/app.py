"""The server's Flower ServerApp: all tasks of an agreement, one after another, in one run."""

from __future__ import annotations

import logging
import os
import time
import traceback
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid as FlowersGrid
from flwr.serverapp import ServerApp

from server.rounds.grid import Grid
from server.rounds.plan import RunPlan, load_plan
from server.rounds.request import MessageMaker
from server.state.checkpoint import HISTORY
from server.state.events import EVENTS, Events
from server.state.lock import LOCK, alone
from shared.errors import OsteofedError, RunPausedError

app = ServerApp()

#: How long another process that works on the run may take to be gone.
LOCK_SECONDS = 30.0


@app.main()
def main(grid: FlowersGrid, context: Context) -> None:
    """Run the plan whose path the run's configuration names; say how it went in its events."""
    plan = load_plan(Path(str(context.run_config["federation"])))
    seconds = lifetime(plan)

    def make(content: RecordDict, node: int, kind: str) -> Message:
        return Message(content, dst_node_id=node, message_type=kind, ttl=seconds)

    work(grid, plan, make)


def lifetime(plan: RunPlan) -> float:
    """Seconds that a message of a plan may live."""
    return plan.quorum.deadline_seconds * plan.quorum.attempts + 60.0


def work(grid: Grid, plan: RunPlan, make: MessageMaker) -> None:
    """Run a plan, alone; say how it went in its events.

    Parameters
    ----------
    grid : Grid
        The way to the sites.
    plan : RunPlan
        What was agreed.
    make : callable
        Makes messages for that grid.
    """
    # One at a time: what was killed may take a moment to be gone.
    with alone(plan.folder / LOCK, LOCK_SECONDS):
        _work(grid, plan, make, Events(plan.folder / EVENTS))


def _work(grid: Grid, plan: RunPlan, make: MessageMaker, events: Events) -> None:
    from server.runtime.federation import run_plan, standing

    resumed = any((plan.task_folder(task.name) / HISTORY).exists() for task in plan.tasks)
    sites = [member.site for member in plan.members]
    events.say("started", run=plan.run, sites=sites, resumed=resumed, pid=os.getpid())
    try:
        result = run_plan(grid, plan, events, make)
    except RunPausedError as error:
        task, number = standing(plan)
        events.say(
            "paused", task=task, round=number, kind=type(error).__name__, code=error.exit_code,
            reason=str(error),
        )  # fmt: skip
    except OsteofedError as error:
        events.say("failed", kind=type(error).__name__, code=error.exit_code, reason=str(error))
    except Exception as error:
        logging.getLogger("osteofed.server").exception("the server's program failed")
        events.say(
            "failed",
            kind=type(error).__name__,
            code=1,
            reason=f"the server's program failed ({type(error).__name__}: {error})",
            traceback=traceback.format_exc(),
        )
        raise
    else:
        events.say("finished", result=str(result), time_ended=time.time())

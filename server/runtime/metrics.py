"""The coordinator's figures for Prometheus; the same facts as ``osteofed server status``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from server.runtime.status import RunStatus, ServerStatus, server_status
from shared.runtime.prometheus import by_label, counter, gauge

if TYPE_CHECKING:
    from prometheus_client.core import Metric


def server_metrics(workspace: Path | None, home: Path) -> Iterator[Metric]:
    """Make the figures of a home, and of the latest run of a workspace if one is named."""
    found = server_status(workspace, home)
    yield from _served(found)
    if found.run is not None:
        yield from _run(found.run)


def _served(found: ServerStatus) -> Iterator[Metric]:
    yield from gauge("members", "Hospitals that are admitted.", len(found.members))
    yield from counter(
        "superlink_restarts", "How often the SuperLink was started again.", found.superlink_restarts
    )
    yield from counter("nginx_restarts", "How often nginx was started again.", found.nginx_restarts)


def _run(run: RunStatus) -> Iterator[Metric]:
    yield from by_label(
        "run_state", "1 for the state that the latest run is in.",
        ("run", "task", "state"), {(run.run, run.task, run.state): 1},
    )  # fmt: skip
    yield from gauge("rounds", "Rounds of the task at work.", run.rounds)
    yield from gauge("rounds_done", "Rounds of the task at work that are done.", run.rounds_done)
    yield from gauge("round_attempt", "How often this round was asked.", run.attempt)
    yield from gauge("run_resumed", "How often the run was taken up again.", run.resumed)
    yield from gauge("run_seconds", "Seconds since the run began.", run.seconds)
    yield from gauge("run_eta_seconds", "Seconds that the task will take yet.", run.eta_seconds)
    yield from counter("received_bytes", "Bytes of the sites' answers.", run.bytes_up)
    yield from counter("sent_bytes", "Bytes of the requests to sites.", run.bytes_down)
    states = dict.fromkeys(run.sites, "silent")
    states |= dict.fromkeys(run.waiting_for, "asked")
    states |= {one.site: one.kind for one in run.absent}
    states |= dict.fromkeys(run.answered, "answered")
    yield from by_label(
        "site_state", "1 for how each site stands in this round.",
        ("site", "state"), dict.fromkeys(states.items(), 1),
    )  # fmt: skip
    yield from by_label(
        "site_epsilon", "Epsilon that each site says this run has spent.",
        ("site",), {(site,): value for site, value in run.epsilon.items()},
    )  # fmt: skip

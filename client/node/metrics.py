"""The hospital's figures for Prometheus; the same facts as ``osteofed site status``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from client.node.status import site_status
from shared.runtime.prometheus import by_label, counter, gauge

if TYPE_CHECKING:
    from prometheus_client.core import Metric


def site_metrics(folder: Path) -> Iterator[Metric]:
    """Make the figures of a site; nothing in them is of a patient."""
    found = site_status(folder)
    node = found["node"]
    yield from by_label(
        "node_state", "1 for the state that the node is in.", ("state",), {(node["state"],): 1}
    )
    yield from counter(
        "node_restarts", "How often the node was started again.", max(0, node["restarts"])
    )
    yield from gauge(
        "working", "Whether a request is being worked on.", found["working_on"] is not None
    )
    yield from gauge("epsilon_spent", "Epsilon that all runs have spent.", found["epsilon_spent"])
    yield from gauge("epsilon_left", "Epsilon that is left of the budget.", found["epsilon_left"])
    yield from gauge("epsilon_budget", "The hospital's budget.", found["epsilon_budget"])
    yield from counter("audit_lines", "Lines of the audit chain.", found["chain_lines"])
    yield from gauge(
        "disk_free_bytes", "Room on the disk of the site folder.", found["disk_free_bytes"]
    )

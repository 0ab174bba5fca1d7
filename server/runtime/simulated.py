"""The program of a simulated run: the coordinator, and the sites as forks of it.

``python -m server.runtime.simulated PLAN AT_ONCE``. What takes seconds to import (torch, MONAI,
Opacus) is imported once, here; a site is a fork that has it. What answers is the hospital's
own program, which a real node runs, asked the same messages.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from server.rounds.local_grid import LocalGrid, make_message
from server.rounds.plan import load_plan
from shared.errors import RuntimeUnavailableError
from shared.runtime.fork_server import ForkServer
from shared.runtime.libraries import load_libraries
from shared.runtime.supervisor import end_with_parent

if TYPE_CHECKING:
    from flwr.app import Message, RecordDict

#: Where the installed package says what answers for a hospital.
GROUP: Final = "osteofed.hospital"


def hospital() -> EntryPoint:
    """Find what answers for a hospital; nothing is loaded.

    Raises
    ------
    RuntimeUnavailableError
        If the package was installed without it, or before there was one.
    """
    for found in entry_points(group=GROUP):
        if found.name == "answer" and found.dist is not None and found.dist.name == "osteofed":
            return found
    raise RuntimeUnavailableError(
        "the hospital's part is not installed, which a simulated run needs; install anew: make "
        "setup, or pip install osteofed[server,client]"
    )


def load_hospital() -> Any:
    """Load what answers for a hospital and all that it takes; no thread and no GPU is begun."""
    load_libraries()
    return hospital().load()


def main() -> None:
    """Run a plan; how it went stands in its events."""
    end_with_parent()
    path, at_once = Path(sys.argv[1]), int(sys.argv[2])
    # Before anything has a second thread.
    forks = ForkServer(partial(load_hospital(), path))
    from server.app import lifetime, work

    plan = load_plan(path)
    seconds = lifetime(plan)

    def make(content: RecordDict, node: int, kind: str) -> Message:
        return make_message(content, node, kind, seconds)

    work(LocalGrid(len(plan.sites), at_once, forks.child), plan, make)


if __name__ == "__main__":
    main()

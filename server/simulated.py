"""The program of a simulated run: the coordinator, and the sites as forks of it.

``python -m server.simulated PLAN AT_ONCE``. What takes seconds to import (torch, MONAI,
Opacus) is imported once, here; a site is a fork that has it. The hospital's own program is
what a real node runs (`client.app`), asked the same messages. The server imports none of
the hospital's code: it is loaded by its name, as Flower does (docs/decisions/0001-layout.md).
"""

from __future__ import annotations

import importlib
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.grid import RUN, LocalGrid, make_message, pack, unpack
from server.plan import load_plan
from shared.libraries import load_libraries
from shared.nursery import Nursery
from shared.supervise import end_with_parent

if TYPE_CHECKING:
    from flwr.app import Message, RecordDict


def answer_site(hospital: Any, plan: Path, connection: Connection) -> None:
    """Answer messages as the site that each is for, until the connection ends."""
    from flwr.app import Context, RecordDict

    while True:
        try:
            message = unpack(connection.recv_bytes())
        except (EOFError, OSError):
            return
        node = int(message.metadata.dst_node_id)
        context = Context(
            run_id=RUN, node_id=node, node_config={"partition-id": node - 1},
            state=RecordDict(), run_config={"federation": str(plan)},
        )  # fmt: skip
        connection.send_bytes(pack(hospital(message, context)))


def load_hospital() -> Any:
    """Load the hospital's Flower app and all that it takes; no thread and no GPU is begun."""
    load_libraries()
    hospital = importlib.import_module("client.app").app
    # What it would load when it is first needed, in every fork.
    importlib.import_module("client.training")
    importlib.import_module("shared.training.local")
    importlib.import_module("shared.training.accounting")
    return hospital


def main() -> None:
    """Run a plan; how it went stands in its events."""
    end_with_parent()
    path, at_once = Path(sys.argv[1]), int(sys.argv[2])
    hospital = load_hospital()
    # Before anything has a second thread.
    nursery = Nursery(lambda connection: answer_site(hospital, path, connection))
    from server.app import lifetime, work

    plan = load_plan(path)
    seconds = lifetime(plan)

    def make(content: RecordDict, node: int, kind: str) -> Message:
        return make_message(content, node, kind, seconds)

    work(LocalGrid(len(plan.sites), at_once, nursery.child), plan, make)


if __name__ == "__main__":
    main()

"""The hospital's part of a simulated run: it answers as whichever site a message is for.

The server finds it among the entry points of what is installed (``osteofed.hospital``) and
imports nothing of it by name (docs/decisions/0001-layout.md).
"""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flwr.app import Context, RecordDict

from client.app import app, load
from client.contract.declaring import declare_if_never
from shared.runtime.packing import RUN, pack, unpack

load()  # processes are forked of one that has loaded this module


def answer(plan: Path, connection: Connection) -> None:
    """Answer messages until the connection ends.

    Parameters
    ----------
    plan : Path
        The run's file, which lists the sites' folders; node 1 is the first.
    connection : Connection
        Brings messages and takes the answers, packed.
    """
    _declare(plan)
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
        connection.send_bytes(pack(app(message, context)))


def _declare(plan: Path) -> None:
    """Declare for sites that never did: whoever starts a simulation answers for all of them."""
    run: dict[str, Any] = json.loads(plan.read_text(encoding="utf-8"))
    preparing = {
        one["settings"]["task"]: tuple(one.get("prepared_with", ())) for one in run["tasks"]
    }
    for site in run["sites"]:
        declare_if_never(Path(site), preparing)

"""Flower's programs: their environment, where they are, a free port for them."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import sysconfig
from pathlib import Path
from typing import Final

from shared.errors import RuntimeUnavailableError

#: Nothing phones home, installs or warns; one thread per program unless it says otherwise.
ENVIRONMENT: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    # How often a SuperExec asks for a program to start (a node's own, and a simulation's).
    # Each question is an HTTP request and a look into the database, also while the last
    # program still trains.
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
}
#: What SuperLink and SuperNode start to start programs for them. It ends at the first answer
#: that is an error (a database that was locked for a moment), and nobody starts it again.
SUPEREXEC: Final = "flower-superexec"


def search_path() -> str:
    """Where Flower's programs are looked for: beside this Python first."""
    return os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])


def environment_for(flwr_home: Path) -> dict[str, str]:
    """Make the environment of Flower's programs; they start each other by bare names.

    They are started elsewhere than where the command was typed, so the home is made absolute.
    """
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return kept | ENVIRONMENT | {"PATH": search_path(), "FLWR_HOME": str(flwr_home.absolute())}


def program(name: str) -> str:
    """Find one of Flower's programs.

    Raises
    ------
    RuntimeUnavailableError
        If it is not installed.
    """
    found = shutil.which(name, path=search_path())
    if found is None:
        raise RuntimeUnavailableError(
            f"{name}: not found beside {sys.executable}; install osteofed[server,client]"
        )
    return found


def free_port() -> int:
    """Find a port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

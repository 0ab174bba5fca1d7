"""Flower's programs: their environment, where they are, a free port for them."""

from __future__ import annotations

import contextlib
import os
import secrets
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
#: Ports are drawn from here on, so many times; Linux says which it gives to connections itself.
LOWEST_PORT: Final = 10_000
PORTS_TRIED: Final = 64
PORTS_GIVEN: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL_LOWEST_GIVEN: Final = 32_768


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
    """Find a port of the loopback interface that nobody uses.

    Drawn from below those that the system gives to connections: a program takes seconds to
    start, and meanwhile one of those may go to anybody who calls out.
    """
    highest = _lowest_given() - 1
    for _ in range(PORTS_TRIED):
        port = LOWEST_PORT + secrets.randbelow(highest - LOWEST_PORT)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    with socket.socket() as probe:  # nearly all are taken: any that there is
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _lowest_given() -> int:
    """The lowest port that the system gives to connections by itself."""
    try:
        found = int(PORTS_GIVEN.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return USUAL_LOWEST_GIVEN
    return found if found > LOWEST_PORT + PORTS_TRIED else 65_536

"""What a round costs when nothing is trained: ours, a plain Flower app, NVFLARE's simulator.

Ours is the whole thing: nginx, TLS, authenticated nodes, approved code, tickets,
statements, both audit chains, the ledger and a checkpoint, on three sites that train
one step of a tiny network. The plain app answers at once, without TLS; it has a train
and an evaluate exchange a round, as Flower's strategies do. All on loopback. The cost
of a round is the median of the times between the ends of successive rounds.

NVFLARE wants an environment of its own; name its Python by ``--nvflare``.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path

from shared.processes import end_marked, new_token

MARK = "OSTEOFED_BENCH_TOKEN"
HERE = Path(__file__).resolve().parent
SITES = 3


def between(ends: list[float]) -> list[float]:
    """Seconds between successive ends."""
    return [later - earlier for earlier, later in itertools.pairwise(ends)]


def plain_flower(folder: Path, rounds: int) -> list[float]:
    """Seconds of each round of the plain app."""
    from server.simulation import free_port

    token, port = new_token(), free_port()
    home, ticks = folder / "flwr", folder / "ticks"
    home.mkdir(parents=True)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "x"\n\n[superlink.x]\naddress = "127.0.0.1:{port}"\n'
        "insecure = true\n",
        encoding="utf-8",
    )
    environment = os.environ | {
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        MARK: token,
    }
    app = shutil.copytree(HERE / "plain_flower", folder / "app")

    def start(*command: str) -> subprocess.Popen[bytes]:
        log = (folder / f"{command[0]}-{len(list(folder.glob('*.log')))}.log").open("wb")
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    try:
        start(
            "flower-superlink", "--insecure", "--port", str(port),
            "--disable-runtime-dependency-installation",
        )  # fmt: skip
        _wait_for_port(port)
        for _ in range(SITES):
            start(
                "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}",
                "--port", str(free_port()),
            )  # fmt: skip
        settings = f"rounds={rounds} ticks='{ticks}'"
        submitted = start("flwr", "run", str(app), "x", "--stream", "--run-config", settings)
        submitted.wait(60 + 60 * rounds)
    finally:
        end_marked(MARK, token, 2.0)
    return between([float(line.split()[1]) for line in ticks.read_text().splitlines()])


def nvflare(python: str, folder: Path, rounds: int) -> float:
    """Seconds of one round on NVFLARE's simulator: the difference of two whole runs."""

    def whole(count: int) -> float:
        command = [python, str(HERE / "nvflare_job" / "job.py"), str(count), str(folder / "ws")]
        shutil.rmtree(folder / "ws", ignore_errors=True)
        started = time.monotonic()
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        return time.monotonic() - started

    return (whole(2 + rounds) - whole(2)) / rounds


def _wait_for_port(port: int) -> None:
    import socket

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")

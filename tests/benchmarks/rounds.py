"""What a round costs when nothing is trained: ours, a plain Flower app, NVFLARE's simulator.

Ours is the whole thing: nginx, TLS, authenticated nodes, approved code, tickets,
statements, both audit chains, the ledger and a checkpoint, on three sites that train
one step of a tiny network. The plain app answers at once, without TLS; it has a train
and an evaluate exchange a round, as Flower's strategies do. All on loopback. The cost
of a round is the median of the times between the ends of successive rounds.

NVFLARE wants an environment of its own; name its Python by ``--nvflare``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path

from shared.command_line import console
from shared.runtime.processes import end_marked, new_token
from shared.settings.files import Quorum
from shared.settings.task import TaskSettings
from tests.server.tiny_sites import TINY_TASK

MARK = "OSTEOFED_BENCH_TOKEN"
HERE = Path(__file__).resolve().parent
SITES = 3


def between(ends: list[float]) -> list[float]:
    """Seconds between successive ends."""
    return [later - earlier for earlier, later in itertools.pairwise(ends)]


def plain_flower(folder: Path, rounds: int) -> list[float]:
    """Seconds of each round of the plain app."""
    from shared.runtime.flower import free_port

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


def ours(
    folder: Path, rounds: int, task: TaskSettings = TINY_TASK, deadline_seconds: float = 120
) -> list[float]:
    """Seconds of each round of the whole thing, on three tiny sites."""
    from tests.system.real_federation import NAMES, real_federation, write_agreement

    folder.mkdir(parents=True)
    with real_federation(folder) as federation:
        for name in NAMES:
            federation.join(name)
        federation.connected(*NAMES)
        quorum = Quorum(minimum_sites=SITES, deadline_seconds=deadline_seconds)
        path = write_agreement(folder, rounds=rounds, quorum=quorum, task=task)
        federation.run("server", "run", path, "--home", federation.home)
    [events] = (folder / "work" / "runs").glob("*/events.jsonl")
    read = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    first = [event["time"] for event in read if event["event"] == "task"]
    return between([*first, *(event["time"] for event in read if event["event"] == "round")])


def main() -> None:
    """Measure in turn; print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--nvflare", default="", help="Python that has NVFLARE.")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="osteofed-bench-") as temporary:
        folder = Path(temporary)
        mine = statistics.median(ours(folder / "ours", chosen.rounds))
        plain = statistics.median(plain_flower(folder / "plain", chosen.rounds))
        said = f"a round: ours {mine:.2f} s, plain Flower {plain:.2f} s, ratio {mine / plain:.2f}"
        if chosen.nvflare:
            other = nvflare(chosen.nvflare, folder, chosen.rounds)
            said += f"; NVFLARE's simulator {other:.2f} s"
    console().print(said, markup=False)


def _wait_for_port(port: int) -> None:
    import socket

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")


if __name__ == "__main__":
    main()

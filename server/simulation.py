"""Flower's simulation runtime, started for one run and ended with it: nothing is left behind.

A SuperLink of our own on a free loopback port, with a private ``FLWR_HOME``; the
bundle is the three packages' source. Every process inherits a mark in its
environment, also those that Flower and Ray detach, and is found and ended by it.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.events import EVENTS, EventReader
from server.follow import POLL_SECONDS, Watch, follow
from server.plan import PLAN_FILE, RunPlan
from shared.config import SimulationRuntime
from shared.errors import RuntimeUnavailableError
from shared.flower import SUPEREXEC, environment_for, free_port, program
from shared.keeper import cleaned_up_if_killed
from shared.processes import cores, end_marked, new_token
from shared.supervise import NeededChild

MARK: Final = "OSTEOFED_RUN_TOKEN"
CONNECTION: Final = "osteofed"
PACKAGES: Final = ("server", "client", "shared")
START_SECONDS: Final = 180.0
#: Longest path of the temporary folder under which Ray can open its sockets.
LONGEST_FOLDER: Final = 12
#: How long the runtime's processes may take to end by themselves when the run is over.
PATIENCE_SECONDS: Final = 1.0
#: On top of what all of Flower's programs get: Ray neither reports nor collects.
RAY: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_DEDUP_LOGS": "0",
}


@dataclass(frozen=True)
class _Home:
    """A run's private folder outside the workspace: short paths, for Ray's sockets."""

    folder: Path

    @property
    def flower(self) -> Path:
        return self.folder / "flwr"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"


def run_simulation(plan: RunPlan, runtime: SimulationRuntime, watch: Watch) -> None:
    """Run a plan with every site on this machine, and end everything that was started.

    Parameters
    ----------
    plan : RunPlan
        Saved in its folder already.
    runtime : SimulationRuntime
        How many sites work at the same time, on how many CPUs each.
    watch : callable
        Told every event of the run.

    Raises
    ------
    RuntimeUnavailableError
        If Flower's runtime does not start, or ends before the run does.
    OsteofedError
        What ended the run, as the server said it.
    """
    token = new_token()
    home = _Home(Path(tempfile.mkdtemp(prefix="osteofed-", dir=_short_folder())))
    logs = plan.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    environment = _environment(home, token)
    reader = EventReader.from_now(plan.folder / EVENTS)
    with cleaned_up_if_killed(MARK, token, home.folder):
        try:
            port = free_port()
            _prepare(home, port)
            superlink = _start(_superlink(port), environment, logs / "superlink.log")
            _wait_until_healthy(port, superlink, logs / "superlink.log")
            command = _flwr_run(home, plan, runtime)
            submitted = _start(command, environment, logs / "run.log")
            needed = NeededChild(SUPEREXEC)
            follow(
                reader,
                watch,
                lambda: (
                    superlink.poll() is not None
                    or submitted.poll() is not None
                    or needed.is_lost(superlink.pid)
                ),
                f"Flower's runtime ended before the run did; see {logs / 'run.log'}",
            )
        finally:
            end_marked(MARK, token, PATIENCE_SECONDS)
            shutil.rmtree(home.folder, ignore_errors=True)


def _short_folder() -> Path:
    """Where Ray's sockets fit: their whole path may have 107 characters, Ray takes 75."""
    wanted, short = Path(tempfile.gettempdir()), Path("/tmp")  # noqa: S108 - a folder is made in it
    usable = short.is_dir() and os.access(short, os.W_OK)
    return short if len(str(wanted)) > LONGEST_FOLDER and usable else wanted


def stage_bundle(bundle: Path) -> None:
    """Put the three packages' source and a pyproject for Flower into a folder.

    Parameters
    ----------
    bundle : Path
        Made; what Flower packs and its processes load.
    """
    root = Path(__file__).resolve().parent.parent
    for package in PACKAGES:
        for source in (root / package).rglob("*.py"):
            target = bundle / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    (bundle / "pyproject.toml").write_text(_PYPROJECT, encoding="utf-8")
    tomllib.loads(_PYPROJECT)


_PYPROJECT: Final = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "osteofed"
version = "0.1.0"
description = "Federated bone-health imaging"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "osteofed"
fab-include = ["server/**/*.py", "client/**/*.py", "shared/**/*.py"]

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
federation = ""
"""


def _environment(home: _Home, token: str) -> dict[str, str]:
    return environment_for(home.flower) | RAY | {
        "RAY_TMPDIR": str(home.folder / "ray"),
        MARK: token,
    }  # fmt: skip


def _prepare(home: _Home, port: int) -> None:
    for folder in (home.flower, home.bundle, home.folder / "ray"):
        folder.mkdir()
    (home.flower / "config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
        f'address = "127.0.0.1:{port}"\ninsecure = true\n',
        encoding="utf-8",
    )
    stage_bundle(home.bundle)


def _superlink(port: int) -> list[str]:
    return [
        program("flower-superlink"), "--insecure", "--simulation", "--isolation", "subprocess",
        "--host", "127.0.0.1", "--port", str(port), "--disable-runtime-dependency-installation",
    ]  # fmt: skip


def _flwr_run(home: _Home, plan: RunPlan, runtime: SimulationRuntime) -> list[str]:
    sites = len(plan.sites)
    chosen = runtime.parallel_sites or sites_at_once(sites, cores() // runtime.cpus_per_site)
    cpus = runtime.cpus_per_site * min(chosen, sites)
    simulation = (
        f"num-supernodes={sites} client-resources-num-cpus={runtime.cpus_per_site} "
        f"init-args-num-cpus={cpus} init-args-log-to-driver=false init-args-logging-level='error'"
    )
    return [
        program("flwr"), "run", str(home.bundle), CONNECTION, "--stream",
        "--federation-config", simulation,
        "--run-config", f'federation="{plan.folder / PLAN_FILE}"',
    ]  # fmt: skip


def sites_at_once(sites: int, room: int) -> int:
    """Sites of about one size that train at the same time so that all end soonest.

    With as many as the machine has room for, three sites on two cores are a pair and one
    that leaves a core idle; all three at once share both to the end. Fewer than twice the
    room, and no more than that needs.

    Parameters
    ----------
    sites : int
        All there are.
    room : int
        Sites for which there are cores.
    """
    turns = max(1, sites // max(1, room))
    return math.ceil(sites / turns)


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            # A group of its own: Ctrl-C reaches us alone, and we end the others.
            start_new_session=True,
        )


def _wait_until_healthy(port: int, superlink: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if superlink.poll() is not None:
            raise RuntimeUnavailableError(
                f"Flower's SuperLink ended with code {superlink.returncode}; see {log}"
            )
        try:
            url = f"http://127.0.0.1:{port}/health"
            with urllib.request.urlopen(url, timeout=2) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_SECONDS)
    raise RuntimeUnavailableError(
        f"Flower's SuperLink did not answer within {START_SECONDS:g} seconds; see {log}"
    )

"""Flower's simulation runtime, started for one run and ended with it: nothing is left behind.

A SuperLink of our own on a free loopback port, with a private ``FLWR_HOME``; the
bundle is the three packages' source. Every process inherits a mark in its
environment, also those that Flower and Ray detach, and is found and ended by it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from server.events import EVENTS, EventReader
from server.plan import PLAN_FILE, RunPlan
from shared.config import SimulationRuntime
from shared.errors import OsteofedError, RunFailedError, RuntimeUnavailableError
from shared.keeper import cleaned_up_if_killed
from shared.processes import end_marked, new_token

MARK: Final = "OSTEOFED_RUN_TOKEN"
CONNECTION: Final = "osteofed"
PACKAGES: Final = ("server", "client", "shared")
START_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.1
#: Longest path of the temporary folder under which Ray can open its sockets.
LONGEST_FOLDER: Final = 12
#: How long the runtime's processes may take to end by themselves when the run is over.
PATIENCE_SECONDS: Final = 1.0
#: Nothing phones home, installs or warns; one thread per site unless it says otherwise.
ENVIRONMENT: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.05",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_DEDUP_LOGS": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
}

Watch = Callable[[dict[str, Any]], None]


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
            _follow(reader, superlink, submitted, watch, logs)
        finally:
            end_marked(MARK, token, PATIENCE_SECONDS)
            shutil.rmtree(home.folder, ignore_errors=True)


def _short_folder() -> Path:
    """Where Ray's sockets fit: their whole path may have 107 characters, Ray takes 75."""
    wanted, short = Path(tempfile.gettempdir()), Path("/tmp")  # noqa: S108 - a folder is made in it
    usable = short.is_dir() and os.access(short, os.W_OK)
    return short if len(str(wanted)) > LONGEST_FOLDER and usable else wanted


def free_port() -> int:
    """Find a port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


def environment_for(flwr_home: Path) -> dict[str, str]:
    """Make the environment of Flower's programs; they start each other by bare names."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return kept | ENVIRONMENT | {"PATH": path, "FLWR_HOME": str(flwr_home)}


def program(name: str) -> str:
    """Find one of Flower's programs beside this Python.

    Raises
    ------
    RuntimeUnavailableError
        If it is not installed.
    """
    found = shutil.which(name, path=environment_for(Path())["PATH"])
    if found is None:
        raise RuntimeUnavailableError(
            f"{name}: not found beside {sys.executable}; install osteofed[server,client]"
        )
    return found


def _environment(home: _Home, token: str) -> dict[str, str]:
    return environment_for(home.flower) | {
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
    program = "flower-superlink"
    return [
        program, "--insecure", "--simulation", "--isolation", "subprocess",
        "--host", "127.0.0.1", "--port", str(port), "--disable-runtime-dependency-installation",
    ]  # fmt: skip


def _flwr_run(home: _Home, plan: RunPlan, runtime: SimulationRuntime) -> list[str]:
    cpus = runtime.cpus_per_site * min(runtime.parallel_sites, len(plan.sites))
    simulation = (
        f"num-supernodes={len(plan.sites)} client-resources-num-cpus={runtime.cpus_per_site} "
        f"init-args-num-cpus={cpus} init-args-log-to-driver=false init-args-logging-level='error'"
    )
    return [
        "flwr", "run", str(home.bundle), CONNECTION, "--stream",
        "--federation-config", simulation,
        "--run-config", f'federation="{plan.folder / PLAN_FILE}"',
    ]  # fmt: skip


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    program = shutil.which(command[0], path=environment["PATH"])
    if program is None:
        raise RuntimeUnavailableError(
            f"{command[0]}: not found beside {sys.executable}; install osteofed[server,client]"
        )
    with log.open("wb") as output:
        return subprocess.Popen(
            [program, *command[1:]],
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


def _follow(
    reader: EventReader,
    superlink: subprocess.Popen[bytes],
    submitted: subprocess.Popen[bytes],
    watch: Watch,
    logs: Path,
) -> None:
    """Hand on the run's events until it is over; notice if its processes die first."""
    while True:
        over = superlink.poll() is not None or submitted.poll() is not None
        for event in reader.new():
            watch(event)
            if event["event"] == "finished":
                return
            if event["event"] in ("failed", "paused"):
                raise error_of(event)
        if over:
            raise RuntimeUnavailableError(
                f"Flower's runtime ended before the run did; see {logs / 'run.log'}"
            )
        time.sleep(POLL_SECONDS)


def error_of(event: dict[str, Any]) -> OsteofedError:
    """Make the error again that ended the run on the server's side."""
    kinds = {kind.__name__: kind for kind in _all_errors(OsteofedError)}
    reason = str(event["reason"])
    return kinds.get(str(event["kind"]), RunFailedError)(reason)


def _all_errors(kind: type[OsteofedError]) -> list[type[OsteofedError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _all_errors(child))]

"""A whole federation on loopback, by the commands that people type; and ways to break it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from client.node.code_approval import approve, read_bundle
from client.node.enrol import enrol
from server.deployment.members import admit
from server.deployment.pki import make_home
from server.deployment.readiness import read_up
from server.runtime.bundle import make_bundle
from shared.audit.chain import ChainLine
from shared.runtime.flower import free_port
from shared.runtime.processes import living_in, marked, sessions_of
from shared.settings.files import (
    FederationConfig,
    PrivacyTarget,
    Quorum,
    SimulationRuntime,
    SitePrivacy,
    TaskRun,
    save_settings,
)
from shared.settings.task import TaskSettings
from tests.server.tiny_sites import TINY_TASK, tiny_site
from tests.suite.waiting import HANG_SECONDS, wait_for

MARK = "OSTEOFED_TEST_TOKEN"
OSTEOFED = [sys.executable, "-m", "shared.cli"]
NAMES = ("alpha", "beta", "gamma")
MISSING_NGINX = "nginx is not installed: apt-get install nginx-light"


def has_nginx() -> bool:
    """Whether the test can run."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


@dataclass
class Federation:
    """Folders, running commands, and what to do to them."""

    folder: Path
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    port: int = field(default_factory=free_port)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def site(self, name: str) -> Path:
        return self.folder / name

    def run(self, *words: object, code: int = 0) -> str:
        """Run a command to its end."""
        done = subprocess.run(
            [*OSTEOFED, *map(str, words)], capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def start(
        self, name: str, *words: object, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command in the background, under a name."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*OSTEOFED, *map(str, words)], stdout=log, stderr=log, start_new_session=True,
                env=os.environ | {MARK: self.token} | dict(environment or {}),
            )  # fmt: skip
        self.running[name] = process
        return process

    def up(self) -> None:
        """Serve, and wait until it does."""
        process = self.start("up", "server", "up", self.home, "--host", "127.0.0.1")

        def ready() -> bool:
            told = read_up(self.home)  # perhaps that of one that was killed
            return bool(told.get("ready")) and told["pid"] == process.pid

        wait_for(ready, self.log("up"))

    def join(self, name: str, *options: object) -> None:
        """Start a site's node."""
        self.start(f"join-{name}", "site", "join", self.site(name), *options)

    def leave(self, name: str) -> None:
        """End a site's node in order."""
        process = self.running.pop(f"join-{name}")
        process.terminate()
        process.wait(HANG_SECONDS)

    def rounds(self, run: str) -> list[dict[str, Any]]:
        """Facts of the rounds of a run, of all runs whose name begins so."""
        return [event["facts"] for event in self.events(run) if event["event"] == "round"]

    def events(self, run: str) -> list[dict[str, Any]]:
        """What the runs whose name begins so have said; half a line is left out."""
        found = []
        for path in sorted((self.folder / "work" / "runs").glob(f"{run}-*/events.jsonl")):
            raw = path.read_bytes().splitlines(keepends=True)
            found += [json.loads(line) for line in raw if line.endswith(b"\n")]
        return found

    def status(self, name: str) -> dict[str, Any]:
        """What a site's node says of itself."""
        try:
            found = json.loads((self.site(name) / "node" / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return dict(found)

    def connected(self, *names: str) -> None:
        """Wait until nodes are connected."""
        for name in names:
            wait_for(
                lambda name=name: self.status(name).get("state") == "connected",  # type: ignore[misc]
                self.log(f"join-{name}"),
            )  # fmt: skip

    def chain(self, folder: Path) -> list[ChainLine]:
        """Lines of a chain as they stand."""
        path = folder / "audit.jsonl"
        raw = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return [ChainLine.model_validate_json(line) for line in raw if line.endswith(b"\n")]

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def said(self) -> str:
        """The ends of everything that its programs have written, to be read when a test fails."""
        found = []
        for path in sorted([*self.folder.rglob("*.log"), *self.folder.rglob("events.jsonl")]):
            lines = path.read_text(errors="replace").splitlines()[-12:]
            found += [f"--- {path.relative_to(self.folder)}", *(line[:400] for line in lines)]
        for name in NAMES:
            found.append(f"--- {name} says {self.status(name)}")
        return "\n".join([*found, f"--- up says {read_up(self.home)}"])

    def result(self) -> dict[str, Any]:
        """What the last run brought."""
        return dict(json.loads((self.folder / "work" / "result.json").read_text()))

    def end(self) -> list[psutil.Process]:
        """End everything in order; return what is left behind."""
        mine = marked(MARK, self.token)
        sessions = sessions_of(mine)
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(HANG_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        left = [*marked(MARK, self.token), *living_in(sessions)]
        for process in left:
            process.kill()
        return left


def write_agreement(
    folder: Path,
    *,
    rounds: int = 3,
    name: str = "tiny",
    quorum: Quorum | None = None,
    task: TaskSettings = TINY_TASK,
) -> Path:
    """Write federation.yaml: one private task on three tiny sites."""
    save_settings(task, folder / "task.yaml")
    agreement = FederationConfig(
        name=name,
        workspace=Path("work"),
        runtime=SimulationRuntime(sites=tuple(Path(one) for one in NAMES)),
        privacy=PrivacyTarget(epsilon_per_run=3.0, delta=1e-3),
        quorum=quorum or Quorum(minimum_sites=3, deadline_seconds=60),
        register_versions=False,
        tasks=(TaskRun(settings=Path("task.yaml"), rounds=rounds),),
    )
    save_settings(agreement, folder / "federation.yaml")
    return folder / "federation.yaml"


def make_sites(folder: Path) -> None:
    """Make the three sites."""
    for seed, name in enumerate(NAMES, start=1):
        # Copies of the sites are compared with them, bit by bit.
        privacy = SitePrivacy(epsilon_budget=50.0, delta=1e-3, erase_noise_keys=False)
        tiny_site(folder / name, name, seed=seed, privacy=privacy)


def enrol_all(federation: Federation) -> None:
    """Make the home, and have each site enrolled, its code approved and itself admitted.

    By the functions behind the commands: a dozen programs that only start cost more than all
    that they do. `enrol_all_by_commands` types what people type.
    """
    make_home(federation.home, "127.0.0.1", port=federation.port)
    make_bundle(federation.folder / "osteofed.fab")
    code = read_bundle(federation.folder / "osteofed.fab")
    for name in NAMES:
        site = federation.site(name)
        enrol(site, federation.home / "invitation.json")
        approve(site, code)
        admit(federation.home, site / "enrolment.json")


def enrol_all_by_commands(federation: Federation) -> None:
    """Do the same by the commands."""
    home, bundle = federation.home, federation.folder / "osteofed.fab"
    federation.run("server", "pki", home, "--name", "127.0.0.1", "--port", federation.port)
    federation.run("server", "bundle", bundle)
    for name in NAMES:
        site = federation.site(name)
        federation.run("site", "enrol", site, home / "invitation.json")
        federation.run("site", "approve", site, bundle, "--yes")
        federation.run("server", "admit", home, site / "enrolment.json")


@contextmanager
def real_federation(
    folder: Path, set_up: Callable[[Federation], None] = enrol_all
) -> Iterator[Federation]:
    """Three enrolled and approved sites and a served home; nodes are not joined yet."""
    federation = Federation(folder)
    make_sites(folder)
    set_up(federation)
    try:
        federation.up()
        yield federation
    finally:
        federation.end()

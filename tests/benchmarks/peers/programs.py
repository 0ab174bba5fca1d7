"""The three programs: how each is run as its users run it, and where its model lies."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Final

import torch
from safetensors.numpy import load_file

from shared.protocol.codec import Arrays
from shared.runtime.flower import free_port, search_path
from shared.training.accounting import noise_multiplier_for
from shared.training.weights import load_weights
from tests.benchmarks.commands import ROOT
from tests.benchmarks.peers.hospitals import MEMBERS, RADIOGRAPHS, TASKS, Ready
from tests.benchmarks.peers.measuring import Cost, cost_of, one_thread

HERE: Final = Path(__file__).resolve().parent
OURS: Final = HERE / "ours"
FLOWER: Final = HERE / "plain_flower"
NVFLARE: Final = HERE / "nvflare_job"
#: What a peer's user writes otherwise for radiographs, by the place where it belongs; it
#: takes the name of what it replaces, by which the peer's other files import it.
FOR_RADIOGRAPHS: Final[Mapping[Path, Path]] = {
    FLOWER / "dxa" / "task.py": HERE / "radiographs" / "task.py",
    NVFLARE / "dxa_model.py": HERE / "radiographs" / "dxa_model.py",
}
#: Sites that train at the same time in all three, as ours does by default with two cores;
#: one thread each.
PARALLEL: Final = 3


@dataclass(frozen=True)
class Training:
    """What all three do the same.

    Attributes
    ----------
    rounds, steps : int
        Rounds, and steps a round at each hospital.
    sample_rate : float
        A half, a third and so on: Opacus takes it from a number of batches a pass.
    epsilon, delta : float
        Of the whole run; the noise multiplier follows from them.
    clip, rate : float
        Norm to which a patient's gradient is clipped; learning rate of plain SGD.
    """

    rounds: int
    steps: int
    sample_rate: float = 0.5
    epsilon: float = 8.0
    delta: float = 1e-4
    clip: float = 0.5
    rate: float = 0.02

    @property
    def noise(self) -> float:
        """Noise multiplier with which the run spends its epsilon."""
        return noise_multiplier_for(
            self.epsilon, self.delta, self.sample_rate, self.rounds * self.steps
        )


def words_of(training: Training, start: Path, seed: int) -> dict[str, object]:
    """Give what is filled into the files that a user of ours writes."""
    return asdict(training) | {"start": start, "seed": seed, "task": start.stem}


def run_ours(ready: Ready, training: Training, folder: Path, seed: int) -> tuple[Cost, Arrays]:
    """`osteofed server run`, on fresh copies of the sites: a ledger can be spent only once."""
    sites = folder / "sites"
    for name in MEMBERS:
        shutil.copytree(ready.sites / name, sites / name)
    home = folder / "ours"
    home.mkdir()
    words = words_of(training, ready.start, seed)
    for path in written("ours", ready.name):
        if path.suffix != ".yaml":
            continue
        filled = Template(path.read_text(encoding="utf-8")).substitute(words)
        (home / path.name).write_text(filled, encoding="utf-8")
    command = [sys.executable, "-m", "shared.cli", "server", "run", "federation.yaml"]
    environment = one_thread(PYTHONPATH=str(ROOT))
    cost = cost_of(command, home, folder / "ours.log", environment)
    [told] = json.loads((home / "work/result.json").read_text(encoding="utf-8"))["tasks"].values()
    if abs(told["noise_multiplier"] - training.noise) > 1e-9:
        raise SystemExit(f"ours trained with other noise: {told['noise_multiplier']}")
    absent = [one for facts in told["rounds"] for one in facts["absent"]]
    if absent:
        raise SystemExit(f"ours trained without some hospitals: {absent}")
    return cost, load_weights(Path(told["weights"])).arrays


def run_flower(ready: Ready, training: Training, folder: Path, seed: int) -> tuple[Cost, Arrays]:
    """`flwr run` on the SuperLink that it starts itself, as Flower's guide has it."""
    home, final = folder / "flwr", folder / "flower.safetensors"
    home.mkdir()
    (home / "config.toml").write_text(
        '[superlink]\ndefault = "local"\n\n[superlink.local]\naddress = ":local:"\n',
        encoding="utf-8",
    )
    app = _copied(FLOWER, folder / "app", ready.name)
    config = {
        "rounds": training.rounds, "steps": training.steps, "sample-rate": training.sample_rate,
        "clip": training.clip, "noise": training.noise, "rate": training.rate,
        "delta": training.delta, "seed": seed, "names": ",".join(MEMBERS),
        "samples": str(ready.samples), "start": str(ready.start), "final": str(final),
    }  # fmt: skip
    command: list[str | Path] = [
        Path(sysconfig.get_path("scripts")) / "flwr", "run", app, "local", "--stream",
        "--federation-config",
        f"num-supernodes={len(MEMBERS)} client-resources-num-cpus=1 init-args-num-cpus={PARALLEL}",
        "--run-config", " ".join(f"{key}={json.dumps(value)}" for key, value in config.items()),
    ]  # fmt: skip
    environment = one_thread(
        PYTHONPATH=str(ROOT),
        PATH=search_path(),
        FLWR_HOME=str(home),
        FLWR_LOCAL_SUPERLINK_HTTP_API_PORT=str(free_port()),
        FLWR_LOCAL_CONTROL_API_PORT=str(free_port()),
    )
    cost = cost_of(command, folder, folder / "flower.log", environment)
    return cost, load_file(final)


def run_nvflare(
    python: str, ready: Ready, training: Training, folder: Path, seed: int
) -> tuple[Cost, Arrays]:
    """NVFLARE's simulator, a process a hospital, in an environment of its own."""
    workspace = folder / "nvflare"
    config: Mapping[str, object] = {
        "rounds": training.rounds, "steps": training.steps, "sample-rate": training.sample_rate,
        "clip": training.clip, "noise": training.noise, "rate": training.rate,
        "delta": training.delta, "seed": seed, "names": ",".join(MEMBERS),
        "samples": ready.samples, "start": ready.start, "workspace": workspace,
    }  # fmt: skip
    words = [word for key, value in config.items() for word in (f"--{key}", str(value))]
    job = _copied(NVFLARE, folder / "job", ready.name)
    environment = one_thread(PYTHONPATH=str(ROOT))
    cost = cost_of([python, "dxa_job.py", *words], job, folder / "nvflare.log", environment)
    [model] = workspace.glob("**/app_server/FL_global_model.pt")
    held = torch.load(model, weights_only=True)["model"]
    return cost, {name: torch.as_tensor(value).numpy() for name, value in held.items()}


def _copied(program: Path, folder: Path, task: str) -> Path:
    """Copy what a peer's user writes for a task."""
    shutil.copytree(program, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for place, other in FOR_RADIOGRAPHS.items() if task == RADIOGRAPHS else ():
        if place.is_relative_to(program):
            shutil.copyfile(other, folder / place.relative_to(program))
    return folder


def written(program: str, task: str) -> list[Path]:
    """Files that a user of a program writes for a task."""
    folder = {"ours": OURS, "flower": FLOWER, "nvflare": NVFLARE}[program]
    kinds = {".py", ".toml", ".yaml", ".txt"}
    found = [path for path in folder.rglob("*") if path.suffix in kinds]
    if task == RADIOGRAPHS:
        found = [FOR_RADIOGRAPHS.get(path, path) for path in found]
    return sorted(path for path in found if path.stem not in set(TASKS) - {task})

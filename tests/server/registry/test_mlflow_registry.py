"""What is registered loads without us, says where it came from, and is promoted for a reason."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from server.registry.export import program_of
from server.registry.mlflow_registry import Registry, open_existing
from server.registry.model_card import draw_curves, write_card
from server.registry.versions import ModelVersions
from server.rounds.plan import PlannedTask, RunPlan
from server.state.result import CurvePoint, Measured, RoundFacts, Verdict
from shared.errors import NoChampionError, RegistryUnavailableError, VersionMissingError
from shared.inference.champions import load_champions
from shared.settings.files import PrivacyTarget, Quorum, StrategySettings, save_settings
from shared.settings.task import TaskSettings
from shared.tasks import TASKS, make_task
from shared.training.arrays import get_arrays
from shared.training.initial_weights import start_network
from shared.training.weights import Weights, digest_arrays, save_weights
from tests.server.tiny_sites import TINY_TASK
from tests.suite.waiting import wait_for

pytestmark = [
    # torch.export and MLflow use parts of torch and pydantic that are on their way out.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]

YES = Verdict(promoted=True, reason="dice 0.8 is better than 0.7 of the champion")
NO = Verdict(promoted=False, reason="dice 0.6 is not better than 0.7 of the champion")
#: Runs the champion of each task that is named, in a fork of a process that has torch and MLflow.
FRESH = textwrap.dedent("""
    import os, sys
    import numpy as np
    assert not any(name in sys.modules for name in ("server", "client", "shared"))
    import mlflow, mlflow.pytorch, torch
    uri, folder, *tasks = sys.argv[1:]
    mlflow.set_tracking_uri(uri)
    for task in tasks:
        if child := os.fork():
            os.waitpid(child, 0)
            continue
        place = os.path.join(folder, task)
        program = mlflow.pytorch.load_model(f"models:/{task}@champion")
        given = (torch.from_numpy(np.load(f"{place}.{n}.npy")) for n in ("image", "covariates"))
        with torch.no_grad():
            output = program(*given)
        assert not any(name in sys.modules for name in ("server", "client", "shared", "monai"))
        np.save(f"{place}.output.npy", output.numpy())
        sys.exit()
""")


def put(
    registry: Registry, folder: Path, settings: TaskSettings, seed: int, verdict: Verdict
) -> tuple[int, Weights]:
    """Register a network as a run would."""
    network, _ = start_network(settings, None, seed)
    weights = Weights(settings, get_arrays(network), f"seed {seed}")
    path = folder / f"{settings.task}.safetensors"
    save_weights(path, weights)
    save_settings(settings, folder / "task.yaml")
    run = registry.runs.begin(f"run {seed}", {"task": settings.task})
    registry.runs.log(run, 1, {"global/dice": 0.5, "epsilon/alpha": 1.0})
    program = program_of(make_task(settings), weights.arrays)
    tags = {"run": f"run-{seed}", "digest": digest_arrays(weights.arrays)}
    version = registry.versions.register(
        run, settings.task, program, [path, folder / "task.yaml"], tags
    )
    registry.aliases.promote(settings.task, version, verdict)
    registry.runs.end(run, "FINISHED")
    return version, weights


_WITHOUT_US = textwrap.dedent("""
    import sys
    sys.meta_path = [f for f in sys.meta_path if "__editable__" not in repr(f)]
    sys.path = [p for p in sys.path if "site-packages" in p or "python3" in p]
    import importlib.util
    assert all(importlib.util.find_spec(n) is None for n in ("server", "client", "shared"))
""")


@dataclass(frozen=True)
class Ran:
    """What the version of each task gave without us, and what its network gives here."""

    folder: Path
    expected: dict[str, NDArray[np.float32]]
    said: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Every task registered once and run in a process that cannot import our packages."""
    folder = tmp_path_factory.mktemp("ran")
    uri = f"sqlite:///{folder / 'mlflow.sqlite'}"
    registry = Registry(uri)
    expected = {}
    for task in sorted(TASKS):
        size = {"image_size": TINY_TASK.network.image_size} if task == TINY_TASK.task else {}
        settings = TaskSettings.model_validate({"task": task, "network": {"size": "small", **size}})
        _, weights = put(registry, folder, settings, 1, YES)
        expected[task] = save_example(folder, settings, weights)
    done = subprocess.run(
        # -I: neither the working folder nor PYTHONPATH lead to our packages; a hook
        # takes those away that an editable installation put on the path.
        [sys.executable, "-I", "-c", _WITHOUT_US + FRESH, uri, str(folder), *expected],
        check=False, capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    return Ran(folder, expected, done.stderr)


def save_example(folder: Path, settings: TaskSettings, weights: Weights) -> NDArray[np.float32]:
    """Save five rows of input beside the registry; give what the network makes of them."""
    program = program_of(make_task(settings), weights.arrays)
    generator = np.random.default_rng(0)
    image = generator.normal(size=(5, *program.image.shape[1:])).astype(np.float32)
    covariates = generator.normal(size=(5, *program.covariates.shape[1:])).astype(np.float32)
    np.save(folder / f"{settings.task}.image.npy", image)
    np.save(folder / f"{settings.task}.covariates.npy", covariates)
    with torch.no_grad():
        found = program.network(torch.from_numpy(image), torch.from_numpy(covariates))
    return np.asarray(found.numpy(), np.float32)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_version_runs_in_a_process_that_has_only_torch_and_mlflow(ran: Ran, task: str) -> None:
    output = ran.folder / f"{task}.output.npy"
    assert output.exists(), ran.said
    assert np.abs(np.load(output) - ran.expected[task]).max() < 1e-4


def test_aliases_follow_the_verdicts(tmp_path: Path) -> None:
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.sqlite'}")
    task = TINY_TASK.task
    assert registry.versions.champion(task, tmp_path / "none") is None
    first, weights = put(registry, tmp_path, TINY_TASK, 1, YES)
    second, _ = put(registry, tmp_path, TINY_TASK, 2, NO)
    found = registry.versions.facts(task)
    assert [(one.version, one.aliases) for one in found] == [
        (second, ("candidate",)),
        (first, ("champion",)),
    ]
    assert found[0].verdict == NO.reason
    champion = registry.versions.champion(task, tmp_path / "champion")
    assert champion is not None
    assert champion[0] == first
    assert digest_arrays(champion[1].arrays) == found[1].digest == digest_arrays(weights.arrays)
    _export_says_what_it_copied(registry, tmp_path)


def _export_says_what_it_copied(registry: Registry, folder: Path) -> None:
    facts = registry.versions.export(TINY_TASK.task, "champion", folder / "out")
    assert facts["files"] == sorted(facts["files"])
    task = TINY_TASK.task
    assert {p.name for p in (folder / "out").iterdir()} == {
        f"{task}.program.pt2", f"{task}.task.yaml", f"{task}.safetensors"
    }  # fmt: skip
    with pytest.raises(VersionMissingError, match="@99"):
        registry.versions.export(TINY_TASK.task, "99", folder / "other")
    with pytest.raises(NoChampionError, match="no champion yet"):
        registry.versions.export("dxa-bmd", "champion", folder / "other")
    assert not (folder / "other").exists()


PAPERS = ("task.yaml", "card.json", "curves.png", "passport.json")
BMD = TaskSettings.model_validate({"task": "dxa-bmd", "network": {"size": "small"}})


def save_drawn(path: Path, settings: TaskSettings) -> Weights:
    """Save a network as it begins."""
    network, _ = start_network(settings, None, 1)
    weights = Weights(settings, get_arrays(network), "drawn by a test")
    save_weights(path / f"{settings.task}.safetensors", weights)
    return weights


class Held(ModelVersions):
    """Versions that lie as MLflow keeps them: the program, and files beside it."""

    def __init__(self) -> None:
        """Need no MLflow."""
        aliases: Any = SimpleNamespace(find=lambda task, alias: SimpleNamespace(version="1"))
        self._aliases = aliases

    def _fetch(self, task: str, version: Any, folder: Path) -> Path:
        (folder / "data").mkdir()
        (folder / "data" / "model.pt2").write_text(f"program of {task}")
        beside = folder / "extra_files"
        beside.mkdir()
        for name in PAPERS:
            (beside / name).write_text(f"{name} of {task}")
        save_drawn(beside, TINY_TASK if task == TINY_TASK.task else BMD)
        return beside / f"{task}.safetensors"


def test_two_tasks_in_one_folder_keep_all_their_files(tmp_path: Path) -> None:
    kept: dict[str, bytes] = {}
    for task in (TINY_TASK.task, BMD.task):
        facts = Held().export(task, "champion", tmp_path)
        kept |= {name: (tmp_path / name).read_bytes() for name in facts["files"]}
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == kept
    assert set(kept) == {
        f"{task}.{name}"
        for task in (TINY_TASK.task, BMD.task)
        for name in (*PAPERS, "program.pt2", "safetensors")
    }
    for name in PAPERS:
        assert kept[f"{BMD.task}.{name}"].decode() == f"{name} of {BMD.task}"
    champions = load_champions([TINY_TASK.task, BMD.task], models=tmp_path)
    assert champions.found[BMD.task].weights.settings == BMD


def test_a_folder_of_the_older_layout_opens(tmp_path: Path) -> None:
    """Its papers were named without the task; its weights were named as they are now."""
    for name in (*PAPERS, "program.pt2"):
        (tmp_path / name).write_text("of an older export")
    weights = save_drawn(tmp_path, BMD)
    [champion] = load_champions([BMD.task], models=tmp_path).found.values()
    assert champion.facts.digest == digest_arrays(weights.arrays)
    Held().export(BMD.task, "champion", tmp_path)  # and is written into, beside what is there
    assert (tmp_path / "passport.json").read_text() == "of an older export"


def test_a_registry_that_is_not_there_is_a_sentence_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailableError, match="no such registry"):
        open_existing(f"sqlite:///{tmp_path / 'mlflow.sqlite'}")
    with pytest.raises(RegistryUnavailableError, match="cannot be used"):
        Registry("http://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []


def labels_drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what the lines of a picture are called while it is drawn."""
    from matplotlib.axes import Axes

    labels: list[str] = []
    plot = Axes.plot

    def noted(axes: Axes, *data: Any, **how: Any) -> Any:
        labels.append(how["label"])
        return plot(axes, *data, **how)

    monkeypatch.setattr(Axes, "plot", noted)
    return labels


@pytest.mark.parametrize("plain", [0, 7])
def test_the_papers_of_a_version_say_where_it_came_from(
    tmp_path: Path, plain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = PlannedTask(
        settings=TINY_TASK, rounds=2, start_from=None, start_digest="", strategy=StrategySettings()
    )
    plan = RunPlan(
        run="run-1", name="test", seed=1, workspace=tmp_path, home=tmp_path, members=(),
        privacy=PrivacyTarget(), quorum=Quorum(), tracking_uri="", experiment="x",
        register_versions=True, tasks=(planned,),
    )  # fmt: skip
    rounds = [
        RoundFacts(
            round=n, attempts=1, seconds=1.0, bytes_down=2, bytes_up=1, patients={"alpha": 20},
            site_seconds={}, epsilon={"alpha": 0.5 * n, "beta": 0.2}, delta={"alpha": 1e-3 / n},
            plain_rounds={"alpha": plain}, absent=[],
        )
        for n in (1, 2)
    ]  # fmt: skip
    measured = Measured(patients=20, loss=0.5, metrics={"dice": 0.7})
    curve = [CurvePoint(after_round=n, pooled=measured, sites={"alpha": measured}) for n in (0, 1)]
    write_card(tmp_path / "card.json", plan, planned, rounds, curve, {"digest": "d"})
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["sites"] == ["alpha"]
    assert card["privacy"]["spent_by_site"] == {
        "alpha": {"epsilon": 1.0, "delta": 5e-4},
        "beta": {"epsilon": 0.2, "delta": None},  # an older build kept none
    }
    assert card["privacy"]["plain_rounds_by_site"] == ({"alpha": 7} if plain else {})
    said = "no epsilon covers the sites that trained without privacy, rounds: alpha (7)"
    assert (said in card["privacy"]["not_covered"]) == bool(plain)
    assert (card["run"], card["digest"], card["rounds"]) == ("run-1", "d", 2)
    labels = labels_drawn(monkeypatch)
    draw_curves(tmp_path / "curves.png", "dice", rounds, curve)
    assert labels[-2:] == ["alpha, at delta 0.0005", "beta, delta not kept"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_loss_is_drawn_where_the_headline_is_not_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    measured = Measured(patients=20, loss=0.5, metrics={})
    curve = [CurvePoint(after_round=n, pooled=measured, sites={"alpha": measured}) for n in (0, 1)]
    drawn: list[list[float]] = []
    plot = Axes.plot

    def noted(axes: Axes, *data: Any, **how: Any) -> Any:
        drawn.append(data[1])
        return plot(axes, *data, **how)

    monkeypatch.setattr(Axes, "plot", noted)
    draw_curves(tmp_path / "curves.png", "auc_grade2", [], curve)
    assert drawn == [[0.5, 0.5], [0.5, 0.5]]


def test_a_kill_while_the_database_is_made_leaves_none(tmp_path: Path) -> None:
    """SIGKILL at four moments: the file is there whole or not at all, and opens afterwards."""
    script = (
        "import sys; from server.registry.mlflow_registry import Registry;"
        "print('begin', flush=True);"
        "Registry(sys.argv[1]); print('made', flush=True)"
    )
    uri = f"sqlite:///{tmp_path / 'mlflow.sqlite'}"
    for number in range(4):
        with subprocess.Popen([sys.executable, "-c", script, uri], stdout=subprocess.PIPE) as made:
            assert made.stdout is not None
            made.stdout.readline()
            wait_for(lambda: list(tmp_path.glob(".mlflow*.part")), every=0.01)
            time.sleep(0.4 * number)
            made.kill()
    Registry(uri)
    assert (tmp_path / "mlflow.sqlite").exists()

"""A wrong agreement is answered with one sentence before anything is started."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.rounds.plan import PlannedTask, RunPlan, _run_name, load_plan, make_plan, save_plan
from server.runtime.federation import prepare
from server.state.home import IDENTITY, Home
from shared.audit.keys import make_key
from shared.errors import (
    BudgetInvalidError,
    ConfigError,
    ConfigValueError,
    ModelIncompatibleError,
    OsteofedError,
    StoreMissingError,
    UnknownTaskError,
    VersionMissingError,
)
from shared.protocol.half_precision import halved
from shared.settings.files import (
    FederationConfig,
    SiteConfig,
    StrategySettings,
    TaskRun,
    load_settings,
    save_settings,
)
from shared.settings.task import TaskSettings
from shared.training.arrays import get_arrays
from shared.training.initial_weights import start_network
from shared.training.weights import Weights, digest_arrays, save_weights
from tests.server.jobs import member
from tests.server.tiny_sites import TINY_TASK

ROOT = Path(__file__).resolve().parents[3]
GUIDE = ROOT / "docs" / "run-a-consortium.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_settings(TINY_TASK, tmp_path / "task.yaml")
    for name in ("alpha", "beta"):
        (tmp_path / name).mkdir()
        save_settings(SiteConfig(site=name), tmp_path / name / "site.yaml")
        make_key(tmp_path / name / IDENTITY)
    return tmp_path


def write(folder: Path, **changes: Any) -> Path:
    agreement: dict[str, Any] = {
        "workspace": "work",
        "runtime": {"sites": ["alpha", "beta"]},
        "tasks": [{"settings": "task.yaml", "rounds": 2}],
    } | changes
    path = folder / "federation.yaml"
    path.write_text(yaml.safe_dump(agreement))
    return path


def test_the_same_agreement_is_the_same_run_wherever_it_lies(folder: Path) -> None:
    first = make_plan(write(folder)).run
    assert make_plan(write(folder, workspace="elsewhere")).run == first
    assert make_plan(write(folder, seed=2)).run != first
    assert make_plan(write(folder, privacy={"epsilon_per_run": 1.0})).run != first


def test_a_plan_reads_back_as_written(folder: Path) -> None:
    plan = make_plan(write(folder))
    assert load_plan(save_plan(plan)) == plan


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"privacy": {"epsilon_per_run": 0}}, BudgetInvalidError, "epsilon_per_run: 0"),
        ({"privcy": {}}, ConfigValueError, "privcy: unknown key"),
        ({"runtime": {"sites": ["alpha", "gone"]}}, StoreMissingError, "gone: is not a site"),
        ({"runtime": {"sites": ["alpha", "alpha"]}}, ConfigValueError, "named twice"),
        ({"quorum": {"minimum_sites": 3}}, ConfigValueError, "at most the 2 sites"),
        ({"tasks": [{"settings": "nothing.yaml"}]}, ConfigError, "no such file"),
        ({"tasks": [{"settings": "task.yaml"}] * 2}, ConfigValueError, "each task once"),
        (
            {"tasks": [{"settings": "task.yaml", "start_from": "no.safetensors"}]},
            VersionMissingError,
            "no such weights",
        ),
        (
            {"tasks": [{"settings": "task.yaml", "strategy": {"name": "FedAvg",
                                                              "options": {"eta": 1.0}}}]},
            ConfigValueError,
            "FedAvg has no such option",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_written(
    folder: Path, changes: dict[str, Any], error: type[OsteofedError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        make_plan(write(folder, **changes))
    assert not (folder / "work").exists()


def test_an_unknown_task_is_named_with_the_known_ones(folder: Path) -> None:
    save_settings(TINY_TASK.model_copy(update={"task": "mri-knee"}), folder / "task.yaml")
    with pytest.raises(UnknownTaskError, match=r"mri-knee.*dxa-bmd"):
        make_plan(write(folder))


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    network, _ = start_network(TINY_TASK, None)
    other = TINY_TASK.model_copy(update={"network": TINY_TASK.network.model_copy(
        update={"image_size": (64, 64)})})  # fmt: skip
    save_weights(folder / "w.safetensors", Weights(other, get_arrays(network), "test"))
    start = [{"settings": "task.yaml", "start_from": "w.safetensors"}]
    with pytest.raises(ModelIncompatibleError, match="64"):
        make_plan(write(folder, tasks=start))


def weights(folder: Path, settings: TaskSettings = TINY_TASK, seed: int = 0) -> Path:
    """Public weights of a task, not rounded to what travels."""
    path = folder / f"{settings.task}-{seed}.safetensors"
    arrays = get_arrays(start_network(settings, None, seed)[0])
    save_weights(path, Weights(settings, arrays, "public"))
    return path


@pytest.fixture
def fracture(folder: Path) -> Path:
    settings = TINY_TASK.model_copy(update={"task": "vfa-fracture"})
    save_settings(settings, folder / "fracture.yaml")
    return folder


def prepared(folder: Path, file: Path, task: str = TINY_TASK.task) -> RunPlan:
    run = {"settings": "fracture.yaml", "rounds": 2, "prepare_with": {task: str(file)}}
    return make_plan(write(folder, tasks=[run]))


def test_what_prepares_the_input_is_part_of_what_was_agreed(fracture: Path) -> None:
    first = prepared(fracture, weights(fracture))
    (task,) = first.tasks
    assert load_plan(save_plan(first)) == first
    sent = prepare(first, task).preparing[TINY_TASK.task]
    assert digest_arrays(halved(sent)) == task.prepared_with[TINY_TASK.task].digest
    moved = weights(fracture).rename(fracture / "moved.safetensors")
    assert prepared(fracture, moved).run == first.run
    assert prepared(fracture, weights(fracture, seed=2)).run != first.run
    bare = make_plan(write(fracture, tasks=[{"settings": "fracture.yaml", "rounds": 2}]))
    assert bare.run != first.run


def test_a_run_prepares_with_the_weights_that_it_was_planned_with(fracture: Path) -> None:
    plan = prepared(fracture, weights(fracture))
    weights(fracture, seed=2).replace(weights(fracture))
    with pytest.raises(ModelIncompatibleError, match="not the file that the run was planned with"):
        prepare(plan, plan.tasks[0])


def test_a_run_without_preparation_has_the_name_that_it_had_before_there_was_any() -> None:
    task = PlannedTask(
        settings=TINY_TASK, rounds=2, start_from=None, start_digest="",
        strategy=StrategySettings(),
    )  # fmt: skip
    config = FederationConfig(workspace=Path("w"), tasks=(TaskRun(settings=Path("t.yaml")),))
    assert _run_name(config, (task,)) == "federation-464de8cb5e"
    assert "prepar" not in task.model_dump_json()
    assert "prepare_with" not in config.model_dump_json()


def test_only_a_version_whose_findings_a_task_needs_prepares_its_input(fracture: Path) -> None:
    file = weights(fracture)
    with pytest.raises(ConfigValueError, match=r"vfa-fracture: 'dxa-bmd' \(must be dxa-segm"):
        prepared(fracture, file, "dxa-bmd")
    run = {"settings": "task.yaml", "prepare_with": {"vfa-fracture": str(file)}}
    with pytest.raises(ConfigValueError, match="must be left out"):
        make_plan(write(fracture, tasks=[run]))
    with pytest.raises(VersionMissingError, match="no such weights"):
        prepared(fracture, fracture / "gone.safetensors")
    other = weights(fracture, TINY_TASK.model_copy(update={"task": "dxa-bmd"}))
    with pytest.raises(ModelIncompatibleError, match=r"of dxa-bmd \(must be of dxa-segmentation"):
        prepared(fracture, other)


def test_the_agreement_of_the_guide_is_one_that_real_nodes_can_run(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml federation\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)
    path = tmp_path / "federation.yaml"
    path.write_text(block)
    shutil.copytree(ROOT / "configs" / "tasks", tmp_path / "tasks")
    agreement = load_settings(path, FederationConfig)
    for run in agreement.tasks:  # what `server pretrain` writes
        settings = load_settings(tmp_path / run.settings, TaskSettings)
        network, _ = start_network(settings, None, 1)
        assert run.start_from is not None
        (tmp_path / run.start_from).parent.mkdir(exist_ok=True)
        save_weights(tmp_path / run.start_from, Weights(settings, get_arrays(network), "public"))
    home = Home(tmp_path / "home")
    home.make()
    home.save_members(tuple(member(name) for name in ("alpha", "beta", "gamma")))
    plan = make_plan(path, home.folder)
    assert [task.name for task in plan.tasks] == ["dxa-segmentation", "dxa-bmd", "vfa-fracture"]
    assert [one.site for one in plan.members] == ["alpha", "beta", "gamma"]
    assert agreement.runtime is None
    assert all(run.contract and run.contract.counts for run in agreement.tasks)

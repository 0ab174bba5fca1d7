"""Every task keeps the contract of `shared.tasks.base`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.errors import UnknownTaskError
from shared.metrics.statistics import add_statistics
from shared.records import PairedLabels, StudyLabels, StudyRecord, Vendor, View, VolumeRecord
from shared.regions import LUMBAR
from shared.settings.files import load_settings
from shared.settings.task import OptimiserSettings, TaskSettings
from shared.tasks import TASKS, make_task
from shared.tasks.base import Task
from shared.tasks.sample import collate, fold
from shared.training.compute import Compute
from shared.training.local_round import RoundKey, evaluate, train_plain
from tests.shared.ct_standins import lumbar_ct
from tests.shared.standins import Standins

CONFIGS = Path(__file__).parents[3] / "configs" / "tasks"


class WithEverything(Standins):
    """Stand-ins with a radiograph of the spine and a CT besides, for the tasks that read them."""

    def studies(self, patient: str) -> list[StudyRecord]:
        return [self.with_everything(study) for study in super().studies(patient)]

    @cache  # noqa: B019
    def volume(self, patient: str, density: float) -> VolumeRecord:
        core = dict.fromkeys(("T11", "T12", *LUMBAR), (500 * density - 350) / 150)
        return lumbar_ct(np.random.default_rng(int(patient[-3:])), core, cortex=500.0)

    def with_everything(self, study: StudyRecord) -> StudyRecord:
        density = study.labels.bmd["L1-L4"]
        return replace(
            study,
            images={**study.images, View.LUMBAR_AP: study.images[View.SPINE_PA]},
            # muscle over height squared goes with density, for the task that sees nothing else
            covariates=replace(study.covariates, height_cm=200 - 40 * density),
            volumes={"ct": self.volume(study.patient, density)},
            paired=PairedLabels(
                StudyLabels(bmd=dict.fromkeys((*LUMBAR, "L1-L4"), density)), Vendor.GENERIC, 1.0
            ),
        )


SOURCE = WithEverything(6, seed=3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=sorted(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return make_task(load_settings(CONFIGS / f"{request.param}.yaml", TaskSettings))


def studies() -> list[StudyRecord]:
    return [SOURCE.studies(patient)[0] for patient in SOURCE.patients]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_settings_are_valid_and_named_for_their_task(path: Path) -> None:
    settings = load_settings(path, TaskSettings)
    assert path.name.split(".")[0] == settings.task
    assert settings.network.size == ("published" if ".published" in path.name else "small")
    assert make_task(settings).name == settings.task


def test_every_task_is_shipped_in_both_sizes() -> None:
    names = {path.name for path in CONFIGS.glob("*.yaml")}
    assert names == {f"{task}{size}.yaml" for task in TASKS for size in ("", ".published")}


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownTaskError, match="dxa-bmd, dxa-segmentation, vfa-fracture"):
        make_task(TaskSettings(task="os.system"))


def test_a_sample_has_the_units_and_types_of_the_contract(task: Task) -> None:
    sample = task.sample(studies()[0])
    assert sample["image"].ndim == 4
    assert sample["covariates"].ndim == 2
    assert sample["weight"].shape == (task.units,)
    for name, value in sample.items():
        assert len(value) == task.units, name
        assert bool(torch.isfinite(value.float()).all()), name
    for name in ("image", "covariates", "weight"):
        assert sample[name].dtype == torch.float32


def test_a_sample_is_deterministic(task: Task) -> None:
    first, second = task.sample(studies()[1]), task.sample(studies()[1])
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_augmentation_depends_on_its_generator_only_and_leaves_the_sample(task: Task) -> None:
    sample = task.sample(studies()[0])
    kept = {name: value.clone() for name, value in sample.items()}
    first = task.augment(sample, np.random.default_rng(4))
    second = task.augment(sample, np.random.default_rng(4))
    other = task.augment(sample, np.random.default_rng(5))
    assert all(torch.equal(first[name], second[name]) for name in sample)
    assert not torch.equal(first["image"], other["image"])
    assert all(torch.equal(sample[name], kept[name]) for name in sample)
    assert {name: value.shape for name, value in first.items()} == {
        name: value.shape for name, value in sample.items()
    }
    assert all(type(value) is torch.Tensor for value in first.values())


def test_loss_is_per_unit_and_nothing_for_a_missing_one(task: Task) -> None:
    batch = fold(collate([task.sample(study) for study in studies()[:2]]))
    network = task.network().eval()
    output = network(batch["image"], batch["covariates"])
    loss = task.loss(output, batch)
    assert loss.shape == (2 * task.units,)
    assert bool((loss > 0).all())
    missing = task.loss(output, batch | {"weight": torch.zeros_like(batch["weight"])})
    assert bool((missing == 0).all())


def test_statistics_add_up_over_patients(task: Task) -> None:
    samples = [task.sample(study) for study in studies()]
    network = task.network().eval()

    def statistics(chosen: list[dict[str, torch.Tensor]]) -> dict[str, float]:
        batch = fold(collate(chosen))
        with torch.no_grad():
            return task.statistics(network(batch["image"], batch["covariates"]), batch)

    together = statistics(samples)
    apart = add_statistics(statistics(samples[:2]), statistics(samples[2:]))
    assert together["patients"] == len(samples)
    assert set(together) == set(apart)
    for name, value in together.items():
        assert apart[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    metrics = task.metrics(together)
    assert task.metrics(apart)["loss"] == pytest.approx(metrics["loss"], rel=1e-4)
    told = task.tell(together)
    assert sorted(one.metric for one in told) == sorted(metrics)
    assert told[0].metric == task.headline.metric or task.headline.metric not in metrics
    for one in told:
        assert "_" not in one.words
        assert one.judgement
        factor = 100.0 if one.unit == "%" else 1.0
        assert one.value == pytest.approx(factor * metrics[one.metric])


def test_no_patients_give_no_metrics(task: Task) -> None:
    assert task.metrics({"patients": 0.0, "loss_sum": 0.0}) == {}
    assert task.tell({"patients": 0.0, "loss_sum": 0.0}) == []


def test_a_study_without_labels_is_not_used_but_can_be_read(task: Task) -> None:
    study = studies()[0]
    bare = replace(
        study,
        labels=StudyLabels(),
        images={view: replace(image, regions=None) for view, image in study.images.items()},
        volumes={
            uid: replace(volume, regions=None, marked_slices={})
            for uid, volume in study.volumes.items()
        },
        paired=None,
    )
    assert task.uses(study)
    assert not task.uses(bare)
    sample = task.sample(bare)
    assert sample["image"].shape == task.sample(study)["image"].shape
    assert float(sample["weight"].sum()) == 0.0


def test_a_study_without_images_is_not_used(task: Task) -> None:
    assert not task.uses(replace(studies()[0], images={}, volumes={}))
    for view in task.inputs.views if task.inputs.every_view else ():
        images = {other: image for other, image in studies()[0].images.items() if other != view}
        assert not task.uses(replace(studies()[0], images=images))


def test_the_head_is_part_of_the_network(task: Task) -> None:
    names = [name for name, _ in task.network().named_parameters()]
    head = [name for name in names if name.startswith(task.head_parameters())]
    assert 0 < len(head) < len(names)


def test_an_unscanned_margin_has_no_say(task: Task) -> None:
    study = studies()[0]
    images = {}
    for view, image in study.images.items():
        pixels = np.array(image.pixels)
        pixels[-3:] = np.nan
        images[view] = replace(image, pixels=pixels)
    sample = task.sample(replace(study, images=images))
    assert bool(torch.isfinite(sample["image"]).all())


STEPS_TO_LEARN = {
    "ct-bmd": 8,
    "dxa-segmentation": 12,
    "dxa-bmd": 40,
    "xray-bmd": 60,
    "vfa-fracture": 14,
    "xray-vertebrae": 12,
    "ct-localisation": 8,
    "ct-segmentation": 4,
    "chest-ct-regions": 8,
    "chest-ct-smi": 400,
}


def test_a_few_steps_lower_the_loss(task: Task) -> None:
    torch.manual_seed(0)
    network, compute = task.network(), Compute(physical_batch_patients=4)
    before = evaluate(task, network, SOURCE, compute)
    settings = OptimiserSettings(learning_rate=4e-3, batch_patients=4, augment=False)
    steps = STEPS_TO_LEARN.get(task.name, 40)
    key = RoundKey(1, "test", 1, "digest")
    done = train_plain(task, network, SOURCE, settings, key, compute, steps=steps)
    after = evaluate(task, network, SOURCE, compute)
    assert done.patients == len(SOURCE.patients)
    assert after["loss_sum"] < 0.85 * before["loss_sum"]
    assert task.headline.metric in task.metrics(after)


def test_views_are_named_as_records_do(task: Task) -> None:
    assert bool(task.inputs.views) != task.inputs.series
    assert all(isinstance(view, View) for view in task.inputs.views)

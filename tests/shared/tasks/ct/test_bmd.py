"""Bone density from outlined vertebrae: what the network is shown, and what it answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from shared.clinical.cross_calibration import standardised_bmd
from shared.findings.completion import blind
from shared.findings.findings import Findings
from shared.records import (
    Covariates,
    PairedLabels,
    StudyLabels,
    StudyRecord,
    Vendor,
    VolumeRecord,
)
from shared.regions import LUMBAR, code_of
from shared.settings.task import TaskSettings
from shared.tasks.ct.bmd import CtBmd
from shared.tasks.ct.bone_images import UNIT_HU, level_labels, line_to_120
from shared.tasks.reading import Reading
from shared.tasks.sample import collate, fold
from tests.shared.ct_samples import outlined_series

TASK = CtBmd(TaskSettings(task="ct-bmd"))
VOLUME = outlined_series(L4=150.0, L3=140.0, L2=130.0, L1=120.0)
BMD = {"L1": 0.8, "L2": 0.9, "L3": 1.0, "L4": 1.1}


def study(volume: VolumeRecord = VOLUME, **labels: Any) -> StudyRecord:
    paired = PairedLabels(StudyLabels(**({"bmd": BMD} | labels)), Vendor.HOLOGIC, 2.0)
    return StudyRecord(
        "p", "s", Vendor.OTHER, {}, StudyLabels(), Covariates(), {"1.2": volume}, paired
    )


def with_hu(change: Any) -> VolumeRecord:
    hu = VOLUME.hu.copy()
    change(hu)
    return replace(VOLUME, hu=hu)


class Says(torch.nn.Module):
    """Says the same of every vertebra."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, image: torch.Tensor, covariates: torch.Tensor) -> torch.Tensor:
        return torch.full((len(image), 1), self.value)


def find(volume: VolumeRecord, value: float = 0.9, before: Findings | None = None) -> Findings:
    return TASK.find(Reading(Says(value), study(volume), StudyLabels(), before or Findings()))


@pytest.fixture(scope="module")
def sample() -> dict[str, torch.Tensor]:
    return TASK.sample(study())


def test_each_vertebra_is_shown_by_its_hounsfield_units(sample: dict[str, torch.Tensor]) -> None:
    bone, mask = sample["image"][:, 0], sample["image"][:, 1]
    assert sample["image"].shape == (4, 2, 56, 56)
    inside = torch.where(mask > 0.999, bone, torch.tensor(torch.nan)).flatten(1)
    for place, hu in enumerate((120.0, 130.0, 140.0, 150.0)):
        assert torch.nanmedian(inside[place]) * UNIT_HU == pytest.approx(hu, abs=3)
    # four crops of 34 by 40 mm in a mosaic of 294 by 294 mm
    assert mask.mean((1, 2)).numpy() == pytest.approx(4 * 34 * 40 / 294**2, rel=0.05)


def test_what_is_outside_of_the_outline_is_not_shown(sample: dict[str, torch.Tensor]) -> None:
    """A control: with everything but bone replaced, the input stays as it is, but for edges."""
    outside = np.asarray(VOLUME.regions) == 0
    assert (VOLUME.hu[outside] == 40).all()
    deep = np.ones_like(outside)
    deep[:, 11:49, 8:52] = False  # beyond the pixels that edges share

    def change(hu: Any) -> None:
        hu[outside & deep] = -100

    assert torch.equal(TASK.sample(study(with_hu(change)))["image"], sample["image"])


def test_a_scanner_of_another_voltage_shows_the_same_density() -> None:
    line = line_to_120(80.0)
    assert line is not None
    at_80 = with_hu(lambda hu: hu.__setitem__(slice(None), np.rint((hu - line[1]) / line[0])))
    shown = TASK.sample(study(replace(at_80, kvp=80.0)))["image"]
    assert shown.numpy() == pytest.approx(TASK.sample(study())["image"].numpy(), abs=0.01)
    assert line_to_120(None) is None
    assert line_to_120(70.0) is None


def test_labels_are_of_the_paired_visit_on_the_shared_scale(
    sample: dict[str, torch.Tensor],
) -> None:
    for place, level in enumerate(LUMBAR):
        expected = standardised_bmd(BMD[level], Vendor.HOLOGIC, level)
        assert float(sample["bmd"][place, 0]) == pytest.approx(expected)
    assert sample["weight"].tolist() == [1, 1, 1, 1]


def test_a_vertebra_that_was_left_out_is_no_label() -> None:
    kept = {level: BMD[level] for level in ("L1", "L2", "L4")}
    left = level_labels(study(bmd=kept | {"L4": 9.0}, genant={"L1": 1, "L2": 2}))
    assert set(left) == {"L1"}
    assert not TASK.uses(study(bmd={"L1-L4": 1.0}))
    assert not TASK.uses(replace(study(), paired=None))


def test_only_whether_there_is_a_map_decides_who_is_counted() -> None:
    empty = replace(VOLUME, regions=np.zeros_like(VOLUME.regions))
    assert TASK.uses(study())
    assert TASK.uses(study(empty))
    assert TASK.sample(study(empty))["weight"].tolist() == [0, 0, 0, 0]
    assert not TASK.uses(study(replace(VOLUME, regions=None)))
    assert not TASK.uses(study(replace(VOLUME, kvp=None)))


def test_who_is_counted_does_not_follow_from_what_was_outlined() -> None:
    """Weights that outline a vertebra in some patients only must not choose a sum's patients."""
    drawn = np.asarray(VOLUME.regions)
    fewer = np.where(drawn == code_of("L2", "volume"), 0, drawn).astype(np.uint8)
    batches = [
        fold(collate([TASK.sample(study(one))]))
        for one in (VOLUME, replace(VOLUME, regions=fewer), replace(VOLUME, regions=0 * fewer))
    ]
    output = torch.full((4, 1), 0.9)
    counted = []
    for batch in batches:
        sums = TASK.statistics(output, batch)
        counted.append(
            {key: value for key, value in sums.items() if key.split(":")[-1] in ("n", "y", "yy")}
        )
    assert counted[0] == counted[1] == counted[2]
    assert counted[0]["l2:n"] == counted[0]["spine:n"] == 1.0
    assert batches[1]["weight"].tolist() == [1, 0, 1, 1]


def test_a_variation_keeps_what_is_measured(sample: dict[str, torch.Tensor]) -> None:
    varied = TASK.augment(sample, np.random.default_rng(3))
    assert not torch.equal(varied["image"], sample["image"])
    for before, after in zip(sample["image"], varied["image"], strict=True):
        assert float(after[0].sum() / after[1].sum()) == pytest.approx(
            float(before[0].sum() / before[1].sum()), rel=0.15
        )
    assert torch.equal(varied["bmd"], sample["bmd"])


def test_each_patient_gives_one_value_to_each_sum(sample: dict[str, torch.Tensor]) -> None:
    partly = TASK.sample(study(bmd={"L1": 0.8, "L3": 1.0}))
    none = TASK.sample(replace(study(), paired=None))
    batch = fold(collate([sample, partly, none]))
    sums = TASK.statistics(batch["bmd"] + 0.1, batch)
    assert {name: sums[f"{name}:n"] for name in ("l1", "l2", "l3", "l4", "spine")} == {
        "l1": 2, "l2": 1, "l3": 2, "l4": 1, "spine": 2,
    }  # fmt: skip
    assert set(TASK.released.keys) >= set(sums)
    metrics = TASK.metrics(sums)
    assert metrics["mae_spine"] == pytest.approx(0.1)
    assert metrics["bias_l3"] == pytest.approx(0.1)


def test_a_reading_gives_each_level_and_their_mean_without_any_score() -> None:
    found = find(VOLUME)
    assert [one.region for one in found.measurements] == ["L1-L4", *LUMBAR]
    assert {one.value for one in found.measurements} == {0.9}
    assert found.measurements[0].quantity.endswith("mean of L1, L2, L3 and L4")
    for one in found.measurements:
        assert (one.t_score, one.z_score, one.bone_class) == (None, None, None)
    assert found.not_assessed == ()


def test_a_level_that_cannot_be_assessed_says_why() -> None:
    def metal(hu: Any) -> None:
        hu[2 + 8, 30, 30] = 2800  # L4

    without = np.array(VOLUME.regions)
    without[without == code_of("L1", "volume")] = 0
    found = find(replace(with_hu(metal), regions=without))
    assert [one.region for one in found.measurements] == ["L1-L4", "L2", "L3"]
    assert "L2 and L3" in found.measurements[0].quantity
    assert {gap.what: gap.why for gap in found.not_assessed} == {
        "bone density of L1 from CT": "L1 is not outlined",
        "bone density of L4 from CT": "L4 holds metal or cement (over 1,500 HU)",
    }


@pytest.mark.parametrize(
    ("volume", "why"),
    [
        (replace(VOLUME, kvp=None), "not named in the files"),
        (replace(VOLUME, regions=None), "no vertebra is outlined in this series"),
        (replace(VOLUME, slice_thickness_mm=10.0), "10 mm thick"),
        (replace(VOLUME, kernel="Br64f"), "a CT series of a sharp kernel"),
    ],
)
def test_a_series_that_cannot_be_read_says_why(volume: VolumeRecord, why: str) -> None:
    found = find(volume)
    assert found.measurements == ()
    [gap] = found.not_assessed
    assert gap.what == "bone density of L1, L2, L3 and L4 from CT"
    assert why in gap.why


def test_an_estimate_that_no_bone_has_is_not_told() -> None:
    found = find(VOLUME, value=7.0)
    assert found.measurements == ()
    assert [gap.why for gap in found.not_assessed] == [
        "the model's estimate is no density that bone has"
    ]


def test_outlines_of_the_task_before_are_read() -> None:
    seen = blind(study())
    before = Findings(volume_maps={"1.2": np.asarray(VOLUME.regions)})
    reading = Reading(Says(0.9), seen, StudyLabels(), before)
    assert len(TASK.find(reading).measurements) == 5
    assert TASK.find(replace(reading, before=Findings())).measurements == ()


def test_whitening_changes_no_output() -> None:
    torch.manual_seed(0)
    network = TASK.network().eval()
    torch.nn.init.normal_(dict(network.named_parameters())["head.weight"], std=0.2)
    generator = np.random.default_rng(0)
    public = [TASK.augment(TASK.sample(study()), generator) for _ in range(6)]
    before = network(public[0]["image"], public[0]["covariates"])
    TASK.settle(network, public)
    after = network(public[0]["image"], public[0]["covariates"])
    assert after.detach().numpy() == pytest.approx(before.detach().numpy(), abs=1e-4)

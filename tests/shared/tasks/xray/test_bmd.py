"""What is special in reading bone density from a film."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.findings.bare_estimates import is_from_film
from shared.findings.facts import NotAssessed
from shared.findings.findings import Findings
from shared.records import Covariates, StudyLabels, StudyRecord, Vendor, VertebraBox, View
from shared.settings.task import NetworkSettings, TaskSettings
from shared.tasks.reading import Reading
from shared.tasks.sample import collate, fold
from shared.tasks.xray.bmd import CENTRES, XrayBmd, film_labels
from tests.shared.tasks.xray.films import HIGH, film_study, marked_column

TASK = XrayBmd(TaskSettings(task="xray-bmd"))
WITH_FACTS = XrayBmd(TaskSettings(task="xray-bmd", network=NetworkSettings(patient_facts=True)))
VIEW = View.LUMBAR_AP


def changed(study: StudyRecord, **image: object) -> StudyRecord:
    return replace(study, images={VIEW: replace(study.images[VIEW], **image)})  # type: ignore[arg-type]


def test_a_tone_curve_makes_no_difference() -> None:
    study = film_study(marked_column())
    darker = np.asarray(study.images[VIEW].pixels, np.float32) ** 2.2
    one, other = TASK.sample(study)["image"], TASK.sample(changed(study, pixels=darker))["image"]
    assert float((one - other).abs().mean()) < 0.02
    assert float(one.min()) >= 0
    assert float(one.max()) <= 1


def test_the_crop_shows_the_same_whatever_the_size_of_a_pixel() -> None:
    study = film_study(marked_column())
    image = study.images[VIEW]
    twice = replace(
        image,
        pixels=np.repeat(np.repeat(np.asarray(image.pixels), 2, 0), 2, 1),
        regions=np.repeat(np.repeat(np.asarray(image.regions), 2, 0), 2, 1),
        spacing_mm=(0.5, 0.5),
    )
    one = TASK.sample(study)
    other = TASK.sample(replace(study, images={VIEW: twice}))
    assert float((one["image"] - other["image"]).abs().mean()) < 0.05
    assert float(one["covariates"][0, 0]) == pytest.approx(
        float(other["covariates"][0, 0]), abs=0.03
    )


def test_densities_are_those_of_the_paired_visit_on_the_shared_scale() -> None:
    study = film_study(marked_column())
    sample = TASK.sample(study)
    # Hologic's lines (clinical mathematics): Hui for the spine, IBDCS for the hip
    wanted = [
        1.0550 * (0.95 - 0.972) + 1.0436, 0.019 + 1.087 * 0.70, 0.006 + 1.008 * 0.80
    ]  # fmt: skip
    assert sample["bmd"][0].tolist() == pytest.approx(wanted, abs=1e-4)
    assert sample["weight"].item() == 1
    assert TASK.uses(study)
    assert not TASK.uses(replace(study, paired=None))
    assert not TASK.uses(changed(study, regions=None))


def test_a_study_of_its_own_scale_needs_no_other_visit() -> None:
    own = replace(
        film_study(marked_column()),
        vendor=Vendor.GENERIC,
        labels=StudyLabels(bmd={"L1-L4": 1.1}),
        paired=None,
    )
    assert film_labels(own) == {"L1-L4": pytest.approx(1.1)}


def test_a_film_on_which_nothing_was_found_counts_and_teaches_nothing() -> None:
    """An empty map is what preparing weights may have found: who is counted is public."""
    study = film_study(np.zeros((400, 240), np.uint8))
    assert TASK.uses(study)
    sample = TASK.sample(study)
    assert sample["weight"].item() == 0
    assert not sample["image"].any()


def test_boxes_of_a_table_count_like_a_map() -> None:
    study = film_study(marked_column())
    boxes = tuple(VertebraBox("", 99, 40 + HIGH * n, 141, 40 + HIGH * (n + 1)) for n in range(7))
    boxed = changed(study, regions=None, boxes=boxes)
    assert TASK.uses(boxed)
    one, other = TASK.sample(study)["image"], TASK.sample(boxed)["image"]
    assert float((one - other).abs().mean()) < 0.06  # heights are taken from boxes, not assumed


def test_age_sex_and_body_mass_are_inputs_only_where_the_settings_say_so() -> None:
    study = film_study(marked_column())
    assert TASK.sample(study)["covariates"].shape == (1, 1)
    facts = WITH_FACTS.sample(study)["covariates"]
    assert facts[0, 1:].tolist() == pytest.approx([0.0, -0.5, 0.0], abs=1e-6)
    unknown = WITH_FACTS.sample(replace(study, covariates=Covariates()))["covariates"]
    assert unknown[0, 1:].tolist() == [0, 0, 0]
    for task in (TASK, WITH_FACTS):
        batch = fold(collate([task.sample(study)]))
        assert task.network()(batch["image"], batch["covariates"]).shape == (1, 3)


def test_no_layer_keeps_statistics_of_patients() -> None:
    kinds = {type(one) for one in TASK.network().modules()}
    assert not kinds & {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm}


class Fixed(nn.Module):
    """Says the same of every film."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = torch.tensor([values])

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        return self.values.expand(len(image), -1)


def found(study: StudyRecord, *values: float) -> Findings:
    network = Fixed(*(values or CENTRES))
    return TASK.find(Reading(network, study, StudyLabels(), Findings()))


def test_a_film_without_vertebrae_is_not_assessed_with_its_reason() -> None:
    for study, why in (
        (film_study(None), "no vertebra is outlined in it"),
        (film_study(np.zeros((400, 240), np.uint8)), "no vertebrae are recognised in it"),
        (film_study(marked_column(vertebrae=3)), "fewer than three of the vertebrae"),
    ):
        findings = found(study)
        assert findings.measurements == ()
        assert why in findings.not_assessed[0].why
        assert findings.not_assessed[0].what.endswith("from the radiograph")


def test_why_no_levels_were_found_is_why_there_is_no_density() -> None:
    before = Findings(not_assessed=(NotAssessed(what="levels", why="it shows a hand"),))
    findings = TASK.find(Reading(Fixed(*CENTRES), film_study(None), StudyLabels(), before))
    assert [gap.why for gap in findings.not_assessed] == ["it shows a hand"]


def test_a_picture_that_only_has_a_column_is_no_lumbar_spine() -> None:
    """A box of noise with a bright stripe has marks, and nothing of a spine's looks."""
    findings = found(film_study(marked_column()))
    assert findings.measurements == ()
    assert "lumbar" in findings.not_assessed[0].why


def test_estimates_have_no_score_and_no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.tasks.xray.bmd.why_not_lumbar", lambda crop: "")
    findings = found(film_study(marked_column()), 0.8512, 0.7, 0.75)
    assert [one.region for one in findings.measurements] == ["L1-L4", "femoral_neck", "total_hip"]
    for one in findings.measurements:
        assert is_from_film(one)
        assert one.t_score is None
        assert one.z_score is None
        assert one.bone_class is None
    assert findings.measurements[0].value == 0.851


def test_a_density_that_no_bone_has_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.tasks.xray.bmd.why_not_lumbar", lambda crop: "")
    findings = found(film_study(marked_column()), 0.9, 9.0, 0.75)
    assert [one.region for one in findings.measurements] == ["L1-L4", "total_hip"]
    assert "no density that bone has" in findings.not_assessed[0].why

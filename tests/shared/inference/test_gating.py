"""What a study's faulty image gives: a reason in JSON and report, and no number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from shared.dicom.pixels.orientation import Facing
from shared.dicom.read import read_study_folder
from shared.dicom.read_study import ReadStudy
from shared.findings.findings import Findings
from shared.inference.gating import gated
from shared.inference.predict import read_study
from shared.phantom.make import make_hospital
from shared.records import StudyLabels, StudyRecord, View
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from shared.tasks.reading import Reading
from tests.suite.real_images import REAL_IMAGES, needs_real_images


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study as a GE scanner writes it, whose header says nothing of a lateral image."""
    out = tmp_path_factory.mktemp("hospital") / "export"
    make_hospital(out, "lunar", 1, 5)
    for mask in out.rglob("*SEG*"):
        mask.unlink()
    return out / "DICOM"


def read(folder: Path) -> ReadStudy:
    (study,) = read_study_folder(folder).studies
    return study


def changed(
    export: Path, out: Path, name: str, *, mirror: bool, orientation: str = ""
) -> ReadStudy:
    """Read the export after one of its images is mirrored or has another orientation."""
    path = next(export.rglob(name))
    dataset = dcmread(path)
    if mirror:
        dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[:, ::-1]).tobytes()
    if orientation:
        dataset.PatientOrientation = orientation
    out.mkdir()
    dataset.save_as(out / name)
    return read(out)


def test_a_lateral_image_reads_the_same_whichever_way_it_faces(
    export: Path, tmp_path: Path
) -> None:
    as_made = changed(export, tmp_path / "a", "LVA.dcm", mirror=False)
    mirrored = changed(export, tmp_path / "b", "LVA.dcm", mirror=True)
    first, second = (one.images[View.SPINE_LATERAL].pixels for one in (as_made, mirrored))
    assert np.array_equal(first, second, equal_nan=True)
    assert as_made.facing == {View.SPINE_LATERAL: Facing("left", "anatomy")}
    assert mirrored.facing == {View.SPINE_LATERAL: Facing("right", "anatomy")}
    assert mirrored.turned[View.SPINE_LATERAL] == (False, True)
    prediction, html, _ = read_study(mirrored, [])
    assert [(one.facing, one.withheld) for one in prediction.images] == [("right", "")]
    assert "faces right in its file, by its anatomy; it is read turned to the left" in html


@pytest.mark.parametrize("orientation", ["P\\F", "A\\F"])
def test_a_header_that_the_anatomy_contradicts_is_a_reason(
    export: Path, tmp_path: Path, orientation: str
) -> None:
    wrong = orientation == "A\\F"
    study = changed(export, tmp_path / "a", "LVA.dcm", mirror=False, orientation=orientation)
    prediction, html, _ = read_study(study, [])
    (image,) = prediction.images
    assert (image.facing, image.facing_told_by) == ("right" if wrong else "left", "header")
    assert image.withheld == ("mirrored" if wrong else "")
    assert ("its bones face the other way than its header says" in html) == wrong


def test_a_right_hip_under_a_left_ones_name_is_not_assessed(export: Path, tmp_path: Path) -> None:
    study = changed(export, tmp_path / "a", "LEFT_FEMUR.dcm", mirror=True)
    prediction, html, _ = read_study(study, [])
    (gap,) = [gap for gap in prediction.not_assessed if "right hip" in gap.why]
    assert gap.what == "the left proximal femur"
    assert gap.why in html
    assert any(flag.code == "mirrored" for flag in prediction.quality)


def test_no_density_rests_on_a_spine_that_is_not_there(export: Path) -> None:
    study = read(export)
    spine = study.images[View.SPINE_PA]
    flat = replace(spine, pixels=np.where(np.isnan(spine.pixels), np.nan, 0.08).astype(np.float32))
    images = {**study.images, View.SPINE_PA: flat}
    record = StudyRecord("", "", study.vendor, images, StudyLabels(), study.covariates)
    seen, withheld = gated(record)
    assert {view: why.code for view, why in withheld.items()} == {View.SPINE_PA: "no_content"}
    assert {*seen.images} == {View.HIP_LEFT, View.SPINE_LATERAL}
    task = make_task(TaskSettings(task="dxa-bmd"))
    found = task.find(Reading(task.network(), seen, StudyLabels(), Findings()))
    assert [one.region for one in found.measurements] == ["femoral_neck", "total_hip"]
    assert [gap.what for gap in found.not_assessed] == ["bone density of the lumbar spine L1-L4"]
    prediction, _, _ = read_study(replace(study, images=images), [])
    assert ("the posteroanterior lumbar spine", "the image shows nothing: it is of one grey "
            "throughout") in [(gap.what, gap.why) for gap in prediction.not_assessed]  # fmt: skip
    assert prediction.conclusions[0].bone_class is None


@needs_real_images
def test_the_cases_of_a_blank_spine_and_of_both_facings() -> None:
    cases = REAL_IMAGES / "cases"
    blank, _, _ = read_study(read(cases / "blank_spine_gives_osteoporosis"), [])
    assert {one.view: one.withheld for one in blank.images} == {
        "spine_pa": "no_content", "hip_left": "",
    }  # fmt: skip
    right, left = (read(cases / name) for name in ("lva_faces_right", "lva_as_phantom_control"))
    assert right.facing[View.SPINE_LATERAL] == Facing("right", "anatomy")
    assert left.facing[View.SPINE_LATERAL] == Facing("left", "anatomy")
    first, second = (one.images[View.SPINE_LATERAL].pixels for one in (right, left))
    assert np.array_equal(first, second, equal_nan=True)

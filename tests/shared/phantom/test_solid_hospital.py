"""A digital hospital of whole bodies: DXA and, within a year, an abdominal CT of each patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from shared.dicom.read import read_study_folder
from shared.errors import PhantomError
from shared.phantom.make import make_hospital
from shared.phantom.solid_ct import APART, draw_examination
from shared.phantom.writers.identity import Identity, seen_later
from shared.regions import code_of
from tests.shared.phantom.imaging.ct.test_of_anatomy import WHO

#: A hospital whose first patient has few, thick slices.
SEED = 8


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("solid") / "hospital"
    return out, make_hospital(
        out, "lunar", 1, SEED, "urban", anatomy="plain", ct="abdomen", truth=True
    )  # fmt: skip


def test_dxa_and_ct_are_read_as_two_studies_of_one_patient(
    hospital: tuple[Path, dict[str, Any]],
) -> None:
    out, facts = hospital
    result = read_study_folder(out / "DICOM")
    assert {verdict.reason for verdict in result.files} == {"ok"}
    assert len(result.files) == facts["dicom_files"]
    ct, dxa = sorted(result.studies, key=lambda one: len(one.volumes), reverse=True)
    assert len(ct.volumes) == 1
    assert not dxa.volumes
    files = sorted((out / "DICOM").rglob("*_CT/*"))
    first, other = dcmread(files[0]), dcmread(next((out / "DICOM").rglob("AP_SPINE.dcm")))
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        assert first[keyword].value == other[keyword].value
    assert first.StudyInstanceUID != other.StudyInstanceUID
    assert first.AccessionNumber != other.AccessionNumber


def test_a_hospital_marks_levels_and_draws_the_middle_slices(
    hospital: tuple[Path, dict[str, Any]],
) -> None:
    """As its engineer would take them in: the table, and the drawing beside the series."""
    out, _ = hospital
    result = read_study_folder(out)
    [ct] = [one for one in result.studies if one.volumes]
    [volume] = [one.record for one in ct.volumes.values()]
    assert volume.regions is not None
    assert set(volume.marked_slices) == {"L1", "L2", "L3", "L4", "L5"}
    drawn = np.flatnonzero(volume.regions.any((1, 2)))
    assert set(drawn) == set(volume.marked_slices.values())
    for level, place in volume.marked_slices.items():
        own = volume.regions[place] == code_of(level, "volume")
        assert own.sum() * volume.spacing_mm[1] ** 2 > 600  # mm², a body's


def test_the_truth_says_what_the_ct_was(hospital: tuple[Path, dict[str, Any]]) -> None:
    out, _ = hospital
    (line,) = (out / "truth.jsonl").read_text().splitlines()
    told = json.loads(line)["ct"]
    assert 1 <= abs(told["days_later"]) <= APART
    assert set(told["core_g_cm3"]) == {"L1", "L2", "L3", "L4"}
    header = dcmread(next((out / "DICOM").rglob("*_CT/*")), stop_before_pixels=True)
    assert float(header.KVP) == told["kvp"]
    assert float(header.SliceThickness) == told["thickness_mm"]
    assert told["phase"] in header.SeriesDescription


def test_the_series_holds_the_lumbar_spine_of_the_person_of_the_dxa() -> None:
    one = draw_examination(0, SEED, "urban", "plain")
    again = draw_examination(0, SEED, "urban", "plain")
    assert one.stack == again.stack
    assert one.days_later == again.days_later
    for level in ("L1", "L2", "L3", "L4"):
        centre = one.anatomy.skeleton.spine[level].centre
        assert one.stack.z_of(0) < centre[2] < one.stack.z_of(one.stack.count - 1)
    low, high = one.anatomy.tissues[0].box
    assert one.stack.protocol.field_mm >= min(float(high[0] - low[0]), 500.0)


def test_protocols_phases_and_days_differ() -> None:
    some = [draw_examination(number, 3, "urban", "near_to_life") for number in range(8)]
    assert len({one.stack.protocol.thickness_mm for one in some}) > 1
    assert len({one.scene.contrast.name if one.scene.contrast else "" for one in some}) > 1
    assert len({one.days_later > 0 for one in some}) == 2
    assert {one.scanner.name for one in some} == {some[0].scanner.name}
    assert not any(one.stack.protocol.kernel == "sharp" for one in some)


@pytest.mark.parametrize("days", [-300, 5])
def test_the_age_is_that_of_the_day_of_the_ct(days: int) -> None:
    then: Identity = seen_later(WHO, days, "CT")
    assert (then.study_date - WHO.study_date).days == days
    assert then.age_years == (63 if days < 0 else 64)
    assert then.uid("study") != WHO.uid("study")


def test_points_have_no_ct_and_an_unknown_anatomy_is_answered_with_the_known_ones(
    tmp_path: Path,
) -> None:
    with pytest.raises(PhantomError, match="--anatomy near_to_life"):
        make_hospital(tmp_path / "h", "lunar", 1, 7, ct="abdomen")
    with pytest.raises(PhantomError, match="points, plain, near_to_life"):
        make_hospital(tmp_path / "h", "lunar", 1, 7, anatomy="clay")
    assert not (tmp_path / "h").exists()


def test_dxa_of_whole_bodies_has_the_scanners_pixels(
    hospital: tuple[Path, dict[str, Any]],
) -> None:
    out, facts = hospital
    spine = dcmread(next((out / "DICOM").rglob("AP_SPINE.dcm")))
    assert np.asarray(spine.pixel_array).std() > 0
    assert facts["anatomy"] == "plain"
    assert (out / "labels").is_dir()

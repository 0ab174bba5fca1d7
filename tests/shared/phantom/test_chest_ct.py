"""Chest CT of digital persons: what is in view, how it is taken, what its headers say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from shared.phantom.cli import app
from shared.phantom.imaging.ct.chest import (
    ARMS_BESIDE,
    DOSES,
    LUNG_SERIES,
    SLICES,
    WITHOUT_HEIGHT,
    draw_lung_hu,
    lung_stack,
)
from shared.phantom.imaging.ct.volume import acquire
from shared.phantom.solid_ct import CtExamination, draw_examination, middles_of
from shared.phantom.writers.ct import write_series
from shared.phantom.writers.identity import seen_later
from shared.seeds import numpy_generator
from tests.shared.phantom.imaging.ct.test_of_anatomy import WHO


@pytest.fixture(scope="module")
def examinations() -> list[CtExamination]:
    return [draw_examination(number, 4, "urban", "plain", part="chest") for number in range(3)]


def test_a_series_reaches_from_above_c7_to_within_or_below_l1(
    examinations: list[CtExamination],
) -> None:
    for one in examinations:
        spine, stack = one.anatomy.skeleton.spine, one.stack
        bottom = stack.z_of(stack.count - 1)
        assert stack.top < float(spine["C7"].centre[2])
        assert float(spine["T12"].centre[2]) < bottom < float(spine["L4"].centre[2])
        assert {"T11", "T12"} <= set(middles_of(one))


def test_it_is_unenhanced_and_of_a_chest_protocol(examinations: list[CtExamination]) -> None:
    for one in examinations:
        protocol = one.stack.protocol
        assert one.scene.contrast is None
        assert protocol.kernel in ("smooth", "medium")
        assert protocol.mas in DOSES
        assert (protocol.thickness_mm, protocol.increment_mm) in {(a, b) for a, b, _ in SLICES}
        lung = lung_stack(one.stack)
        assert lung.protocol.kernel == "sharp"
        assert (lung.top, lung.count) == (one.stack.top, one.stack.count)


def test_the_abdominal_examination_of_a_person_is_what_it_was_without_a_chest_ct() -> None:
    one = draw_examination(0, 4, "urban", "plain")
    assert one.part == "abdomen"
    assert one.known == one.anatomy.person.covariates
    assert one.for_lung is None


def test_shares_are_shares() -> None:
    assert sum(share for _, _, share in SLICES) == pytest.approx(1.0)
    assert all(0 < share < 1 for share in (ARMS_BESIDE, LUNG_SERIES, WITHOUT_HEIGHT))
    rng = numpy_generator(1, "lungs")
    drawn = np.array([draw_lung_hu(rng) for _ in range(400)])
    assert -990 < drawn.min() < -900 < np.median(drawn) < drawn.max() < -750


def test_headers_name_the_chest_and_lack_what_nobody_wrote(
    examinations: list[CtExamination], tmp_path: Path
) -> None:
    one = examinations[0]
    few = one.stack.moved(one.stack.top, 2)
    who = seen_later(WHO, one.days_later, "CT")
    known = one.anatomy.person.covariates
    for number, told in ((2, known), (3, type(known)(known.sex, known.age_years))):
        folder = tmp_path / str(number)
        folder.mkdir()
        slices = acquire(one.scene, one.scanner, few, np.random.default_rng(1))
        written = write_series(
            slices, one.scene, one.scanner, few, folder, who, told, number, part="chest"
        )
        header = dcmread(written.paths[0], stop_before_pixels=True)
        assert (header.BodyPartExamined, header.ProtocolName) == ("CHEST", "Chest")
        assert str(header.SeriesDescription).startswith("Thorax native")
        assert ("PatientSize" in header) == (told.height_cm is not None)
        assert ("PatientWeight" in header) == (told.weight_kg is not None)


def test_a_patient_gets_one_ct(tmp_path: Path) -> None:
    words = ["make", "--out", str(tmp_path / "out"), "--scanner", "lunar", "--patients", "1"]
    done = CliRunner().invoke(app, [*words, "--ct", "--chest-ct"])
    assert done.exit_code != 0
    assert "a patient gets one CT" in f"{done.output}{done.exception}"

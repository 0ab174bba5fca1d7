"""Films of a whole body as three makers' systems write them, read as the hospital reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from shared.dicom.read import read_study_folder
from shared.errors import PhantomError
from shared.phantom.imaging.film.examination import FILM_APART
from shared.phantom.imaging.film.makers import FILM_MAKERS, maker_of
from shared.phantom.make import make_hospital
from shared.phantom.writers.tables import usual_name
from shared.records import View

#: A hospital with plates: CR, MONOCHROME1, 10 bits.
SEED = 3


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("films") / "hospital"
    return out, make_hospital(
        out, "lunar", 1, SEED, "urban", anatomy="plain", film=True, truth=True
    )  # fmt: skip


def test_a_frontal_film_is_read_and_a_lateral_one_is_not(
    hospital: tuple[Path, dict[str, Any]],
) -> None:
    out, facts = hospital
    result = read_study_folder(out / "DICOM")
    reasons = {Path(one.path).name: one.reason for one in result.files if "_XR" in one.path}
    assert reasons == {"AP.dcm": "ok", "LL.dcm": "view_not_used"}
    assert facts["dicom_files"] == len(result.files)
    film, dxa = sorted(result.studies, key=lambda one: View.LUMBAR_AP not in one.images)
    assert set(film.images) == {View.LUMBAR_AP}
    assert film.header.patient_id == dxa.header.patient_id
    assert film.header.study_uid != dxa.header.study_uid


def test_bone_is_bright_once_read_although_stored_dark(
    hospital: tuple[Path, dict[str, Any]],
) -> None:
    out, _ = hospital
    path = next((out / "DICOM").rglob("AP.dcm"))
    header = dcmread(path)
    assert header.PhotometricInterpretation == "MONOCHROME1"
    assert (header.Modality, header.BitsStored) == ("CR", 10)
    assert header.pixel_array.max() <= 2**10 - 1
    [film] = [one for one in read_study_folder(out).studies if View.LUMBAR_AP in one.images]
    image = film.images[View.LUMBAR_AP]
    assert image.spacing_provenance == "detector"
    levels = {box.vertebra: box for box in image.boxes}
    spine = levels["L3"]
    rows = slice(int(spine.y0), int(spine.y1))
    pixels = np.asarray(image.pixels, np.float32)
    wide = int(spine.x1 - spine.x0)
    beside = pixels[rows, int(spine.x1) + wide // 2 : int(spine.x1) + wide]
    assert pixels[rows, int(spine.x0) : int(spine.x1)].mean() > beside.mean() + 0.05


def test_boxes_of_the_table_are_where_the_vertebrae_are(
    hospital: tuple[Path, dict[str, Any]],
) -> None:
    out, _ = hospital
    (line,) = (out / "truth.jsonl").read_text().splitlines()
    told = json.loads(line)["film"]
    assert 1 <= abs(told["days_later"]) <= FILM_APART
    [film] = [one for one in read_study_folder(out).studies if View.LUMBAR_AP in one.images]
    boxes = film.images[View.LUMBAR_AP].boxes
    assert [one.vertebra for one in boxes][-5:] == ["L1", "L2", "L3", "L4", "L5"]
    for one in boxes:
        wanted = told["boxes"][one.vertebra]
        assert [one.x0, one.y0, one.x1, one.y1] == pytest.approx(wanted, abs=0.5)
    heights = np.diff([one.y0 for one in boxes])
    assert heights.min() > 15


def test_makers_differ_in_class_polarity_bits_and_spacing() -> None:
    makers = FILM_MAKERS.values()
    assert {one.digital for one in makers} == {True, False}
    assert {one.inverted for one in makers} == {True, False}
    assert {one.bits for one in makers} == {10, 12, 16}
    assert {one.spacing for one in makers} == {"detector", "distances", "patient"}
    assert [maker_of(seed).model for seed in range(4)] == [
        *(one.model for one in makers), maker_of(0).model
    ]  # fmt: skip


@pytest.mark.parametrize("name", FILM_MAKERS)
def test_processing_keeps_bone_bright_and_forgets_the_exposure(name: str) -> None:
    """Twice the photons, or another voltage's offset, is no other picture."""
    down, across = np.mgrid[:160, :120]
    spine = 0.6 * (np.abs(across - 60) < 14) * (0.8 + 0.2 * np.sin(down / 5))
    attenuation = (2.0 + 0.004 * down + spine).astype(np.float32)
    process = FILM_MAKERS[name].processing
    shown = process(attenuation, np.random.default_rng(1))
    again = process(attenuation + np.float32(0.7), np.random.default_rng(1))
    assert shown.shape == attenuation.shape
    assert 0 <= shown.min() < 0.3
    assert 0.7 < shown.max() <= 1
    assert shown[:, 50:70].mean() > shown[:, 5:30].mean() + 0.2
    assert np.abs(shown - again).max() < 0.02


def test_a_vertebra_that_most_people_lack_has_no_name_in_a_table() -> None:
    assert [usual_name(one) for one in ("L5", "L6", "T13", "T12")] == ["L5", "", "", "T12"]


def test_points_have_no_films(tmp_path: Path) -> None:
    with pytest.raises(PhantomError, match="only a solid anatomy has films"):
        make_hospital(tmp_path / "out", "lunar", 1, 1, film=True)

"""An image that does not show what it is said to is withheld with the reason; others are read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.quality.gates import LIMITS, gate, is_mirrored
from shared.quality.likeness import even_contrast
from shared.records import DXA_VIEWS, ImageRecord, StudyRecord, View
from tests.planted_faults import FAULTS, planted
from tests.suite.real_images import needs_real_images
from tests.verify.planted_faults import radiographs

#: What each fault may be called; a forearm or noise may also look like a bone of another size.
CODES = {
    "blank": {"no_content"},
    "noise": {"not_recognised"},
    "upside down": {"upside_down"},
    "faces the other way": {"mirrored"},
    "other hip": {"mirrored"},
    "cut off": {"cut_off", "wrong_size", "other_view"},
    "another view": {"other_view"},
    "spacing": {"wrong_size", "cut_off", "other_view", "mirrored"},
    "inverted": {"inverted"},
    "other body part": {"not_recognised", "other_view", "upside_down"},
}


@pytest.fixture(scope="module")
def digital() -> StudyRecord:
    from shared.phantom.source import generic_patient

    return generic_patient(3, 9)


def test_planted_faults_are_named_and_good_images_read(digital: StudyRecord) -> None:
    assert {*CODES} == {*FAULTS}
    found = {}
    for one in planted(3, 9, digital):
        seen = gate(one.image, one.view)
        if one.fault == "good":
            assert seen is None, (one.view, seen)
        elif one.fault in CODES:
            found[one.fault] = seen.code if seen is not None else ""
            assert seen is None or seen.words
    assert {fault: code for fault, code in found.items() if code not in CODES[fault]} == {}
    assert {*found} == {*FAULTS}


@pytest.mark.parametrize("value", [0.0, 0.08, 1.0])
@pytest.mark.parametrize("view", DXA_VIEWS)
def test_an_image_of_one_grey_shows_nothing_whatever_its_margins(view: View, value: float) -> None:
    pixels = np.full((220, 180), value, np.float32)
    pixels[:90, :12] = pixels[60:, -9:] = np.nan
    seen = gate(ImageRecord(pixels, (1.0, 1.0), "derived"), view)
    assert seen is not None
    assert seen.code == "no_content"


@pytest.mark.parametrize("factor", [0.5, 1.6])
@pytest.mark.parametrize("view", DXA_VIEWS)
def test_a_spacing_that_makes_bones_of_no_adult_is_told(
    digital: StudyRecord, view: View, factor: float
) -> None:
    row, column = digital.images[view].spacing_mm
    image = replace(digital.images[view], spacing_mm=(row * factor, column * factor))
    seen = gate(image, view)
    assert seen is not None
    assert seen.code in {"wrong_size", "other_view", "cut_off"}


@pytest.mark.parametrize("seed", range(4))
def test_two_long_bones_are_no_spine(digital: StudyRecord, seed: int) -> None:
    make = FAULTS["other body part"][1]
    arm = make(digital.images, View.SPINE_PA, np.random.default_rng(seed))
    seen = gate(arm, View.SPINE_PA)
    assert seen is not None
    assert seen.code in CODES["other body part"]


def test_a_field_of_metres_is_none() -> None:
    seen = gate(
        ImageRecord(np.ones((100, 100), np.float32), (30.0, 30.0), "derived"), View.HIP_LEFT
    )
    assert seen is not None
    assert seen.code == "wrong_size"
    assert "3000 by 3000 mm" in seen.words


def test_which_way_a_lateral_image_faces_is_told_or_said_not_to_be(digital: StudyRecord) -> None:
    image = digital.images[View.SPINE_LATERAL]
    turned = replace(image, pixels=np.ascontiguousarray(np.asarray(image.pixels)[:, ::-1]))
    assert is_mirrored(image, View.SPINE_LATERAL) is False
    assert is_mirrored(turned, View.SPINE_LATERAL) is True
    both = np.nanmean([np.asarray(image.pixels), turned.pixels], axis=0)
    assert is_mirrored(replace(image, pixels=both), View.SPINE_LATERAL) is None
    noise = np.random.default_rng(1).random((430, 200), np.float32)
    assert is_mirrored(ImageRecord(noise, (1.0, 1.0), "derived"), View.SPINE_LATERAL) is None


def test_likeness_does_not_depend_on_the_window(digital: StudyRecord) -> None:
    image = digital.images[View.HIP_LEFT]
    dim = replace(image, pixels=0.1 + 0.3 * np.asarray(image.pixels, np.float32))
    first, second = even_contrast(image), even_contrast(dim)
    assert first is not None
    assert second is not None
    assert float(np.corrcoef(first.ravel(), second.ravel())[0, 1]) > 0.999


def test_only_dxa_views_have_a_gate(digital: StudyRecord) -> None:
    assert set(LIMITS) == set(DXA_VIEWS)
    assert gate(digital.images[View.SPINE_PA], View.LUMBAR_AP) is None


@needs_real_images
def test_no_real_radiograph_passes_for_a_dxa_image() -> None:
    seen = [(one.view, gate(one.image, one.view)) for one in radiographs(600)]
    assert len(seen) == 2 * 9
    assert all(why is not None for _, why in seen)

"""Quality flags find what was planted, and leave good images alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.quality import CODES, RAISED, WORDS, assess, strengths_of
from shared.quality.regions import fragment_flags, large_pieces, region_flags
from shared.records import ImageRecord, Vendor, View
from shared.regions import REGION_CODES
from tests.quality_cases import PLANTED, Case, cases
from tests.shared.standins import Standins
from tests.verify.quality import rates

SPINE = View.SPINE_PA


@pytest.fixture(scope="module")
def rendered() -> list[Case]:
    """Two digital patients of a seed on which nothing was tuned, on two scanners; one is turned."""
    wanted = {
        fault: tuple(view for view in views if view is not View.SPINE_LATERAL)
        for fault, views in PLANTED.items()
    }
    return list(cases(404, range(2, 4), wanted=wanted))


def test_what_was_planted_is_found_and_clean_images_are_left_alone(rendered: list[Case]) -> None:
    counts = rates(rendered)
    for fault in {fault for _, _, fault in counts} - {"wrong_level"}:
        lines = [line for key, line in counts.items() if key[2] == fault]
        assert sum(line[0] for line in lines) >= 0.7 * sum(line[1] for line in lines), fault
    every = np.array(list(counts.values())).sum(axis=0)
    assert every[0] / every[1] >= 0.8
    assert every[2] / every[3] <= 0.1


def test_a_finer_grid_of_pixels_raises_the_same_flags(rendered: list[Case]) -> None:
    for case in rendered[:3]:
        shown, vendor = case.shown, Vendor(case.scanner)
        pixels = np.asarray(shown.pixels, np.float32).repeat(4, axis=0).repeat(4, axis=1)
        finer = replace(
            shown,
            pixels=pixels,
            spacing_mm=(shown.spacing_mm[0] / 4, shown.spacing_mm[1] / 4),
        )
        assert assess(finer, case.view, vendor) == assess(shown, case.view, vendor)


def test_a_good_stand_in_raises_no_flag() -> None:
    source = Standins(3)
    for patient in source.patients:
        for view, image in source.studies(patient)[0].images.items():
            assert assess(image, view, Vendor.GENERIC) == ()


@pytest.mark.parametrize("view", list(View))
@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((150, 140)), np.ones((150, 140)), np.full((150, 140), np.nan),
        np.full((60, 900), 0.3), np.full((900, 60), 0.3), np.zeros((3, 3)), np.zeros((0, 0)),
        np.random.default_rng(1).random((150, 140)),
    ],
    ids=["black", "white", "unscanned", "wide", "tall", "tiny", "empty", "noise"],
)  # fmt: skip
def test_no_picture_is_too_odd_to_be_assessed(view: View, pixels: np.ndarray) -> None:
    image = ImageRecord(pixels.astype(np.float16), (1.0, 1.0), "none")
    for strength in strengths_of(image, view, Vendor.OTHER).values():
        assert 0.0 <= strength <= 1.0


@pytest.mark.parametrize("spacing", [(0.06, 0.06), (0.05, 20.0), (20.0, 0.05)])
@pytest.mark.parametrize("shape", [(12, 200), (200, 12)])
def test_a_picture_of_less_than_a_millimetre_is_not_assessed(
    spacing: tuple[float, float], shape: tuple[int, int]
) -> None:
    pixels = np.full(shape, 0.4, np.float16)
    for view in View:
        assert assess(ImageRecord(pixels, spacing, "calibrated"), view, Vendor.LUNAR) == ()


def test_the_share_that_was_not_scanned_is_what_is_objected_to() -> None:
    pixels = np.full((100, 100), 0.3, np.float32)
    for columns, expected in ((24, False), (26, True)):
        pixels[:, :columns] = np.nan
        flags = {m.flag for m in assess(ImageRecord(pixels, (1, 1), "none"), SPINE, Vendor.LUNAR)}
        assert ("unscanned_margin" in flags) == expected


def test_a_region_at_the_edge_of_the_field_is_cut_off_with_its_code() -> None:
    image = Standins(1).studies("p0000")[0].images[SPINE]
    assert image.regions is not None
    regions = image.regions.copy()
    regions[-40:, 60:100] = REGION_CODES["L4"]
    marks = assess(replace(image, regions=regions), SPINE, Vendor.GENERIC)
    assert [(mark.flag, mark.code) for mark in marks] == [("cut_off", 4)]
    assert marks[0].strength >= RAISED


def test_every_flag_has_words_and_every_code_a_flag() -> None:
    assert set(CODES) < set(WORDS)
    assert set(WORDS) == {
        "motion", "cut_off", "rotation", "metal", "unscanned_margin", "wrong_level", "saturation",
    }  # fmt: skip


def pieces(*rows: slice) -> np.ndarray:
    """L1 where the rows are, 20 pixels wide."""
    regions = np.zeros((120, 60), dtype=np.uint8)
    for one in rows:
        regions[one, 20:40] = REGION_CODES["L1"]
    return regions


@pytest.mark.parametrize(
    ("rows", "number"),
    [
        ([slice(10, 50)], 1),
        ([slice(10, 30), slice(32, 52)], 2),
        ([slice(10, 50), slice(60, 66)], 1),  # 120 of 920 pixels: an island
        ([slice(10, 50), slice(60, 70)], 2),  # 200 of 1000
        ([slice(10, 20), slice(30, 40), slice(50, 60)], 3),
        ([], 0),
    ],
)
def test_a_region_in_several_large_pieces_is_flagged(rows: list[slice], number: int) -> None:
    regions = pieces(*rows)
    assert large_pieces(regions == REGION_CODES["L1"]) == number
    flags = fragment_flags(View.SPINE_PA, regions)
    assert [(one.code, one.subject) for one in flags] == [("fragmented", "L1")] * (number > 1)
    picture = ImageRecord(np.zeros(regions.shape, np.float32), (1.0, 1.0), "calibrated")
    all_of_them = {one.code for one in region_flags(picture, View.SPINE_PA, regions)}
    assert ("fragmented" in all_of_them) == (number > 1)


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[:5, :5] = mask[5:, 5:] = True
    assert large_pieces(mask) == 1

"""The gate before every number: films of a whole body, and what else may come as a film."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.dicom.read import read_study_folder
from shared.phantom.imaging.film.examination import boxes_of, draw_films
from shared.phantom.imaging.film.geometry import FilmView
from shared.phantom.imaging.film.makers import FILM_MAKERS
from shared.records import ImageRecord, View
from shared.regions import LUMBAR
from shared.tasks.xray.bmd import CROP
from shared.tasks.xray.column import LumbarColumn, column_of_boxes
from shared.tasks.xray.crop import crop_lumbar
from shared.tasks.xray.looks import why_not_lumbar
from tests.suite.real_images import REAL_IMAGES, needs_real_images

#: Another seed than the pictures' of the gate.
SEED = 78
Films = dict[FilmView, tuple[ImageRecord, LumbarColumn]]


def why(image: ImageRecord, column: LumbarColumn) -> str:
    return why_not_lumbar(crop_lumbar(image, column, CROP["small"]))


def of_pixels(pixels: NDArray[np.float32]) -> ImageRecord:
    return ImageRecord(np.ascontiguousarray(pixels), (1.0, 1.0), "detector")


@pytest.fixture(scope="module")
def films() -> Films:
    one = draw_films(1, SEED, "generic", "near_to_life", FILM_MAKERS["edges"])
    found: Films = {}
    views: tuple[FilmView, ...] = ("ap", "lateral")
    for view in views:
        taken = one.take(view)
        boxes = [box for box in boxes_of(taken.shot.levels) if box.vertebra in LUMBAR]
        found[view] = of_pixels(taken.shown), column_of_boxes(boxes)
    return found


def test_a_frontal_film_may_be_assessed_and_a_tone_curve_is_nothing_to_it(films: Films) -> None:
    image, column = films["ap"]
    assert why(image, column) == ""
    assert why(of_pixels(np.asarray(image.pixels) ** 2), column) == ""
    assert why(of_pixels(np.asarray(image.pixels)[:, ::-1]), mirrored(image, column)) == ""


def mirrored(image: ImageRecord, column: LumbarColumn) -> LumbarColumn:
    return replace(column, middle=image.pixels.shape[1] - column.middle)


def test_a_lateral_film_is_called_one(films: Films) -> None:
    assert "lateral film" in why(*films["lateral"])


def test_an_inverted_film_is_called_one(films: Films) -> None:
    image, column = films["ap"]
    assert "inverted" in why(of_pixels(1 - np.asarray(image.pixels)), column)


def test_a_film_upside_down_is_refused(films: Films) -> None:
    image, column = films["ap"]
    height = len(image.pixels)
    turned = replace(
        mirrored(image, column), top=height - column.bottom, bottom=height - column.top
    )
    assert why(of_pixels(np.asarray(image.pixels)[::-1, ::-1]), turned) != ""


def wrong_places(image: ImageRecord, column: LumbarColumn) -> Iterator[tuple[str, LumbarColumn]]:
    """Where a network may take something for L1 to L4."""
    width = image.pixels.shape[1]
    yield "a level too high", shifted(column, -column.level)
    yield "a level too low", shifted(column, column.level)
    yield "sacrum", shifted(column, 3 * column.level)
    yield "beside the spine", replace(column, middle=column.middle - width / 3)
    yield (
        "half as large",
        replace(column, top=column.top + column.level, bottom=column.bottom - column.level),
    )


def shifted(column: LumbarColumn, rows: float) -> LumbarColumn:
    return replace(column, top=column.top + rows, bottom=column.bottom + rows)


def test_another_part_of_a_film_is_no_lumbar_spine(films: Films) -> None:
    image, column = films["ap"]
    passed = [name for name, place in wrong_places(image, column) if not why(image, place)]
    assert passed == []


def test_a_film_that_lies_on_its_side_is_refused(films: Films) -> None:
    image, column = films["ap"]
    across = image.pixels.shape[1] - column.middle
    half = 2 * column.level
    middle = (column.top + column.bottom) / 2
    lying = replace(column, top=across - half, bottom=across + half, middle=middle)
    assert why(of_pixels(np.rot90(np.asarray(image.pixels))), lying) != ""


def test_nothing_and_noise_are_no_lumbar_spine() -> None:
    column = LumbarColumn(100, 260, 120, 50, 4, named=False)
    assert why(of_pixels(np.full((400, 240), 0.5, np.float32)), column) != ""
    noise = np.random.default_rng(0).random((400, 240), np.float32)
    assert why(of_pixels(noise), column) != ""


@needs_real_images
def test_a_real_film_of_another_part_gives_no_number_wherever_vertebrae_are_said_to_be() -> None:
    """Its file is not taken for a lumbar film; even if it were, the picture is none."""
    result = read_study_folder(REAL_IMAGES / "dx_seg_sr")
    assert not [one for one in result.studies if View.LUMBAR_AP in one.images]
    from pydicom import dcmread

    paths = list((REAL_IMAGES / "dx_seg_sr").rglob("*.dcm"))
    [film] = [one for one in map(dcmread, paths) if one.get("Modality") in {"DX", "CR"}]
    pixels = film.pixel_array.astype(np.float32)
    grey = 1 - pixels / pixels.max()
    height, width = grey.shape
    for share in (0.1, 0.2, 0.3):
        for row in (0.3, 0.5, 0.7):
            level = height * share / 2
            top = height * row - 2 * level
            column = LumbarColumn(top, top + 4 * level, width / 2, level, 4, named=False)
            assert why(of_pixels(grey), column) != ""

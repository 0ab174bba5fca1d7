"""Text in pixels is seen; bones, margins, noise and markers of sides are not taken for text."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from shared.dicom.phi.burned_in import looks_burned_in
from shared.dicom.phi.burned_in_ct import slice_looks_burned_in
from shared.dicom.phi.ocr import read_text, tesseract_there
from shared.dicom.pixels.grey_values import stored_values, unit_values
from shared.dicom.scan import parse
from shared.dicom.vendors import lunar
from shared.phantom.make import render_by_name
from shared.phantom.writers.lunar import quantise
from shared.records import View
from tests.shared.ct_samples import body_slice
from tests.shared.planted import quiet_study, write_text
from tests.shared.rendered_samples import sample_study
from tests.suite.real_images import REAL_IMAGES, needs_real_images

NAMES = ("Wendelstein, Irmgard", "MRN5550123", "DOB 06.08.1947", "Name: Oberhauser")
needs_tesseract = pytest.mark.skipif(
    not tesseract_there(), reason="needs Tesseract: apt-get install tesseract-ocr"
)


def radiograph(seed: int) -> NDArray[np.float32]:
    """A soft background of slow gradients, bright blocks and a little noise."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:400, 0:360].astype(np.float32)
    image = 0.3 + 0.15 * np.sin(rows / 60) + 0.1 * np.cos(columns / 45)
    for top in range(40, 360, 60):
        image[top : top + 45, 150:215] += 0.3
    noisy = image + generator.normal(0, 0.02, image.shape)
    return (np.rint(noisy.clip(0, 1) * 254) / 255).astype(np.float32)


def smoothed(
    image: NDArray[np.float32], text: str, size: int, value: float, row: int, column: int
) -> NDArray[np.float32]:
    """Write text with smooth edges."""
    mask = Image.new("L", (image.shape[1], image.shape[0]))
    font = ImageFont.load_default(size=size)
    ImageDraw.Draw(mask).text((column, row), text, fill=255, font=font)
    share = np.asarray(mask, np.float32) / 255
    return (image * (1 - share) + share * value).astype(np.float32)


@pytest.mark.parametrize("size", [10, 13, 18, 28])
@pytest.mark.parametrize("value", [1.0, 0.0, 0.85])
def test_names_drawn_by_a_console_are_all_seen_without_ocr(size: int, value: float) -> None:
    for number, text in enumerate(NAMES):
        drawn = write_text(radiograph(number), text, size, value, 8 + 30 * number, 8)
        assert looks_burned_in(np.asarray(drawn, np.float32), tesseract=False), text


@pytest.mark.parametrize("size", [14, 18, 28])
@pytest.mark.parametrize("value", [1.0, 0.0, 0.85])
def test_names_with_smooth_edges_are_seen_without_ocr(size: int, value: float) -> None:
    seen = [
        looks_burned_in(
            smoothed(radiograph(number), text, size, value, 8 + 30 * number, 8), tesseract=False
        )
        for number, text in enumerate(NAMES)
    ]
    assert sum(map(bool, seen)) >= 3  # of 4


def test_nothing_is_seen_in_digital_patients() -> None:
    images = [
        image.display
        for maker in (quiet_study, sample_study)
        for number in range(10)
        for image in maker(number, 7, "lunar", "generic").images.values()
    ]
    for name in ("lunar", "hologic"):
        study = render_by_name(1, 5, name, "generic")
        for image in study.images.values():
            stored = quantise(image.display)
            unit = (stored / 255).astype(np.float32)
            unit[np.isnan(image.display)] = np.nan
            images.append(unit.astype(np.float32))
    assert [looks_burned_in(image.astype(np.float32)) for image in images] == [""] * len(images)


def test_a_faint_name_beside_a_white_margin_is_seen_once_that_is_blanked() -> None:
    """The margin's edges are so sharp that the name's do not count, and they are one place."""
    study = render_by_name(0, 5, "lunar", "generic")
    unit = (quantise(study.images[View.SPINE_PA].display) / 255).astype(np.float32)
    drawn = np.asarray(write_text(unit, "Wendelstein", 18, 0.6, 141, 11), np.float32)
    unscanned = lunar.unscanned(drawn)
    assert unscanned.any()
    assert not looks_burned_in(drawn, tesseract=False)
    assert looks_burned_in(drawn, unscanned=unscanned, tesseract=False)
    assert not looks_burned_in(unit, unscanned=lunar.unscanned(unit))


@pytest.mark.parametrize("marker", ["L", "R", "AP", "LAT"])
def test_a_marker_of_a_side_is_no_text(marker: str) -> None:
    drawn = write_text(radiograph(1), marker, 24, 1.0, 10, 10)
    assert looks_burned_in(np.asarray(drawn, np.float32)) == ""


def test_a_scale_bar_with_ticks_is_no_text() -> None:
    image = radiograph(2)
    for row in range(60, 300, 20):
        image[row : row + 2, 330:342] = 1.0
    image[60:300, 342:344] = 1.0
    for column in range(20, 200, 12):
        image[370:382, column : column + 2] = 1.0
    assert looks_burned_in(image, tesseract=False) == ""


def test_an_edge_of_a_collimator_is_no_text() -> None:
    image = radiograph(3)
    image[:, :40] = 0.0
    image[:25] = 0.0
    assert looks_burned_in(image) == ""


def test_what_was_not_scanned_is_no_text() -> None:
    assert looks_burned_in(np.full((64, 64), np.nan, np.float32)) == ""
    assert looks_burned_in(np.zeros((5, 5), np.float32)) == ""


@needs_tesseract
def test_text_that_runs_sideways_is_read() -> None:
    drawn = write_text(radiograph(4), "WENDELSTEIN IRMGARD", 20, 1.0, 8, 20)
    for turn in (1, -1):
        assert looks_burned_in(np.ascontiguousarray(np.rot90(drawn, turn).astype(np.float32)))


@needs_tesseract
def test_a_picture_that_is_none_reads_as_nothing() -> None:
    assert read_text(b"no picture") == ""


@needs_real_images
def test_nothing_is_seen_in_real_radiographs() -> None:
    folder = REAL_IMAGES
    dataset = parse((folder / "dx_seg_sr" / "dx_image.dcm").read_bytes(), pixels=True)
    assert looks_burned_in(unit_values(dataset, stored_values(dataset))) == ""
    pictures = sorted((folder / "xray_spine" / "valid" / "images").iterdir())[:60]
    seen = [
        looks_burned_in((np.asarray(Image.open(path).convert("L")) / 255).astype(np.float32))
        for path in pictures
    ]
    assert sum(map(bool, seen)) <= 1


@pytest.mark.parametrize("size", [10, 13, 18, 28])
@pytest.mark.parametrize("value", [3071, 1000])
def test_names_in_a_slice_are_all_seen_without_ocr(size: int, value: float) -> None:
    for number, text in enumerate(NAMES):
        for place in ((4, 40), (90 + 9 * number, 60)):  # in the air, and over the body
            drawn = write_text(body_slice(number), text, size, value, *place)
            assert slice_looks_burned_in(drawn.astype(np.int16), tesseract=False), (text, place)


def squeezed(hu: NDArray[np.generic], quality: int) -> NDArray[np.int16]:
    """A slice as a JPEG of its bone window leaves it."""
    grey = np.rint((hu.astype(np.float32).clip(-200, 1000) + 200) * 255 / 1200).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=quality)
    return np.rint(np.asarray(Image.open(file)) * 1200.0 / 255 - 200).astype(np.int16)


def test_a_name_over_bone_is_seen_in_the_full_range_only() -> None:
    hu = body_slice(1)
    hu[80:130, 20:240] = np.random.default_rng(1).normal(1400, 30, (50, 220))
    drawn = write_text(hu, NAMES[0], 18, 3071, 90, 40).astype(np.int16)
    assert slice_looks_burned_in(drawn, tesseract=False)


def test_a_name_in_a_picture_of_few_greys_is_seen_whatever_its_values_stand_for() -> None:
    for offset in (-1024, 0, 2000):
        picture = np.rint(radiograph(2) * 255).astype(np.int16) + np.int16(offset)
        drawn = write_text(picture, NAMES[3], 18, 255 + offset, 8, 8).astype(np.int16)
        assert slice_looks_burned_in(drawn, tesseract=False), offset
        assert slice_looks_burned_in(picture) == ""


@pytest.mark.parametrize("quality", [95, 80, 60])
def test_names_in_a_slice_that_was_compressed_with_loss_are_seen(quality: int) -> None:
    for number, text in enumerate(NAMES):
        clean = body_slice(number)
        pair = (clean, write_text(clean, text, 14, 1000, 4, 40))
        seen = [slice_looks_burned_in(squeezed(one, quality), lossy=True) for one in pair]
        assert (bool(seen[0]), bool(seen[1])) == (False, True), text


def test_nothing_is_seen_in_slices_without_text() -> None:
    slices = [body_slice(seed) for seed in range(8)]
    generator = np.random.default_rng(5)
    for mean in (-1024, -1000, 40):  # air that is cut off below, and tissue
        for spread in (2, 10, 40):
            noise = np.rint(generator.normal(mean, spread, (256, 256)))
            slices.append(noise.clip(-1024, 3071).astype(np.int16))
    slices.append(np.full((256, 256), -1024, np.int16))
    slices.append(np.zeros((3, 200), np.int16))
    slices += [(one // 4 * 4).astype(np.int16) for one in slices]
    assert [slice_looks_burned_in(one) for one in slices] == [""] * len(slices)


@needs_real_images
def test_nothing_is_seen_in_real_slices_nor_in_planes_across_them() -> None:
    paths = sorted((REAL_IMAGES / "ct_series_dicom").glob("CT.*"))
    slices = [stored_values(parse(path.read_bytes(), pixels=True)) for path in paths]
    hu = np.stack([one.astype(np.int32) - 1024 for one in slices]).astype(np.int16)
    across = [hu[:, place] for place in range(0, hu.shape[1], 8)]
    along = [hu[:, :, place] for place in range(0, hu.shape[2], 8)]
    found = [slice_looks_burned_in(one) for one in (*hu, *across, *along)]
    assert found == [""] * len(found)
    drawn = write_text(hu[3], NAMES[0], 13, 1000, 8, 8).astype(np.int16)
    assert slice_looks_burned_in(drawn, tesseract=False)

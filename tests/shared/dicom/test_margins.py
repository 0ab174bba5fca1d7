"""Unscanned margins of GE files, whatever bright value they have, apart from metal."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.dicom.pixels.margins import constant_margin
from shared.dicom.read import read_study_folder
from shared.quality import assess
from shared.records import View
from shared.seeds import numpy_generator
from tests.suite.real_images import REAL_IMAGES, needs_real_images


def drawn(seed: int, value: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A scan of noise and bone between margins of one value, and where the margins are."""
    generator = numpy_generator(seed, "bright margins")
    grey = generator.integers(20, 60, (200, 180))
    grey[:, 70:110] = generator.integers(180, min(value + 3, 256), (200, 40))
    margin = np.zeros(grey.shape, bool)
    for side in (margin, margin[:, ::-1]):
        row = 0
        while row < len(side):
            rows = int(generator.integers(9, 50))
            side[row : row + rows, : int(generator.integers(0, 20))] = True
            row += rows
    grey[margin] = value
    return (grey / 255).astype(np.float32), margin


@pytest.mark.parametrize("value", [255, 254, 252, 250, 240])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_margin_is_known_by_its_form_whatever_its_value(seed: int, value: int) -> None:
    unit, margin = drawn(seed, value)
    assert np.array_equal(constant_margin(unit), margin)


def test_metal_and_bone_at_an_edge_are_scanned() -> None:
    unit = np.full((120, 100), 0.2, np.float32)
    rows, columns = np.indices(unit.shape)
    unit[(abs(columns - 50) < 8) & (rows > 60)] = 1.0  # a stem that leaves through the lower edge
    unit[(rows - 30) ** 2 + columns**2 < 400] = 1.0  # bone that leaves through a side
    assert not constant_margin(unit).any()
    margin = np.zeros(unit.shape, bool)
    margin[:50, -9:] = margin[50:, -14:] = True
    unit[margin] = 1.0
    assert np.array_equal(constant_margin(unit), margin)


@needs_real_images
def test_margins_at_252_are_unscanned_and_no_metal() -> None:
    (study,) = read_study_folder(REAL_IMAGES / "cases" / "lunar_margin_252").studies
    image = study.images[View.SPINE_PA]
    assert np.isnan(image.pixels).mean() == pytest.approx(0.0893, abs=0.0005)
    flags = {mark.flag for mark in assess(image, View.SPINE_PA, study.vendor)}
    assert not flags & {"metal", "saturation"}

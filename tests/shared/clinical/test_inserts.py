"""Density by a phantom's inserts at given places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.clinical.inserts import Insert, insert_line
from shared.clinical.internal_calibration import NotCalibratedError

SPACING = (3.0, 0.8, 0.8)
#: A line of three rods in a slab of plastic.
RODS = tuple(Insert(60.0, column, 9.0, density) for column, density in
             ((40.0, 0.0), (80.0, 100.0), (120.0, 200.0)))  # fmt: skip


def phantom(hu_of_mineral: float = 1.3, offset: float = 4.0, bent: float = 0.0) -> np.ndarray:
    rows, columns = np.indices((120, 160))
    plane = np.full(rows.shape, -30.0)
    for rod in RODS:
        inside = np.hypot(rows - rod.row, columns - rod.column) * 0.8 < rod.radius_mm
        plane[inside] = offset + hu_of_mineral * rod.density + bent * (rod.density == 100)
    noise = np.random.default_rng(2).normal(0, 15, (6, *plane.shape))
    return np.rint(plane + noise).astype(np.int16)


def test_the_line_is_that_of_the_inserts() -> None:
    line, residual = insert_line(phantom(), SPACING, RODS)
    assert line.slope == pytest.approx(1.3, abs=0.02)
    assert line.density(4 + 1.3 * 130) == pytest.approx(130, abs=2)
    assert residual is not None
    assert residual < 2


def test_two_inserts_lie_on_every_line() -> None:
    line, residual = insert_line(phantom(), SPACING, RODS[::2])
    assert line.slope == pytest.approx(1.3, abs=0.02)
    assert residual is None


@pytest.mark.parametrize(
    ("inserts", "bent", "said"),
    [
        (RODS, 40.0, "off one line"),
        ((RODS[0], replace(RODS[1], column=170.0)), 0.0, "100 mg/cm³ shows 0 mm² of its inside"),
        ((RODS[0], replace(RODS[1], radius_mm=3.0)), 0.0, "100 mg/cm³ shows"),
        (RODS[:1], 0.0, "a line needs two"),
        ((RODS[0], replace(RODS[2], density=-50.0)), 0.0, "must be > 0"),
    ],
)
def test_what_gives_no_line_is_refused(inserts: tuple[Insert, ...], bent: float, said: str) -> None:
    with pytest.raises(NotCalibratedError, match=said):
        insert_line(phantom(bent=bent), SPACING, inserts)

"""Density by the inserts of a calibration phantom that lies in the field with the patient.

Where the inserts lie and what they hold must be given: phantoms differ in number, order and
material of their rods, and nothing in a series says which one it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .attenuation import DensityLine
from .internal_calibration import NotCalibratedError

#: So much of a rod's edge is left out: the kernel's blur, mm.
EDGE_MM: Final = 2.5
#: The least of a rod that is measured in a slice, mm².
LEAST_MM2: Final = 20.0
#: [U] Farther off the line of all inserts, root mean square in HU, a place or a density is wrong.
LARGEST_RESIDUAL_HU: Final = 10.0


@dataclass(frozen=True)
class Insert:
    """A rod along the table.

    Attributes
    ----------
    row, column : float
        Its axis, in pixels of the slices.
    radius_mm : float
        Of its cross-section.
    density : float
        mg/cm³ hydroxyapatite.
    """

    row: float
    column: float
    radius_mm: float
    density: float


def insert_line(
    hu: NDArray[np.int16], spacing_mm: Sequence[float], inserts: Sequence[Insert]
) -> tuple[DensityLine, float | None]:
    """Calibrate a series by inserts at given places.

    Parameters
    ----------
    hu : ndarray of int16, shape (Z, Y, X)
        Slices that hold the whole cross-section of each insert.
    spacing_mm : sequence of three floats
        Distance of voxel centres along the axes.
    inserts : sequence of Insert
        Two at least, of different density.

    Returns
    -------
    DensityLine, float or None
        The line, and how far the inserts lie off it: root mean square in HU over the degrees of
        freedom that are left. None of two inserts, which always lie on one.

    Raises
    ------
    NotCalibratedError
        If an insert is outside of the slices or too thin, two do not differ, more mineral does
        not attenuate more, or they do not lie on one line.
    """
    rows, columns = np.indices(hu.shape[1:])
    plane = hu.mean(0, dtype=np.float64)
    found: dict[float, float] = {}
    for one in inserts:
        away = np.hypot((rows - one.row) * spacing_mm[1], (columns - one.column) * spacing_mm[2])
        inside = away <= one.radius_mm - EDGE_MM
        area = float(inside.sum()) * spacing_mm[1] * spacing_mm[2]
        if area < LEAST_MM2:
            raise NotCalibratedError(
                f"the insert of {one.density:g} mg/cm³ shows {area:.0f} mm² of its inside in the "
                f"slices (must be {LEAST_MM2:g})"
            )
        found[one.density] = float(np.median(plane[inside]))
    try:
        line = DensityLine.through(found)
    except ValueError as error:
        raise NotCalibratedError(str(error)) from None
    free = len(found) - 2
    if not free:
        return line, None
    off = [value - line.offset - line.slope * density for density, value in found.items()]
    residual = math.sqrt(sum(one**2 for one in off) / free)
    if residual > LARGEST_RESIDUAL_HU:
        raise NotCalibratedError(
            f"the inserts lie {residual:.0f} HU off one line (must be at most "
            f"{LARGEST_RESIDUAL_HU:.0f}): a place or a density is wrong"
        )
    return line, residual

"""A CT of a few lines, for tests of tasks and training that need no physics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from shared.records import VolumeRecord
from shared.regions import VERTEBRA_CODES

SPACING: Final = (3.0, 3.0, 3.0)
SHAPE: Final = (84, 80, 110)
#: Way from one middle to the next, mm, and half sides of a body (Z, Y, X).
STEP_MM: Final = 33.0
HALF_MM: Final = (13.0, 15.0, 22.0)
LEVELS: Final = ("T11", "T12", "L1", "L2", "L3", "L4", "L5")


def lumbar_ct(
    generator: np.random.Generator,
    densities: Mapping[str, float] | float = 1.0,
    lowest_mm: float = 30.0,
    cortex: float | None = None,
) -> VolumeRecord:
    """Bodies with spinous processes in soft tissue on a table, ribs above, a pelvis below.

    Parameters
    ----------
    generator : Generator
    densities : mapping of str to float, or float
        What each body holds; its core has 150 HU times that.
    lowest_mm : float
        Middle of L5 above the first slice's lower edge.
    cortex : float, optional
        HU of a voxel of cortex around each body, one deep; none by default.
    """
    z, y, x = ((np.arange(size) + 0.5) * step for size, step in zip(SHAPE, SPACING, strict=True))
    deep, rows, columns = z[:, None, None], y[None, :, None], x[None, None, :]
    middle = (SHAPE[2] * SPACING[2]) / 2 + float(generator.normal(0, 3))
    hu = np.full(SHAPE, -1000.0, np.float32)
    inside = ((rows - 115) / 95) ** 2 + ((columns - middle) / 140) ** 2 < 1
    hu[np.broadcast_to(inside, SHAPE)] = 40
    hu[:, (y > 222) & (y < 228)] = 150
    regions = np.zeros(SHAPE, np.uint8)
    marks = {}
    lowest = lowest_mm + float(generator.normal(0, 3))
    for number, level in enumerate(reversed(LEVELS)):
        height = lowest + number * STEP_MM
        body = (np.abs(deep - height) < HALF_MM[0]) & (np.abs(rows - 165) < HALF_MM[1])
        body = body & (np.abs(columns - middle) < HALF_MM[2])
        process = (np.abs(deep - height + 6) < 9) & (np.abs(rows - 190) < 12)
        process = process & (np.abs(columns - middle) < 4)
        density = densities if isinstance(densities, float) else densities.get(level, 1.0)
        hu[body] = 150 * density
        if cortex is not None:
            core = (np.abs(rows - 165) < HALF_MM[1] - 3) & (
                np.abs(columns - middle) < HALF_MM[2] - 3
            )
            hu[body & ~core] = cortex
        hu[process] = 400
        regions[body | process] = VERTEBRA_CODES["volume"][level]
        if z[0] <= height <= z[-1]:
            marks[level] = int(np.argmin(np.abs(z - height)))
        if level == "T12":  # its ribs
            ribs = (np.abs(deep - height) < 9) & (np.abs(rows - 175) < 6)
            hu[ribs & (np.abs(np.abs(columns - middle) - 55) < 30)] = 800
    wings = (deep < lowest - 5) & (np.abs(rows - 170) < 25)
    hu[wings & (np.abs(np.abs(columns - middle) - 65) < 25)] = 700
    hu += generator.normal(0, 8, SHAPE)
    return VolumeRecord(
        hu.astype(np.int16), SPACING, (0.0, 0.0, 0.0), 120.0, "B31f", 3.0, False, regions, marks
    )

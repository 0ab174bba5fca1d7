"""A made-up abdomen of a few lines: four vertebrae in a body, for tests that need no physics."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from shared.records import StudyRecord, VolumeRecord
from shared.regions import LUMBAR, code_of

#: Slices, rows and columns of 4, 3 and 3 mm.
SHAPE = (24, 76, 104)
SPACING_MM = (4.0, 3.0, 3.0)
#: Slices from the middle of one vertebra to that of the next.
APART = 5
#: What the series is called.
SERIES = "1.2.3"


def spine_ct(generator: np.random.Generator) -> VolumeRecord:
    """An oval body with one column of bone whose levels touch, and a spinous process behind."""
    _, y, x = np.indices(SHAPE, sparse=True)
    middle = 52 + int(generator.integers(-3, 4))
    hu = np.full(SHAPE, -1000, np.int16)
    inside = ((y - 38) / 33) ** 2 + ((x - 52) / 46) ** 2 < 1
    hu[np.broadcast_to(inside, SHAPE)] = 30
    bone = (y >= 40) & (y < 51) & (np.abs(x - middle) < 7)
    bone |= (y >= 51) & (y < 64) & (np.abs(x - middle) < 2)
    bone = np.broadcast_to(bone, SHAPE).copy()
    hu[bone] = 250 + int(generator.integers(-60, 60))
    hu += generator.normal(0, 15, SHAPE).astype(np.int16)
    marks = {level: 19 - APART * number for number, level in enumerate(LUMBAR)}
    levels = np.array(list(marks.values()))
    nearest = np.abs(np.arange(SHAPE[0])[:, None] - levels).argmin(1)
    codes = np.array([code_of(level, "volume") for level in LUMBAR], np.uint8)
    regions = np.where(bone, codes[nearest][:, None, None], 0).astype(np.uint8)
    return VolumeRecord(hu, SPACING_MM, slice_thickness_mm=4.0, regions=regions,
                        marked_slices=marks)  # fmt: skip


def drawn_only_on(volume: VolumeRecord, slices: Collection[int]) -> np.ndarray:
    """Outlines of a volume on some slices, nothing on the others."""
    assert volume.regions is not None
    kept = np.zeros_like(volume.regions)
    kept[list(slices)] = volume.regions[list(slices)]
    return kept


def series_of(study: StudyRecord) -> VolumeRecord:
    """The study's only series."""
    [volume] = study.volumes.values()
    return volume

"""Projections of a CT series with the levels and outlines that were found in it, as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.findings.findings import RegionMap
from shared.inference.pictures.views import (
    REGION_COLOURS,
    FigureMark,
    outline,
    overlay_png,
    view_svg,
)
from shared.records import ImageRecord, View, VolumeRecord
from shared.regions import VERTEBRA_CODES

#: HU that are drawn black and white.
WINDOW_HU: Final = (-150.0, 800.0)
#: The side view goes through this much beside the middle of the field, to each side, mm: the
#: spine, not the pelvis that would hide it.
BESIDE_MM: Final = 45.0
#: Colour of a vertebra that has none among the regions of DXA.
OTHER_COLOUR: Final = "#9fb4c0"


def series_svgs(
    volume: VolumeRecord, regions: RegionMap | None, levels: Mapping[str, int], title: str
) -> tuple[str, str]:
    """Draw what is brightest from front to back and from side to side, the head above.

    Parameters
    ----------
    volume : VolumeRecord
    regions : ndarray of uint8 or None
        Outlines on the series' grid.
    levels : mapping of str to int
        Slice through the middle of each level that was found.
    title : str
        For those who cannot see it.

    Returns
    -------
    (str, str)
        ``<svg>`` from the front, column 0 the patient's right, and from the side, column 0 the
        front; no reference to anything outside.
    """
    names = ("from the front", "from the side")
    front, side = (
        view_svg(View.SPINE_PA, *_projection(volume, regions, levels, axis), f"{title}, {name}")
        for axis, name in enumerate(names, start=1)
    )
    return front, side


def series_pngs(
    volume: VolumeRecord, regions: RegionMap | None, levels: Mapping[str, int]
) -> tuple[bytes, bytes]:
    """Draw the same two pictures as `series_svgs`, as PNG files."""
    front, side = (overlay_png(*_projection(volume, regions, levels, axis)) for axis in (1, 2))
    return front, side


def _projection(
    volume: VolumeRecord, regions: RegionMap | None, levels: Mapping[str, int], axis: int
) -> tuple[ImageRecord, list[FigureMark]]:
    """Picture along an axis and what is drawn on it."""
    shown = _display(_near(volume, axis).max(axis))
    across = 2 if axis == 1 else 1
    image = ImageRecord(shown, (volume.spacing_mm[0], volume.spacing_mm[across]), "calibrated")
    return image, _outlines(regions, axis) + _lines(levels, shown.shape)


def _near(volume: VolumeRecord, axis: int) -> NDArray[np.int16]:
    """What a projection along an axis goes through."""
    if axis == 1:
        return volume.hu
    middle, beside = volume.hu.shape[2] / 2, BESIDE_MM / volume.spacing_mm[2]
    return volume.hu[:, :, max(0, round(middle - beside)) : round(middle + beside)]


def _display(brightest: NDArray[np.int16]) -> NDArray[np.float32]:
    """Grey levels in [0, 1], the head above."""
    low, high = WINDOW_HU
    return np.clip((brightest[::-1].astype(np.float32) - low) / (high - low), 0, 1)


def _lines(levels: Mapping[str, int], shape: tuple[int, ...]) -> list[FigureMark]:
    """A line across the middle third of the picture for each level."""
    left, right = shape[1] / 3, 2 * shape[1] / 3
    return [
        FigureMark(
            level,
            level,
            REGION_COLOURS.get(level, OTHER_COLOUR),
            [np.array([[left, row], [right, row]])],
            loud=True,
        )
        for level, place in levels.items()
        for row in [float(shape[0] - 1 - place)]
    ]


def _outlines(regions: RegionMap | None, axis: int) -> list[FigureMark]:
    """The shadow of each outlined vertebra."""
    if regions is None:
        return []
    found = []
    for level, code in VERTEBRA_CODES["volume"].items():
        lines = outline((regions == code).any(axis)[::-1])
        if lines:
            colour = REGION_COLOURS.get(level, OTHER_COLOUR)
            found.append(FigureMark(level, "", colour, lines, loud=False))
    return found

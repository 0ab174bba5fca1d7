"""Cleans the region maps that a network gives: islands go, vertebrae follow the spine's order."""

from __future__ import annotations

from typing import Final

import numpy as np
from torch import Tensor

from shared.findings.findings import RegionMap
from shared.records import ImageRecord
from shared.regions import REGION_CODES
from shared.tasks.pixels import Placement, frame_to_original_mm
from shared.tasks.vertebra_finding import vertebra_positions

#: A pixel farther than this from every vertebra's centre belongs to none, mm.
VERTEBRA_REACH_MM: Final = 30.0


def largest_parts(regions: RegionMap) -> RegionMap:
    """Keep the largest connected part of each region; islands are mistakes."""
    from scipy import ndimage

    cleaned = np.zeros_like(regions)
    for code in np.unique(regions[regions > 0]):
        parts, count = ndimage.label(regions == code)
        sizes = np.bincount(parts.ravel())[1 : count + 1]
        cleaned[parts == int(sizes.argmax()) + 1] = code
    return cleaned


def name_vertebrae(
    raw: RegionMap, chances: Tensor, placement: Placement, image: ImageRecord
) -> RegionMap:
    """Name the bodies of a lateral map by the order of the spine, each in one piece.

    Parameters and codes as in `nearest_bodies`, of which the largest parts are kept.
    """
    return largest_parts(nearest_bodies(raw, chances, placement, image))


def nearest_bodies(
    raw: RegionMap, chances: Tensor, placement: Placement, image: ImageRecord
) -> RegionMap:
    """Name each pixel of a lateral map by the order of the spine.

    A segmentation may call one body by two names. Each pixel of a body takes the
    name of the nearest centre of the chain that `vertebra_positions` finds.

    Parameters
    ----------
    raw : ndarray of uint8, shape (h, w)
        Region map on the original image.
    chances : Tensor, shape (17, H, W)
        Class probabilities in the frame.
    placement : Placement
    image : ImageRecord

    Returns
    -------
    ndarray of uint8, shape (h, w)
        Empty if no chain was found.
    """
    spacing = placement.spacing_mm
    centres = {
        name: frame_to_original_mm(row / spacing[0] - 0.5, column / spacing[1] - 0.5, placement)
        for name, (row, column, _) in vertebra_positions(chances, spacing).items()
    }
    rows, columns = np.nonzero(raw)
    named = np.zeros_like(raw)
    if not centres or not len(rows):
        return named
    names = list(centres)
    points = np.stack(
        [(rows + 0.5) * image.spacing_mm[0], (columns + 0.5) * image.spacing_mm[1]], axis=1
    )
    towards = points[:, None] - np.array([centres[name] for name in names])[None]  # (n, levels, 2)
    distance = np.hypot(towards[..., 0], towards[..., 1])
    codes = np.array([REGION_CODES[name] for name in names], dtype=np.uint8)
    near = distance.min(axis=1) <= VERTEBRA_REACH_MM
    named[rows[near], columns[near]] = codes[distance.argmin(axis=1)[near]]
    return named

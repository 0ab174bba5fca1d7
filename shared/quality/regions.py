"""What the regions of an image say of it: cut off, not found, in pieces, of an odd size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.records import ImageRecord, View
from shared.regions import HIP, LUMBAR, REGION_CODES, VERTEBRAE

RegionMap = NDArray[np.uint8]

#: Regions that a complete view shows.
EXPECTED_REGIONS: Final[Mapping[View, tuple[str, ...]]] = {
    View.SPINE_PA: LUMBAR,
    View.HIP_LEFT: HIP,
    View.HIP_RIGHT: HIP,
    View.SPINE_LATERAL: VERTEBRAE,
    View.LUMBAR_AP: LUMBAR,
}
#: Projected areas, cm², outside which a region was hardly segmented right
#: (generous bounds around what adults have; unverified).
PLAUSIBLE_AREA_CM2: Final[Mapping[str, tuple[float, float]]] = {
    "L1": (6.0, 26.0), "L2": (6.5, 28.0), "L3": (7.0, 30.0), "L4": (7.0, 33.0),
    "femoral_neck": (2.0, 11.0),
}  # fmt: skip
#: A few pixels at the edge are chance: this share of a region's side is not.
EDGE_SHARE: Final = 0.15
#: A piece of this share of a region is no island that a network leaves now and then.
LARGE_PIECE: Final = 0.15


@dataclass(frozen=True)
class RegionFlag:
    """One thing about one region, and its words.

    `code` is ``cut_off``, ``not_found``, ``area`` or ``fragmented``.
    """

    code: str
    subject: str
    words: str


def region_flags(image: ImageRecord, view: View, regions: RegionMap) -> tuple[RegionFlag, ...]:
    """Flags that a region map raises.

    A region that touches the edge of the picture or of the scanned field is cut off; one
    that a complete view shows and the map lacks was not found (in the lateral view only
    below T12 counts: its field varies).

    Parameters
    ----------
    image : ImageRecord
    view : View
    regions : ndarray of uint8, shape (H, W)
        In the codes of `shared.regions`, on the image's grid.
    """
    flags: list[RegionFlag] = []
    at_edge = regions[_edge(image)]
    for name in EXPECTED_REGIONS[view]:
        code = REGION_CODES[name]
        pixels = int(np.count_nonzero(regions == code))
        if not pixels:
            if view is not View.SPINE_LATERAL or name in LUMBAR:
                flags.append(RegionFlag("not_found", name, f"not found in the {view.value} image"))
            continue
        area = pixels * image.spacing_mm[0] * image.spacing_mm[1] / 100.0
        low, high = PLAUSIBLE_AREA_CM2.get(name, (0.0, np.inf))
        if view is not View.SPINE_LATERAL and not low <= area <= high:
            flags.append(RegionFlag("area", name, f"has an implausible area of {area:.1f} cm²"))
        if _at_edge(name, int(np.count_nonzero(at_edge == code)), pixels) >= EDGE_SHARE:
            flags.append(RegionFlag("cut_off", name, "reaches the edge of the scanned field"))
    return (*flags, *fragment_flags(view, regions))


def fragment_flags(view: View, regions: RegionMap) -> tuple[RegionFlag, ...]:
    """Flag the regions that lie in several large pieces: a bone is one.

    Parameters
    ----------
    view : View
    regions : ndarray of uint8, shape (H, W)
        In the codes of `shared.regions`; as a network drew it, before islands are dropped.
    """
    pieces = {name: large_pieces(regions == REGION_CODES[name]) for name in EXPECTED_REGIONS[view]}
    return tuple(
        RegionFlag("fragmented", name, f"was outlined in {number} separate pieces")
        for name, number in pieces.items()
        if number > 1
    )


def large_pieces(mask: NDArray[np.bool_]) -> int:
    """Count the connected pieces, corners included, that hold `LARGE_PIECE` of a mask or more."""
    from scipy import ndimage

    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    return int(np.count_nonzero(sizes >= LARGE_PIECE * np.count_nonzero(mask)))


def cut_off(image: ImageRecord, view: View) -> float:
    """Strength of a cut-off field by the image's own regions; a lateral field always ends."""
    if image.regions is None or view not in EXPECTED_REGIONS or view is View.SPINE_LATERAL:
        return 0.0
    regions = np.asarray(image.regions)
    at_edge = regions[_edge(image)]
    most = 0.0
    for name in EXPECTED_REGIONS[view]:
        code = REGION_CODES[name]
        pixels = int(np.count_nonzero(regions == code))
        if pixels:
            most = max(most, _at_edge(name, int(np.count_nonzero(at_edge == code)), pixels))
    return float(np.clip(0.5 * most / EDGE_SHARE, 0.0, 1.0))


def _at_edge(name: str, at_edge: int, pixels: int) -> float:
    """Pixels of a region at the edge over the side of a square of its area."""
    if name == "intertrochanteric":  # a shaft always leaves the picture
        return 0.0
    return float(at_edge / np.sqrt(pixels))


def _edge(image: ImageRecord) -> NDArray[np.bool_]:
    """The outermost pixels of what was scanned."""
    outside = ~np.isfinite(np.asarray(image.pixels, dtype=np.float32))
    edge = outside.copy()
    if outside.any():
        edge[1:] |= outside[:-1]
        edge[:-1] |= outside[1:]
        edge[:, 1:] |= outside[:, :-1]
        edge[:, :-1] |= outside[:, 1:]
    edge[[0, -1], :] = True
    edge[:, [0, -1]] = True
    return edge

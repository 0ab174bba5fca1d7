"""Quality of one image, from its pixels: what a technologist would object to.

One module a flag; each gives a strength from 0 to 1 that is 0.5 where a technologist would
object. Thresholds were set on digital patients whose faults are known, and tested on others
(docs/data-contract.md has the figures). What pixels cannot tell is not said: the lesser
trochanter of a hip and motion in a lateral view are not assessed.

============== ===================================== ===================== =====
flag           views                                 from                  code
============== ===================================== ===================== =====
motion         spine_pa, hip_left, hip_right         pixels                5
cut_off        spine_pa; any DXA view with regions   pixels, regions       4
rotation       spine_pa                              pixels
metal          spine_pa                              pixels                1
unscanned      every view                            pixels
_margin
wrong_level    spine_pa                              pixels
saturation     every view                            pixels
============== ===================================== ===================== =====
"""

from __future__ import annotations

from typing import Final

import numpy as np

from shared.quality import field, metal, motion, regions, rotation, saturation
from shared.quality.axis import spine_axis
from shared.quality.pixels import Picture, strength_of
from shared.records import ALL_DXA_VIEWS, ImageRecord, QualityMark, Vendor, View

#: From this strength on a flag is raised.
RAISED: Final = 0.5
#: NHANES DXA invalidity codes, where one fits (design: 1 objects, 4 area, 5 movement).
CODES: Final = {"metal": 1, "cut_off": 4, "motion": 5}
#: What each flag says of an image, for a report.
WORDS: Final = {
    "motion": "has lines that are shifted against each other (the patient moved)",
    "cut_off": "ends within what is to be measured",
    "rotation": "shows the spine turned about its axis",
    "metal": "shows something compact and far brighter than bone (metal or another object)",
    "unscanned_margin": "has large parts that were not scanned",
    "wrong_level": "has the iliac crests where no lumbar scan has them (count the vertebrae)",
    "saturation": "has much of the bone at the top of the grey scale",
}
#: A side of fewer pixels is no picture that anything could be told from.
SMALLEST_SIDE: Final = 48


def assess(image: ImageRecord, view: View, vendor: Vendor) -> tuple[QualityMark, ...]:
    """Find what is wrong with an image; empty = nothing was found.

    Parameters
    ----------
    image : ImageRecord
        As read: pixels in [0, 1], NaN = not scanned.
    view : View
        Its projection.
    vendor : Vendor
        Its scanner family.

    Returns
    -------
    tuple of QualityMark
        In the order of the table above, each at least `RAISED` strong.
    """
    strengths = strengths_of(image, view, vendor)
    return tuple(
        QualityMark(flag, round(strength, 3), CODES.get(flag))
        for flag, strength in strengths.items()
        if strength >= RAISED
    )


def strengths_of(image: ImageRecord, view: View, vendor: Vendor) -> dict[str, float]:
    """Strength of every flag that can be assessed in a view; parameters as in `assess`."""
    picture = Picture.of(image)
    if picture is None or min(picture.grey.shape) < SMALLEST_SIDE:
        return {}
    found = {"unscanned_margin": field.unscanned_margin(picture)}
    found["saturation"] = saturation.saturation(picture, view)
    if view in ALL_DXA_VIEWS and image.regions is not None:
        found["cut_off"] = regions.cut_off(image, view)
    if view in (View.HIP_LEFT, View.HIP_RIGHT):
        found["motion"] = motion.of_hip(picture)
    if view is View.SPINE_PA:
        found |= _of_spine(picture, vendor, found["saturation"])
        if image.regions is not None and np.any(image.regions):
            found["cut_off"] = regions.cut_off(image, view)
    return {flag: found[flag] for flag in WORDS if flag in found}


def _of_spine(picture: Picture, vendor: Vendor, saturated: float) -> dict[str, float]:
    """Flags that need the axis of the spine."""
    axis = spine_axis(picture)
    if axis is None:
        return {}
    cut_off, wrong_level = field.of_spine(picture, axis)
    found = {
        "motion": motion.of_spine(picture, axis),
        "cut_off": cut_off,
        "rotation": rotation.rotation(picture, axis),
        "wrong_level": wrong_level,
    }
    # Where bone itself is at the ceiling, metal does not stand out from it.
    found["metal"] = metal.metal(picture, axis, vendor) if saturated < RAISED else 0.0
    return found


__all__ = ["CODES", "RAISED", "WORDS", "assess", "strength_of", "strengths_of"]

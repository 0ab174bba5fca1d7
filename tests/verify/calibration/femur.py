"""What projection makes of a femur's densities: areal BMD a part, by small changes of each.

It knows the solid femur and the outline of the regions, and nothing of persons. When the femur
changes, the table is made again (``python -m tests.verify.calibration``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from shared.phantom.imaging.dxa.placed import landmarks_of
from shared.phantom.imaging.outlines import hip_regions
from shared.phantom.imaging.projection import Frame
from shared.phantom.person.densities import FEMUR_BASE
from shared.phantom.solids.bone import mineral_of
from shared.phantom.solids.bones.femur import FemurForm, FemurMineral, place_femur
from shared.phantom.solids.distance import Floats, floats, vector
from shared.phantom.solids.lattice import straight
from shared.records import View
from shared.regions import codes_of

SITES: Final = ("femoral_neck", "total_hip")
#: Densities about which the changes are made: those of an index of 1; the change, as a share.
AT: Final = FemurMineral(**{name: base for name, (base, _, _) in FEMUR_BASE.items()})
STEP: Final = 0.2
#: Steps along the rays, mm.
ALONG: Final = 1.5
FRAME: Final = Frame(View.HIP_LEFT, -45.0, -45.0, (160, 150), (1.0, 1.0))


def _image(size: float, mineral: FemurMineral) -> Floats:
    femur = place_femur(FemurForm(size=size), vector(0, 0, 0), left=True, mineral=mineral)
    lattice = straight(FRAME.rows, FRAME.columns, floats(np.arange(-45, 46, ALONG)))
    return floats(mineral_of([femur.bone], lattice).sum(axis=2) * np.float32(ALONG / 10))


def femoral_parts(size: float) -> dict[str, dict[str, float]]:
    """Areal BMD of neck and total hip by part.

    Cores for each g/cm³ of their mean density, cortices for a factor of 1 on the template's
    thickness, and what these leave.

    Returns
    -------
    dict
        By site, then by part, g/cm².
    """
    whole = _image(size, AT)
    femur = place_femur(FemurForm(size=size), vector(0, 0, 0), left=True, mineral=AT)
    # regions of the same outline for all
    codes = hip_regions(landmarks_of(femur), FRAME, whole)
    inside = {site: np.isin(codes, codes_of(site)) for site in SITES}
    found: dict[str, dict[str, float]] = {site: {} for site in SITES}
    for part in FEMUR_BASE:
        base = getattr(AT, part)
        more = _image(size, replace(AT, **{part: base * (1 + STEP)}))
        for site in SITES:
            change = float((more - whole)[inside[site]].mean(dtype=np.float64))
            found[site][part] = change / (base * STEP)
    for site in SITES:
        known = sum(value * getattr(AT, part) for part, value in found[site].items())
        found[site]["rest"] = float(whole[inside[site]].mean(dtype=np.float64)) - known
    return found

"""What projection makes of a femur's densities.

A stand-in: masses of the first generator's cloud of points, by cortex and core and by place.
With a solid femur this module alone changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from shared.phantom.anatomy.femur import FemurCloud, FemurShape, place_femur
from shared.phantom.anatomy.solid import Floats, floats
from shared.phantom.imaging.outlines import hip_regions
from shared.phantom.imaging.projection import Frame, project
from shared.phantom.truth import landmarks_of
from shared.records import View
from shared.regions import codes_of

#: Where head, neck and the rest meet, mm from the head's centre along the neck.
HEAD_END: Final = 18.0
NECK_END: Final = 42.0
#: Trabecular bone counts down to here below the head's centre, mm; marrow is below.
METAPHYSIS: Final = 80.0
SITES: Final = ("femoral_neck", "total_hip")


def _areal(cloud: FemurCloud, mass: Floats) -> dict[str, float]:
    frame = Frame(View.HIP_LEFT, -45.0, -45.0, (160, 150), (1.0, 1.0))
    own = project(frame, cloud.points, cloud.mass)
    codes = hip_regions(landmarks_of(cloud), frame, own)
    image = project(frame, cloud.points, mass)
    return {site: float(image[np.isin(codes, codes_of(site))].mean()) for site in SITES}


def femoral_parts(size: float) -> dict[str, dict[str, float]]:
    """Areal BMD of neck and total hip by part.

    Cores for each g/cm³ of their mean density, cortices for a factor of 1 on the template's
    thickness; `neck_cortex` is that of the neck's box alone.

    Returns
    -------
    dict
        By site, then by part, g/cm².
    """
    cloud = place_femur(FemurShape(size=size), floats([0.0, 0.0, 0.0]))
    core = _is_core(cloud)
    below = cloud.points[:, 2] / size
    place = {
        "head_core": core & (cloud.along < HEAD_END),
        "neck_core": core & (cloud.along >= HEAD_END) & (cloud.along < NECK_END),
        "trochanter_core": core & (cloud.along >= NECK_END) & (below < METAPHYSIS),
        "neck_cortex": ~core & (cloud.along >= HEAD_END) & (cloud.along < NECK_END),
    }
    place["cortex"] = ~core & ~place["neck_cortex"]
    volume = 1.6**3 * size**3 * 1e-3
    found: dict[str, dict[str, float]] = {site: {} for site in SITES}
    for part, chosen in place.items():
        areal = _areal(cloud, np.where(chosen, cloud.mass, 0).astype(np.float32))
        mean = float(cloud.mass[chosen].sum() / (chosen.sum() * volume)) if "core" in part else 1.0
        for site in SITES:
            found[site][part] = areal[site] / mean
    whole = _areal(cloud, cloud.mass)
    for site in SITES:
        parts: Mapping[str, float] = found[site]
        means = {
            part: float(cloud.mass[place[part]].sum() / (place[part].sum() * volume))
            if "core" in part
            else 1.0
            for part in parts
        }
        known = sum(value * means[part] for part, value in parts.items())
        found[site]["rest"] = whole[site] - known
    return found


def _is_core(cloud: FemurCloud) -> np.ndarray:
    """Points of the cloud that are core: it lists the surface first."""
    from shared.phantom.anatomy.femur import _template

    solid, _, _ = _template()
    chosen = np.zeros(len(cloud.mass), bool)
    chosen[len(solid.surface) :] = True
    return chosen

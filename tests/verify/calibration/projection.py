"""What projection makes of a spine's densities: areal BMD a part, by small changes of each.

It knows the solid vertebra and the outline of the regions, and nothing of persons. When the
shape of the vertebra changes, this is made again (`python -m tests.verify.calibration`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Final, cast

import numpy as np

from shared.phantom.anatomy.body import SAGITTAL, Anatomy, PlacedVertebra
from shared.phantom.anatomy.vertebra import (
    LUMBAR_BODY,
    VertebraCloud,
    VertebraShape,
    body_size,
    lumbar_distance,
)
from shared.phantom.imaging.projection import Frame
from shared.phantom.solids.bone import Bone, mineral_of
from shared.phantom.solids.bones import vertebra as prototype
from shared.phantom.solids.distance import Floats, floats, smoothstep
from shared.phantom.solids.lattice import straight
from shared.phantom.solids.template import Template, sample_template
from shared.phantom.truth import spine_regions
from shared.records import View
from shared.regions import LUMBAR, REGION_CODES

NAMES: Final = ("T12", *LUMBAR, "L5")
#: Thickness of the template's walls, end plates and posterior cortex at factor 1, mm.
THICKNESS: Final = {"wall": 0.42, "plates": 0.56, "posterior": 0.77}
#: Densities about which the changes are made: core in g/cm³, factors on the thicknesses.
AT: Final = {"core": 0.117, "wall": 1.0, "plates": 1.0, "posterior": 1.5}
SPACING: Final = 1.0
ALONG: Final = 1.5


@lru_cache(maxsize=16)
def _template(wall: float, plates: float, posterior: float) -> Template:
    _, half_depth, height = LUMBAR_BODY

    def traits(points: Floats, _: Floats) -> Floats:
        y, z = points[:, 1], np.abs(points[:, 2])
        behind = smoothstep(y, half_depth - 1.0, half_depth + 4.0)
        ends = smoothstep(z, height / 2 - 4, height / 2 - 1.5)
        body = THICKNESS["wall"] * wall * (1 - ends) + THICKNESS["plates"] * plates * ends
        thick = body * (1 - behind) + THICKNESS["posterior"] * posterior * behind
        share = 1 + 0.35 * smoothstep(z, height / 2 - 6, height / 2 - 1)
        share = share * (1 - behind) + 1.4 * posterior * behind
        return floats(np.stack([thick, share], axis=1))

    return sample_template(lumbar_distance, (-52, -24, -34), (52, 76, 38), traits)


@dataclass(frozen=True)
class Parts:
    """Areal BMD by region and part, g/cm², and the regions' areas, cm².

    `core` and `arch_core` for each g/cm³ of core (the latter times the posterior factor), the
    rest for a factor of 1.
    """

    values: Mapping[str, Mapping[str, float]]
    area: Mapping[str, float]


def _placed(scale: float, width: float, depth: float, height: float) -> dict[str, PlacedVertebra]:
    """T12 to L5 of a straight back, sizes as factors on the design's men."""
    found: dict[str, PlacedVertebra] = {}
    centre = np.zeros(3)
    for name in reversed(NAMES):
        w, d, h, disc = (v * scale for v in body_size(name))
        h, disc = h * height, disc * height
        shape = VertebraShape(name, w * width, d * depth, h, h, h, h)
        angle = math.radians(0.92 * SAGITTAL[name])
        cos, sin = math.cos(angle), math.sin(angle)
        rotation = floats(np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]]))
        down = np.array([0.0, sin, cos])
        if found:
            centre = centre - down * (h / 2)
        empty = floats(np.zeros((0, 3)))
        cloud = VertebraCloud(empty, floats([]), empty, floats([]))
        found[name] = PlacedVertebra(shape, rotation, floats(centre), disc, cloud)
        above = {"L5": 11.0, "L4": 10.5, "L3": 9.5, "L2": 8.5, "L1": 7.0}.get(name, 7.0)
        centre = centre - down * (h / 2 + above * scale * height)
    return found


def _bones(placed: Mapping[str, PlacedVertebra], at: Mapping[str, float]) -> list[Bone]:
    template = _template(at["wall"], at["plates"], at["posterior"])
    return [
        replace(
            prototype.make(one.shape, one.rotation, one.centre, 1.0, at["core"]), template=template
        )
        for one in placed.values()
    ]


def _areal(
    placed: Mapping[str, PlacedVertebra], at: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Areal BMD and area of L1..L4."""
    top = float(placed["T12"].centre[2]) - 5
    bottom = float(placed["L5"].centre[2]) + 5
    shape = (int((bottom - top) / SPACING), int(100 / SPACING))
    frame = Frame(View.SPINE_PA, top, -50.0, shape, (SPACING, SPACING))
    codes = spine_regions(cast(Anatomy, SimpleNamespace(vertebrae=placed)), frame)
    ways = floats(np.arange(-60, 110, ALONG))
    volume = mineral_of(_bones(placed, at), straight(frame.rows, frame.columns, ways))
    image = volume.sum(axis=2) * (ALONG / 10)
    inside = {level: codes == REGION_CODES[level] for level in LUMBAR}
    areal = {level: float(image[mask].mean()) for level, mask in inside.items()}
    return areal, {level: float(mask.sum()) * SPACING**2 / 100 for level, mask in inside.items()}


def parts_of(scale: float, width: float = 1.0, depth: float = 1.0, height: float = 1.0) -> Parts:
    """Areal BMD of L1..L4 by part, for one size of spine."""
    placed = _placed(scale, width, depth, height)
    base, area = _areal(placed, AT)

    def changed(**at: float) -> dict[str, float]:
        return _areal(placed, {**AT, **at})[0]

    core = changed(core=AT["core"] + 0.03)
    wall = changed(wall=AT["wall"] + 0.2)
    plates = changed(plates=AT["plates"] + 0.2)
    posterior = changed(posterior=AT["posterior"] + 0.3)
    both = changed(posterior=AT["posterior"] + 0.3, core=AT["core"] + 0.03)
    values: dict[str, dict[str, float]] = {}
    for level in LUMBAR:
        slope = (core[level] - base[level]) / 0.03
        arch = (both[level] - posterior[level]) / 0.03 - slope
        arch_core = max(arch / 0.3, 0.0)
        values[level] = {
            "core": slope - arch_core * AT["posterior"],
            "arch_core": arch_core,
            "wall": (wall[level] - base[level]) / 0.2,
            "plates": (plates[level] - base[level]) / 0.2,
            "posterior": (posterior[level] - base[level]) / 0.3 - arch_core * AT["core"],
        }
        known = (
            sum(values[level][part] * AT[part] for part in ("core", "wall", "plates", "posterior"))
            + arch_core * AT["core"] * AT["posterior"]
        )
        values[level]["rest"] = base[level] - known
    return Parts(values, area)


def exponents_of(scale: float) -> dict[str, tuple[float, float, float]]:
    """By which powers of width, depth and height each part's areal BMD goes, mean of L1..L4."""
    step = 0.08
    base = parts_of(scale)
    grown = [
        parts_of(scale, **cast(Any, {side: 1 + step})) for side in ("width", "depth", "height")
    ]
    found = {}
    for part in ("core", "wall", "plates", "posterior"):
        powers = []
        for one in grown:
            ratio = [one.values[k][part] / base.values[k][part] for k in LUMBAR]
            powers.append(math.log(float(np.mean(ratio))) / math.log(1 + step))
        found[part] = (powers[0], powers[1], powers[2])
    return found

"""What projection makes of a spine's densities: areal BMD a part, by small changes of each.

It knows the solid vertebra and the outline of the regions, and nothing of persons. When the
vertebra changes, the table is made again (``python -m tests.verify.calibration``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.phantom.imaging.outlines import spine_regions
from shared.phantom.imaging.projection import Frame
from shared.phantom.person.person import Person
from shared.phantom.solids.bone import mineral_of
from shared.phantom.solids.bones.vertebra import BodyMineral, BodyShape, body_size
from shared.phantom.solids.distance import floats
from shared.phantom.solids.lattice import straight
from shared.phantom.solids.spine import (
    PROCESS_LENGTH,
    SpineBody,
    SpineForm,
    stack_spine,
    taper_of,
)
from shared.records import View
from shared.regions import LUMBAR, REGION_CODES

NAMES: Final = ("T12", *LUMBAR, "L5")
PARTS: Final = ("core", "wall", "plate", "arch")
#: Densities about which the changes are made (core in g/cm³, the rest factors), and the changes.
AT: Final = {"core": 0.115, "wall": 1.2, "plate": 1.6, "arch": 1.2}
STEP: Final = {"core": 0.03, "wall": 0.3, "plate": 0.4, "arch": 0.4}
#: Pixels of the picture and steps along the ray, mm.
PIXEL: Final = 1.0
ALONG: Final = 1.5


@dataclass(frozen=True)
class Parts:
    """Areal BMD by level and part, g/cm², and the levels' areas, cm².

    `core` and `arch_core` for each g/cm³ of core (the latter times the factor of the arch), the
    rest for a factor of 1, and what these leave.
    """

    values: Mapping[str, Mapping[str, float]]
    area: Mapping[str, float]


def _shapes(scale: float, width: float, depth: float, height: float) -> dict[str, BodyShape]:
    """T12 to L5, sizes as factors on the design's men."""
    found = {}
    for name in NAMES:
        w, d, h, _ = (v * scale for v in body_size(name))
        taper = taper_of(name)
        h *= height
        found[name] = BodyShape(
            level=name,
            width=w * width,
            depth=d * depth,
            anterior=h * taper,
            middle=h * (1 + taper) / 2,
            posterior=h,
            healthy=h,
            process=PROCESS_LENGTH[name],
        )
    return found


def _areal(
    shapes: Mapping[str, BodyShape], minerals: Mapping[str, BodyMineral]
) -> tuple[dict[str, float], dict[str, float]]:
    """Areal BMD and area of L1..L4."""
    placed = stack_spine(shapes, minerals, SpineForm())
    frame = _frame(placed)
    codes = spine_regions(placed, frame)
    ways = floats(np.arange(-60, 110, ALONG))
    bones = [one.bone for one in placed.values()]
    volume = mineral_of(bones, straight(frame.rows, frame.columns, ways))
    image = volume.sum(axis=2) * (ALONG / 10)
    inside = {level: codes == REGION_CODES[level] for level in LUMBAR}
    areal = {level: float(image[mask].mean()) for level, mask in inside.items()}
    return areal, {level: float(mask.sum()) * PIXEL**2 / 100 for level, mask in inside.items()}


def _alike(**at: float) -> dict[str, BodyMineral]:
    """Vertebrae of the same densities, those of `AT` unless said otherwise."""
    return dict.fromkeys(NAMES, BodyMineral(**{**AT, **at}))


def _frame(placed: Mapping[str, SpineBody]) -> Frame:
    top = float(placed["T12"].centre[2]) - 5
    bottom = float(placed["L5"].centre[2]) + 5
    shape = (int((bottom - top) / PIXEL), int(100 / PIXEL))
    return Frame(View.SPINE_PA, top, -50.0, shape, (PIXEL, PIXEL))


def parts_of(scale: float, width: float = 1.0, depth: float = 1.0, height: float = 1.0) -> Parts:
    """Areal BMD of L1..L4 by part, for one size of spine.

    Parameters
    ----------
    scale : float
        Overall size as a share of the design's men.
    width, depth, height : float
        Further factors on each side of the bodies.
    """
    shapes = _shapes(scale, width, depth, height)
    base, area = _areal(shapes, _alike())
    one = {part: _areal(shapes, _alike(**{part: AT[part] + STEP[part]}))[0] for part in PARTS}
    more_of_both = {part: AT[part] + STEP[part] for part in ("core", "arch")}
    both, _ = _areal(shapes, _alike(**more_of_both))
    values: dict[str, dict[str, float]] = {}
    for level in LUMBAR:
        slope = {part: (one[part][level] - base[level]) / STEP[part] for part in PARTS}
        more = (both[level] - one["arch"][level]) / STEP["core"] - slope["core"]
        arch_core = max(more / STEP["arch"], 0.0)
        slope["core"] -= arch_core * AT["arch"]
        slope["arch"] -= arch_core * AT["core"]
        known = sum(slope[part] * AT[part] for part in PARTS)
        known += arch_core * AT["core"] * AT["arch"]
        values[level] = {**slope, "arch_core": arch_core, "rest": base[level] - known}
    return Parts(values, area)


def exponents_of(scale: float) -> dict[str, tuple[float, float, float]]:
    """By which powers of width, depth and height each part's areal BMD goes, mean of L1..L4."""
    step = 1.08
    base = parts_of(scale)
    grown = (
        parts_of(scale, width=step),
        parts_of(scale, depth=step),
        parts_of(scale, height=step),
    )
    found = {}
    for part in PARTS:
        before = np.mean([base.values[level][part] for level in LUMBAR])
        after = (np.mean([one.values[level][part] for level in LUMBAR]) for one in grown)
        width, depth, height = (math.log(value / before) / math.log(step) for value in after)
        found[part] = (width, depth, height)
    return found


def projected_areal(person: Person) -> dict[str, float]:
    """Areal BMD of a person's L1..L4 by projection, with facets and sclerosis, g/cm².

    Sizes and densities are the person's; osteophytes, calcium and fractures are left out.
    """
    shapes, minerals = {}, {}
    for name in NAMES:
        size, density, wear = person.sizes.levels[name], person.levels[name], person.worn(name)
        w, d, h, _ = body_size(name)
        h, taper = h * size.height, taper_of(name) * size.taper
        shapes[name] = BodyShape(
            level=name,
            width=w * size.width,
            depth=d * size.depth,
            anterior=h * taper,
            middle=h * (1 + taper) / 2,
            posterior=h,
            healthy=h,
            lean=size.lean,
            process=PROCESS_LENGTH[name] * size.process,
        )
        minerals[name] = BodyMineral(
            density.core, density.wall, density.plate + wear.sclerosis, density.arch + wear.facets
        )
    return _areal(shapes, minerals)[0]

"""Organs of the belly and the pelvis.

Sizes and places [U]. They are cut off at the diaphragm and at the wall; liver and spleen are
enlarged until they have the volume that was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..tissue import Tissue, tissue
from .bowel import build_bowel
from .chest import Rooms
from .course import Physique, SpineCourse
from .slab import Slab, within
from .slab_shapes import ball, band, topped, turned
from .trunk import Trunk


def _sized(make: Callable[[float], Slab], volume: float, low: float, high: float) -> Slab:
    """Solid of a given volume (ml) by bisection on what grows it."""
    for _ in range(9):
        middle = (low + high) / 2
        if make(middle).volume / 1000 < volume:
            low = middle
        else:
            high = middle
    return make((low + high) / 2)


def build_belly(
    course: SpineCourse, trunk: Trunk, rooms: Rooms, physique: Physique, rng: np.random.Generator
) -> list[Tissue]:
    """Diaphragm, fat and the organs of belly and pelvis, in order."""
    found = [tissue("diaphragm", rooms.diaphragm), tissue("visceral_fat", rooms.belly)]
    found += build_bowel(course, trunk, rooms, physique, rng)
    found += _upper_organs(course, trunk, rooms, physique, rng)
    found += _pelvic_organs(course, trunk, rooms, physique, rng)
    return found


def _upper_organs(
    course: SpineCourse, trunk: Trunk, rooms: Rooms, physique: Physique, rng: np.random.Generator
) -> list[Tissue]:
    """Liver, gall bladder, stomach, spleen, pancreas, adrenals, kidneys."""
    size = course.size
    at = trunk.cavity.at((rooms.dome_right + course.z_of("L1")) / 2)
    wide, deep = at["wide"], at["front"] + at["back"]
    y = at["y"] + (at["back"] - at["front"]) / 2
    heavy = float(np.clip(1 + 0.012 * (physique.bmi - 24), 0.92, 1.15))
    volume = 1480 * size**2 * heavy * float(np.exp(rng.normal(0, 0.08)))
    volume = float(np.clip(volume, 1430, 1790))
    top = rooms.dome_right

    # Left lobe: a wedge across the middle, in front.
    lean = turned("y", 0.18)
    left = ball((at["x"] + 2, y - 0.24 * deep, rooms.dome_left + 24 * size),
                np.array([0.56 * wide, 0.27 * deep, 30 * size]), lean)  # fmt: skip
    left = within(left, rooms.belly, 0.7)

    def right_lobe(reach: float) -> Slab:
        centre = (at["x"] - 0.56 * wide, y - 3, top - 12 + reach)
        lobe = ball(centre, np.array([0.60 * wide, 0.66 * deep, reach]), turned("y", 0.10))
        return within(lobe, rooms.belly, 0.7)

    right = _sized(right_lobe, volume - 0.45 * left.volume / 1000, 40 * size, 150 * size)
    caudate = ball((at["x"] - 20 * size, y + 0.06 * deep, top + 44 * size),
                   np.array([20, 24, 26]) * size)  # fmt: skip
    end = right.box[1][2]
    bile = ball((at["x"] - 0.38 * wide, y - 0.27 * deep, end - 42 * size),
                np.array([14, 17, 27]) * size, turned("x", 0.5))  # fmt: skip
    place = (at["x"] + 0.42 * wide, y - 0.12 * deep, rooms.dome_left + 44 * size)
    full = float(rng.uniform(0.85, 1.15))
    axes = turned("y", -0.35)

    def stomach_in(inset: float) -> Slab:
        radii = np.array([0.32 * wide, 0.30 * deep, 58 * size]) * full - inset
        return within(ball(place, radii, axes), rooms.belly, 2 + inset)

    antrum = [
        within(band(np.array([-22, 10, 40]) * size + at["x"], [y - 0.22 * deep] * 3,
                    rooms.dome_left + np.array([92, 100, 84]) * size,
                    np.array([12, 15, 17]) * size - inset, np.array([12, 16, 18]) * size - inset),
               rooms.belly, 3 + inset)
        for inset in (0.0, 4.0)
    ]  # fmt: skip
    lumen = stomach_in(4.0)
    spleen_volume = float(np.clip(190 * size**1.5 * np.exp(rng.normal(0, 0.14)), 146, 236))

    def spleen_of(scale: float) -> Slab:
        centre = (at["x"] + 0.84 * wide, y + 0.24 * deep, rooms.dome_left + 50 * size)
        body = ball(centre, np.array([26, 42, 52]) * scale, turned("z", -0.55))
        return within(body, rooms.belly, 1.0)

    spleen = _sized(spleen_of, spleen_volume, 0.6, 2.0)
    found = [
        tissue("stomach_wall", stomach_in(0.0), antrum[0]),
        tissue("stomach_contents", lumen, antrum[1]),
        tissue("gas", topped(lumen, float(rng.uniform(0.15, 0.45)) * min(physique.gas, 1.3))),
        tissue("liver", right, left, within(caudate, rooms.belly, 3)),
        tissue("bile", bile),
        tissue("spleen", spleen),
    ]
    l1, l2 = course.z_of("L1"), course.z_of("L2")
    x, spine_y = course.centre_at([l1, l2])
    body = course.body_at([l1, l2])[1]
    before = spine_y - body - 30 * size
    ps = np.array([-32, 0, 35, 70]) * size
    pancreas = band(ps + float(x[0]), before[0] + np.array([-14, -12, 2, 24]) * size,
                    l1 + np.array([22, 8, 0, -10]), np.array([13, 8, 9, 7]) * size,
                    np.array([18, 11, 12, 9]) * size)  # fmt: skip
    found.append(tissue("pancreas", pancreas))
    adrenals, kidneys, hollows = [], [], []
    for side, height in (
        (1.0, course.z_of("L1") + 10 * size),
        (-1.0, course.z_of("L2") - 8 * size),
    ):
        cx, cy = (float(v) for v in course.centre_at(height))
        half = float(course.body_at(height)[0])
        volume = float(np.clip(192 * size * np.exp(rng.normal(0, 0.06)), 174, 206))
        k = (volume * 1000 / (4 / 3 * math.pi * 27 * 24 * 56)) ** (1 / 3)
        axes = turned("z", side * 0.65) @ turned("y", side * 0.17) @ turned("x", 0.12)
        middle = np.array([cx + side * (half + 39 * size), cy + 1 * size, height])
        kidneys.append(ball(middle, np.array([27, 24, 56]) * k, axes))
        inward = axes @ np.array([-side, 0, 0])
        inner, rim = middle + inward * 9 * k, middle + inward * 20 * k
        hollows.append(ball(inner, np.array([9, 7, 24]) * k, axes))
        hollows.append(ball(rim, np.array([12, 6, 12]) * k, axes))
        over = middle + np.array([-side * 20, -6, -50 * size])
        adrenals.append(ball(over, (4.5, 13 * size, 15 * size), turned("z", side * 0.4)))
    found += [
        tissue("adrenal", *adrenals),
        tissue("kidney", *(within(one, rooms.belly, 1.0) for one in kidneys)),
        tissue("visceral_fat", *hollows),
    ]
    return found


def _pelvic_organs(
    course: SpineCourse, trunk: Trunk, rooms: Rooms, physique: Physique, rng: np.random.Generator
) -> list[Tissue]:
    """Bladder, uterus or prostate."""
    size, x = course.size, course.middle_x
    _, hip_y, hip_z = course.hip
    radius = (3000 * max(physique.bladder, 20) / (4 * math.pi)) ** (1 / 3)
    radii = np.array([1.16, 0.95, 0.91]) * radius
    place = (x, hip_y - 14 * size + 0.2 * radius, hip_z + 24 * size - 0.95 * radius)
    if physique.is_woman:
        organ = ball((x + rng.normal(0, 5), hip_y + 24 * size, hip_z - 22 * size),
                     np.array([27, 20, 34]) * size, turned("x", 0.5))  # fmt: skip
    else:
        organ = ball((x, hip_y - 2 * size, hip_z + 31 * size), np.array([23, 17, 18]) * size)
    return [
        tissue("pelvic_organ", organ),
        tissue("bladder_wall", within(ball(place, radii + 3.0), rooms.belly, 1.0)),
        tissue("urine", within(ball(place, radii), rooms.belly, 4.0)),
    ]

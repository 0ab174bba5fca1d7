"""Skeletal muscle: each that a muscle index, a region of interest or a film needs.

Sizes are those of men and women of average build [U]; an amount of a person scales the area of
a section, whatever the height of the slice.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ..distance import floats
from ..tissue import Tissue, tissue
from .course import Physique, SpineCourse
from .limbs import arm_tubes, blade_muscles, shoulder_solids, thigh_tubes
from .slab import Slab, between, clipped, grid, grid_of, slab, within
from .slab_shapes import ball, tube
from .trunk import ROW, Trunk, rectus_thickness

#: Women's muscle beside men's at the same size of the skeleton, as a share of the area [U].
WOMEN: Final = {"psoas": 0.84, "paraspinal": 0.92, "quadratus": 0.86, "gluteal": 0.90}
#: Power of the amount, where muscles cover each other: what is seen then follows it [fitted].
COVERED: Final = {"paraspinal": 1.23, "quadratus": 1.6}
SIDES: Final = (1.0, -1.0)


def _scale(course: SpineCourse, physique: Physique, muscle: str) -> float:
    """Factor on half axes in mm of an average man."""
    share = WOMEN.get(muscle, 0.85) if physique.is_woman else 1.0
    amount = physique.amount(muscle) ** COVERED.get(muscle, 1.0)
    return course.size * math.sqrt(share * amount)


def psoas(course: SpineCourse, trunk: Trunk, physique: Physique) -> list[Slab]:
    """Both psoas muscles from T12/L1, growing downwards, to the lesser trochanter."""
    k, size = _scale(course, physique, "psoas"), course.size
    apart, hip_y, hip_z = course.hip
    names = ("L1", "L2", "L3", "L4", "L5")
    heights = [course.z_of(name) for name in names]
    z = np.array(
        [heights[0] - 16 * size, *heights, trunk.crest + 65 * size, hip_z, hip_z + 50 * size]
    )
    wide = np.array([3, 10, 14.5, 18, 20.5, 20, 19, 18, 9]) * k
    deep = np.array([3, 9, 16, 21.5, 24, 22, 18, 14, 9]) * k
    centre_x, centre_y = course.centre_at(heights)
    half, _ = course.body_at(heights)
    out = half * np.array([0.95, 0.86, 0.82, 0.80, 0.80]) + wide[1:6] * 0.86
    rise = np.array([6, 6, 4, 0, -12]) * size
    x = np.concatenate([[half[0] * 0.92], out, [out[-1] + 17 * size, apart - 8 * size, apart]])
    back = np.concatenate([[centre_y[0] + 6 * size], centre_y + rise])
    ahead = 0.45 * float(back[-1]) + 0.55 * (hip_y - 38 * size)
    y = np.concatenate([back, [min(ahead, float(back[-1]) - 12), hip_y - 37 * size, hip_y + 8]])
    middle = np.concatenate([[centre_x[0]], centre_x, [course.middle_x] * 3])
    turn = np.array([0.0, 0.1, 0.25, 0.35, 0.4, 0.5, 0.3, 0.1, 0.0])
    return [
        tube(z, middle + side * x, y, wide, deep, -side * turn, spacing=(2.0, 4.0))
        for side in SIDES
    ]


def iliacus(course: SpineCourse, trunk: Trunk, physique: Physique) -> list[Slab]:
    """Both iliacus muscles on the inside of the iliac wings."""
    k, size = _scale(course, physique, "psoas"), course.size
    apart, hip_y, hip_z = course.hip
    z = np.array([trunk.crest + 12, trunk.crest + 45 * size, trunk.crest + 90 * size, hip_z - 10])
    x = np.array([apart + 18 * size, apart + 7 * size, apart - 6 * size, apart + 2])
    y = np.array([hip_y + 12, hip_y + 2, hip_y - 14, hip_y - 36])
    return [
        tube(
            z, course.middle_x + side * x, y, np.array([6, 10, 13, 9]) * k,
            np.array([24, 34, 28, 10]) * k, side * np.array([-0.35, -0.4, -0.5, -0.2]),
        )
        for side in SIDES
    ]  # fmt: skip


def paraspinal(course: SpineCourse, trunk: Trunk, physique: Physique) -> list[Slab]:
    """Erector spinae and multifidus on both sides, from C7 to the sacrum."""
    k, size = _scale(course, physique, "paraspinal"), course.size
    _, _, hip_z = course.hip
    names = ("C7", "T2", "T5", "T8", "T11", "T12", "L2", "L3", "L4", "L5")
    heights = [course.z_of(name) for name in names]
    end = hip_z - 30 * size
    z = np.array([heights[0] - 30, *heights, heights[-1] + 0.5 * (end - heights[-1]), end])
    spine_x, spine_y = course.centre_at(heights)
    bottom = course.sacrum_back - np.array([14, 10]) * size
    # Erector spinae: behind the transverse processes, out to the angles of the ribs.
    wide = np.array([13, 15, 18, 19, 20, 25, 28, 31.5, 32, 31, 28, 22, 8]) * k
    deep = np.array([12, 13, 12, 11, 12, 15, 18, 21, 21.5, 20.5, 18, 12, 5]) * k
    behind = np.array([30, 34, 35, 36, 38, 39.5, 41, 41.5, 41, 40]) * size
    out = np.array([13, 15, 19, 21, 22, 27, 31, 34, 35, 35, 34, 28, 20]) * size
    y = np.concatenate([[spine_y[0] + 28 * size], spine_y + behind, bottom])
    x = np.concatenate([[spine_x[0]], spine_x, [course.middle_x] * 2])
    turn = np.array([0.1, 0.1, 0, 0, -0.1, -0.15, -0.2, -0.22, -0.22, -0.2, -0.1, 0.1, 0.2])
    found = [
        tube(z, x + side * out, y, wide, deep, side * turn, spacing=(2.5, 4.0)) for side in SIDES
    ]
    found.append(_behind_arches(course))
    # Multifidus: beside the spinous processes, largest at L5.
    z = np.array([course.z_of("T11"), *(course.z_of(n) for n in ("L1", "L3", "L5")), end - 15])
    spine_x, spine_y = course.centre_at(z)
    y = spine_y + np.array([32, 35, 38, 38, 0]) * size
    y[-1] = course.sacrum_back - 8 * size
    spine_x[-1] = course.middle_x
    out = np.array([9, 11, 13, 16, 14]) * size
    wide, deep = np.array([5, 8, 10.5, 13, 8]) * k, np.array([7, 12, 16, 17, 7]) * k
    found += [tube(z, spine_x + side * out, y, wide, deep, spacing=(2.0, 4.0)) for side in SIDES]
    return found


def _behind_arches(course: SpineCourse) -> Slab:
    """What lies round and behind the arches of the vertebrae of the chest, where no lung is."""
    size = course.size
    z = np.array([course.z_of(name) for name in ("C7", "T1", "T4", "T8", "T12", "L1")])
    x, y = course.centre_at(z)
    front, rear = course.body_at(z)[1], 46 * size
    return tube(z, x, y + (front + rear) / 2, 21 * size, (rear - front) / 2, power=3.0)


def quadratus(course: SpineCourse, trunk: Trunk, physique: Physique) -> list[Slab]:
    """Both quadratus lumborum muscles, from the last rib to the iliac crest."""
    k, size = _scale(course, physique, "quadratus"), course.size
    z = np.array([course.z_of("T12"), *(course.z_of(n) for n in ("L1", "L2", "L3", "L4"))])
    z = np.append(z, max(trunk.crest + 8, float(z[-1]) + 12))
    spine_x, spine_y = course.centre_at(z)
    out = np.array([42, 47, 55, 64, 73, 79]) * size
    y = spine_y + np.array([21, 21, 21, 20, 18, 16]) * size
    wide, deep = np.array([7, 13, 17, 19, 20, 15]) * k, np.array([3, 6, 8, 9.5, 9, 6]) * k
    turn = np.array([-0.3, -0.3, -0.3, -0.32, -0.35, -0.4])
    return [tube(z, spine_x + side * out, y, wide, deep, side * turn) for side in SIDES]


def rectus(course: SpineCourse, trunk: Trunk, physique: Physique) -> list[Slab]:
    """Both rectus muscles, lenses on the front of the belly from the ribs to the pubis."""
    size = course.size
    _, _, hip_z = course.hip
    thick = rectus_thickness(physique, size)
    top, bottom = course.z_of("T9"), hip_z + 10 * size
    on = grid((-90 * size, 90 * size), (top, bottom), (3.0, ROW))
    front, back = trunk.cavity.faces(on)
    x0 = floats(np.interp(on.z, trunk.cavity.z, trunk.cavity.x))[:, None]
    heights = [top, top + 60, hip_z - 70 * size, bottom]
    reach = floats(np.interp(on.z, heights, np.array([60, 66, 58, 26]) * size))[:, None]
    fade = floats(np.interp(on.z, heights, [0.55, 1.0, 1.0, 0.8]))[:, None]
    found = []
    for side in SIDES:
        inner, outer = np.float32(4.0), reach
        u = (np.float32(side) * (on.columns - x0) - (inner + outer) / 2) / ((outer - inner) / 2)
        lens = fade * np.float32(thick) * np.sign(1 - u * u) * np.abs(1 - u**2) ** 0.5
        beyond = (on.rows < top) | (on.rows > bottom) | (front > back)
        lens = np.where(beyond, np.float32(-1), lens)
        found.append(between(on, front - 0.8 - lens, front - 0.8 + 0 * lens))
    return found


def obliques(course: SpineCourse, trunk: Trunk) -> Slab:
    """The wall of the belly and all that it encloses; in the pelvis only its front is left."""
    whole = trunk.muscle.solid(course.z_of("T9"), course.hip[2] - 20 * course.size)
    on = grid_of(whole)
    gone = np.clip((on.rows - trunk.crest - 10) / 55, 0, 1)
    y = floats(np.interp(on.z, trunk.muscle.z, trunk.muscle.y))[:, None]
    return clipped(whole, back=np.broadcast_to(y - 15 + 220 * (1 - gone), whole.middle.shape))


def oblique_layers(trunk: Trunk, course: SpineCourse) -> tuple[Slab, Slab]:
    """The plane of fat between the oblique muscles: what it encloses, and what is inside of it."""
    thick = (trunk.muscle.wide - trunk.cavity.wide, trunk.muscle.front - trunk.cavity.front)
    found = []
    for share in (0.60, 0.52):
        outline = trunk.cavity.grown(floats(share * thick[0]), floats(share * thick[1]), 1.0)
        found.append(outline.solid(course.z_of("L1") + 8, trunk.crest + 15))
    return found[0], found[1]


def intercostal(course: SpineCourse, trunk: Trunk, inset: float = 0.0) -> Slab:
    """The ring of ribs and what is between them, down to the costal margin."""
    whole = trunk.muscle.grown(-inset, -inset, -inset)
    top = course.z_of("T1") - 14 * course.size
    ring = whole.solid(top, trunk.costal)
    on = grid_of(ring)
    x = on.columns - course.middle_x
    arch = course.z_of("T9") + 6
    side = np.clip(np.abs(x) / (0.80 * trunk.muscle.at(trunk.costal)["wide"]), 0, 1) ** 0.8
    margin = arch + (trunk.costal - arch) * side
    return slab(on, ring.middle, np.where(on.rows > margin, np.float32(-1), ring.squared))


def pectoral(course: SpineCourse, trunk: Trunk, physique: Physique) -> list[Slab]:
    """Both pectoral muscles, on the ribs in front."""
    size = course.size
    thick = (8.5 if physique.is_woman else 15.0) * size * physique.amount("chest")
    top, bottom = course.z_of("T2") - 8, course.z_of("T7") + 4
    on = grid((-150 * size, 150 * size), (top, bottom), (3.5, ROW))
    front, back = trunk.muscle.faces(on)
    wide = floats(np.interp(on.z, trunk.muscle.z, trunk.muscle.wide))[:, None]
    x0 = floats(np.interp(on.z, trunk.muscle.z, trunk.muscle.x))[:, None]
    down = (on.rows - top) / (bottom - top)
    fade = np.clip(1.15 - down, 0, 1) ** 0.6 * np.clip(down / 0.12, 0, 1) ** 0.5
    found = []
    for side in SIDES:
        u = (np.float32(side) * (on.columns - x0) / wide - 0.08) / 0.86
        lens = fade * np.float32(thick) * (np.clip(u * (1 - u) * 4, 0, 1) ** 0.5)
        lens = np.where((u <= 0) | (u >= 1) | (down < 0) | (down > 1) | (front > back), -1, lens)
        found.append(between(on, front - lens, front + np.minimum(lens, 2)))
    return found


def back_muscles(course: SpineCourse, trunk: Trunk, physique: Physique) -> list[Slab]:
    """Trapezius, latissimus and the girdle of the shoulders, behind and beside the ribs."""
    size, amount = course.size, physique.amount("chest")
    k = size * amount * (0.75 if physique.is_woman else 1.0)
    heights = [course.z_of(n) for n in ("C7", "T2", "T4", "T8", "T12", "L2")]
    side = np.interp(trunk.muscle.z, heights, np.array([2, 18, 19, 8, 4, 0.5]) * k)
    behind = np.interp(trunk.muscle.z, heights, np.array([8, 22, 20, 9, 5, 0.5]) * k)
    shell = trunk.muscle.grown(floats(side), -4.0, floats(behind)).solid(heights[0], heights[5])
    on = grid_of(shell)
    y, wide, thick, x0 = (
        floats(np.interp(on.z, trunk.muscle.z, values))[:, None]
        for values in (trunk.muscle.y, trunk.muscle.wide, side, trunk.muscle.x)
    )
    # It runs out to an edge in front.
    outer = np.clip((np.abs(on.columns - x0) - wide) / np.maximum(thick, 1) + 0.25, 0, 1.2)
    found = [clipped(shell, front=y + (np.float32(75) * outer - 55) * np.float32(size))]
    z = np.array([trunk.top - 4, heights[0], course.z_of("T1"), heights[1] + 12])
    x, neck = course.centre_at(z)
    found.append(
        tube(z, x, neck + 14 * size, np.array([44, 52, 66, 40]) * size,
             np.array([26, 28, 26, 12]) * size, power=2.4)
    )  # fmt: skip
    for hand in SIDES:
        half = trunk.skin.at(heights[1])["wide"]
        place = (course.middle_x + hand * 0.68 * half, float(neck[2]) - 4, heights[1] + 4)
        found.append(ball(place, (0.27 * half, 34 * size, 42 * size)))
    return found


def gluteal(course: SpineCourse, trunk: Trunk, physique: Physique) -> list[Slab]:
    """Gluteus maximus behind, medius and minimus beside the iliac wings, on both sides."""
    k, size = _scale(course, physique, "gluteal"), course.size
    apart, hip_y, hip_z = course.hip
    at = trunk.skin.at(hip_z)
    behind = at["y"] + at["back"] - 0.75 * trunk.fat[2] - 44 * k
    found = []
    for side in SIDES:
        cos, sin = math.cos(0.62), math.sin(0.62) * side
        axes = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        centre = (course.middle_x + side * (apart - 16 * size), behind, hip_z + 2)
        found.append(ball(centre, np.array([66 * k, 30 * k, 92 * size]), axes))
        z = np.array([-128, -100, -60, -25, 8, 22]) * size + hip_z
        x = course.middle_x + side * (apart + np.array([34, 33, 31, 33, 38, 40]) * size)
        y = hip_y + np.array([2, 4, 10, 10, 6, 4]) * size
        wide, deep = np.array([5, 13, 20, 18, 9, 4]) * k, np.array([22, 44, 50, 42, 24, 10]) * k
        found.append(tube(z, x, y, wide, deep, side * 0.15))
    return found


def pelvic(course: SpineCourse, trunk: Trunk, physique: Physique) -> list[Slab]:
    """Obturator and piriformis muscles and the floor of the pelvis."""
    size = course.size
    apart, hip_y, hip_z = course.hip
    found = []
    for side in SIDES:
        x = course.middle_x + side * (apart - 33 * size)
        found.append(ball((x, hip_y + 12 * size, hip_z + 20 * size), (8, 36 * size, 34 * size)))
        place = (course.middle_x + side * 52 * size, hip_y + 62 * size, hip_z - 34 * size)
        found.append(ball(place, (34 * size, 12 * size, 15 * size)))
        outside = (course.middle_x + side * (apart - 38 * size), hip_y - 6, hip_z + 52 * size)
        found.append(ball(outside, (26 * size, 30 * size, 16 * size)))
    place = (course.middle_x, hip_y + 30 * size, hip_z + 44 * size)
    found.append(ball(place, (40 * size, 44 * size, 9 * size)))
    return found


def _section_at(hull: Slab, z: float) -> tuple[float, float, float, float]:
    """Middle and half width across, then from front to back, of a solid at a height, mm."""
    on = grid_of(hull)
    row = int(np.abs(on.z - z).argmin())
    inside = np.flatnonzero(hull.squared[row] > 0)
    x, y = on.x[inside], hull.middle[row, inside]
    half = np.sqrt(hull.squared[row, inside])
    front, back = float((y - half).min()), float((y + half).max())
    wide = float(x[-1] - x[0]) / 2
    return float(x[0]) + wide, wide, (front + back) / 2, (back - front) / 2


def thigh(course: SpineCourse, trunk: Trunk, physique: Physique) -> list[Slab]:
    """Front, inner and back muscles of both thighs and what begins at the hip in front."""
    size = course.size
    apart, hip_y, hip_z = course.hip
    k = math.sqrt(physique.amount("thigh"))
    found = []
    for side, hull in zip(
        SIDES, thigh_tubes(course, trunk, 3.0 + 0.75 * trunk.fat[1]), strict=True
    ):
        cx, a, cy, b = _section_at(hull, trunk.bottom - 12)
        a, b = a - 3, b - 2
        start = np.array([-70, -25, 10, 45, 90]) * size + hip_z
        z = np.append(start, trunk.bottom)
        socket = course.middle_x + side * (apart + 18 * size)
        shape = (
            # where it begins, where it goes, half axes, how it grows by height
            ((socket, hip_y - 48 * size), (cx + side * 0.10 * a, cy - 0.42 * b), (0.71, 0.43),
             (0.14, 0.30, 0.45, 0.75, 1.0, 1.0)),
            ((socket - side * 45 * size, hip_y - 8), (cx - side * 0.46 * a, cy + 0.02 * b),
             (0.42, 0.53), (-1, -0.2, 0.25, 0.7, 1.0, 0.95)),
            ((socket - side * 30 * size, hip_y + 40 * size), (cx - side * 0.02 * a, cy + 0.50 * b),
             (0.62, 0.37), (-1, -1, 0.1, 0.55, 0.9, 1.0)),
            ((socket + side * 26 * size, hip_y - 10), (cx + side * 0.58 * a, cy - 0.02 * b),
             (0.30, 0.46), (-1, 0.1, 0.4, 0.75, 1.0, 1.0)),
        )  # fmt: skip
        for begin, end, axes, growth in shape:
            way = np.array([0, 0.2, 0.45, 0.75, 1.0, 1.0])
            x = begin[0] + (end[0] - begin[0]) * way
            y = begin[1] + (end[1] - begin[1]) * way
            grown = np.array(growth)
            found.append(tube(z, x, y, axes[0] * a * k * grown, axes[1] * b * k * grown))
    return found


def build_muscles(
    course: SpineCourse, trunk: Trunk, physique: Physique, under_skin: Slab
) -> list[Tissue]:
    """Muscles outside of the cavities, in order; none of them leaves `under_skin`."""

    def held(parts: list[Slab], margin: float = 2.0) -> list[Slab]:
        return [within(part, under_skin, margin) for part in parts]

    fatty = physique.fatty
    plane, deep = oblique_layers(trunk, course)
    muscles = [
        tissue("gluteal_muscle", *held(gluteal(course, trunk, physique)),
               infiltration=fatty("gluteal")),
        tissue("back_muscle", *held(blade_muscles(course, physique.amount("chest"))),
               *held(back_muscles(course, trunk, physique)),
               infiltration=fatty("chest")),
        tissue("pectoral_muscle", *held(pectoral(course, trunk, physique)),
               infiltration=fatty("chest")),
        tissue("oblique_muscle", *held([obliques(course, trunk)]), infiltration=fatty("wall")),
        tissue("visceral_fat", plane),
        tissue("oblique_muscle", deep, infiltration=fatty("wall")),
        tissue("rectus_muscle", *held(rectus(course, trunk, physique)),
               infiltration=fatty("wall")),
        tissue("thigh_muscle", *thigh(course, trunk, physique), infiltration=fatty("thigh")),
        tissue("intercostal_muscle", *held([intercostal(course, trunk)]),
               infiltration=fatty("chest")),
    ]  # fmt: skip
    inset = 3.0 + 0.25 * trunk.fat[1]
    share = min(0.92, 0.86 * math.sqrt(physique.amount("arm")))
    arms = arm_tubes(course, trunk, physique, inset, share)
    arms += shoulder_solids(course, trunk, inset + 2.0, share)
    # Laid first: what is of the chest lies over what hangs on it.
    return [tissue("arm_muscle", *arms, infiltration=fatty("arm")), *muscles]


def build_deep_muscles(
    course: SpineCourse, trunk: Trunk, physique: Physique, under_skin: Slab
) -> list[Tissue]:
    """Muscles beside the spine and in the pelvis, which are laid over the cavities."""
    fatty = physique.fatty
    back = [within(part, under_skin, 2.5) for part in paraspinal(course, trunk, physique)]
    return [
        tissue("pelvic_muscle", *pelvic(course, trunk, physique), infiltration=fatty("gluteal")),
        tissue("quadratus_muscle", *quadratus(course, trunk, physique),
               infiltration=fatty("quadratus")),
        tissue("paraspinal_muscle", *back, infiltration=fatty("paraspinal")),
        tissue("psoas_muscle", *psoas(course, trunk, physique), *iliacus(course, trunk, physique),
               infiltration=fatty("psoas")),
    ]  # fmt: skip

"""Skin, fat and the wall of the trunk from the neck to the crotch, and the cavity in it.

Every ring (skin, subcutaneous fat, wall) is the room between two outlines, made by laying the
inner solid over the outer one. Outlines are rows of numbers by height; inside of the ribs they
follow the cage, below it the belly and the pelvis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d

from ..distance import Floats, floats
from .course import Physique, RibCage, SpineCourse
from .slab import Slab, SlabGrid, clipped, grid, slab
from .slab_shapes import ball, turned

#: Skin, mm [U].
SKIN: Final = 1.8
#: Heights at which outlines are given, mm apart.
ROW: Final = 4.0
#: Skin and what is under it over a bone that is just below, mm [U].
COVER: Final = 5.0
#: Over how much of its height the skin rises to a bone, mm.
RISE: Final = 28.0


@dataclass(frozen=True)
class Outline:
    """A closed line around the trunk at each height: two halves of superellipses.

    Attributes
    ----------
    z : ndarray, shape (N,)
        Heights, mm.
    x, y : ndarray, shape (N,)
        Middle from side to side, and depth at which it is widest, mm.
    wide, front, back : ndarray, shape (N,)
        Half width, and how far it reaches in front of and behind `y`, mm.
    front_power, back_power : ndarray, shape (N,)
        2 for an ellipse, more for a box.
    """

    z: Floats
    x: Floats
    y: Floats
    wide: Floats
    front: Floats
    back: Floats
    front_power: Floats
    back_power: Floats

    def grown(self, side: Floats | float, front: Floats | float, back: Floats | float) -> Outline:
        """Outline that much further out, mm (negative: further in)."""
        return Outline(
            self.z, self.x, self.y,
            floats(np.maximum(self.wide + side, 1)),
            floats(np.maximum(self.front + front, 1)), floats(np.maximum(self.back + back, 1)),
            self.front_power, self.back_power,
        )  # fmt: skip

    def at(self, z: float) -> dict[str, float]:
        """Its numbers at a height."""
        names = ("x", "y", "wide", "front", "back")
        return {name: float(np.interp(z, self.z, getattr(self, name))) for name in names}

    def solid(self, top: float, bottom: float, spacing: float = 4.0) -> Slab:
        """What it encloses between two heights."""
        reach = float(self.wide.max()) + float(np.abs(self.x).max())
        on = grid((-reach, reach), (top, bottom), (spacing, ROW))
        f, b = self.faces(on)
        half = (b - f) / 2
        beyond = (on.rows < top) | (on.rows > bottom)
        return slab(on, (f + b) / 2, np.where(beyond, np.float32(-1), half * np.abs(half)))

    def faces(self, on: SlabGrid) -> tuple[Floats, Floats]:
        """Depth of its front and back on a grid, mm; beside it the front is behind."""
        x, y, wide, front, back, p, q = (
            floats(np.interp(on.z, self.z, values))[:, None]
            for values in (
                self.x, self.y, self.wide, self.front, self.back, self.front_power, self.back_power
            )
        )  # fmt: skip
        rel = np.abs(on.columns - x) / wide
        faces = []
        for depth, power in ((-front, p), (back, q)):
            share = 1 - rel**power
            faces.append(y + depth * np.copysign(np.abs(share) ** (1 / power), share))
        return floats(faces[0]), floats(faces[1])


@dataclass(frozen=True)
class Trunk:
    """The rings of the trunk, from the outside in.

    Attributes
    ----------
    skin, muscle, cavity : Outline
        Outside of the skin, of the muscular wall, and inside of it.
    top, costal, crest, crotch, bottom : float
        Heights of the neck's end, the lowest ribs, the iliac crests, the crotch and the thighs'
        end, mm.
    fat : (float, float, float)
        Subcutaneous fat at L3: front, side, behind the paraspinal muscles, mm.
    """

    skin: Outline
    muscle: Outline
    cavity: Outline
    top: float
    costal: float
    crest: float
    crotch: float
    bottom: float
    fat: tuple[float, float, float]


def subcutaneous_fat(physique: Physique) -> tuple[float, float, float]:
    """Thickness of subcutaneous fat at L3 in front, beside and behind, mm [U].

    Women carry about twice as much of it at the same body mass index.
    """
    if physique.under_skin is not None:
        return physique.under_skin
    more = max(physique.bmi - 22.0, -6.0)
    if physique.is_woman:
        values = (12.5 + 1.75 * more, 12.5 + 1.5 * more, 11 + 1.5 * more)
    else:
        values = (7 + 1.2 * more, 7.5 + 1.1 * more, 7 + 1.1 * more)
    front, side, back = (max(4.0, value * physique.subcutaneous) for value in values)
    return front, side, back


def girth(physique: Physique) -> tuple[float, float]:
    """Width and depth of the trunk at L3, mm (design/anatomy.md [U])."""
    if physique.trunk is not None:
        return physique.trunk
    more = physique.bmi - 22.0
    depth = 198 + 7.6 * more
    width = 306 + 5.6 * more + 0.6 * (physique.height_cm - 165)
    return max(width, 250.0), max(depth, 150.0)


def rectus_thickness(physique: Physique, size: float) -> float:
    """Thickness of the rectus abdominis at L3 in its middle, mm [U]."""
    return (8.0 if physique.is_woman else 11.0) * size * physique.amount("wall")


def covering(outline: Outline, points: Floats, cover: float) -> Outline:
    """Outline that has points (N, 3) at least `cover` mm inside; it is nowhere less than before."""
    x, y, z = points.T
    wide, front, back = (
        values.astype(float) for values in (outline.wide, outline.front, outline.back)
    )
    middle_x, middle_y = (np.interp(z, outline.z, v) for v in (outline.x, outline.y))
    ahead = y < middle_y
    power = np.where(
        ahead, np.interp(z, outline.z, outline.front_power),
        np.interp(z, outline.z, outline.back_power),
    )  # fmt: skip
    for _ in range(6):
        a = np.interp(z, outline.z, wide) - cover
        b = np.where(ahead, np.interp(z, outline.z, front), np.interp(z, outline.z, back)) - cover
        aside, deep = (np.abs(x - middle_x) / a) ** power, (np.abs(y - middle_y) / b) ** power
        beyond = (aside + deep) ** (1 / power) - 1
        far = np.flatnonzero(beyond > 1e-3)
        if not len(far):
            break
        near = beyond[far] * np.exp(-(((outline.z[:, None] - z[far]) / RISE) ** 2))
        share = aside[far] / (aside[far] + deep[far])
        outwards = near * (1 - share) * b[far]
        wide = wide + (near * share * a[far]).max(axis=1)
        front = front + (outwards * ahead[far]).max(axis=1)
        back = back + (outwards * ~ahead[far]).max(axis=1)
    return replace(outline, wide=floats(wide), front=floats(front), back=floats(back))


def _smooth(values: ArrayLike, width: float) -> Floats:
    """Smoothed over `width` mm of height."""
    return floats(gaussian_filter1d(np.asarray(values, float), width / ROW, mode="nearest"))


@dataclass(frozen=True)
class _Marks:
    """Heights and depths of the skeleton from which outlines are made, mm."""

    z: Floats
    spine_x: Floats
    spine_y: Floats
    tops: Mapping[str, float]
    crest: float
    crotch: float
    bottom: float

    def along(self, hip_z: float, *values: float) -> Floats:
        """Numbers at C7, T1, T4, T8, T12, L3, the crests, before, at and below the hips."""
        names = ("C7", "T1", "T4", "T8", "T12", "L3")
        keys = [self.tops[name] for name in names]
        keys += [self.crest, hip_z - 50, hip_z, self.crotch, self.bottom]
        return floats(np.interp(self.z, keys, values))


def build_trunk(
    course: SpineCourse, cage: RibCage, physique: Physique, bony: Floats | None = None
) -> Trunk:
    """Outlines of a patient's trunk; the skin covers the points `bony` (N, 3), mm."""
    size, hip_z = course.size, course.hip[2]
    names = ("C7", "T1", "T4", "T8", "T12", "L1", "L3", "L5")
    tops = {name: course.z_of(name) for name in names}
    bottom = hip_z + 200 * size
    top = tops["C7"] - 35
    if bony is not None:  # who bends forward or raises the shoulders has them above the neck
        top = min(top, float(bony[:, 2].min()) - 2 * COVER)
    z = floats(np.arange(top - 20, bottom + 24, ROW))
    spine_x, spine_y = course.centre_at(z)
    marks = _Marks(
        z, spine_x, spine_y, tops, hip_z - 135 * size, hip_z + 78 * size, bottom
    )  # fmt: skip
    fat = subcutaneous_fat(physique)
    belly_front = (
        float(course.level("L3").centre[1]) + course.spine_back + 4 + 0.5 * fat[2]
        - girth(physique)[1]
    )  # fmt: skip
    cavity, muscle = _inner(course, cage, physique, marks, belly_front)
    skin = _skin(course, cage, physique, marks, belly_front)
    if bony is not None:
        skin = covering(skin, bony, COVER)
    return Trunk(
        skin, muscle, cavity, top, tops["L1"] + 22 * size, marks.crest, marks.crotch,
        bottom, fat,
    )  # fmt: skip


def _inner(
    course: SpineCourse, cage: RibCage, physique: Physique, marks: _Marks, belly_front: float
) -> tuple[Outline, Outline]:
    """Inside and outside of the wall: ribs above, the belly, then the pelvis."""
    size, tops, z, crest = course.size, marks.tops, marks.z, marks.crest
    _, hip_y, hip_z = course.hip
    front_fat, side_fat, _ = subcutaneous_fat(physique)
    # Spread round a wider belly the same muscle is thinner.
    spread = 1 - 0.014 * (physique.bmi - 22)
    # Its fascia stays when it shrinks, hence the power.
    spread *= physique.amount("wall") ** 1.35
    oblique = (18.5 if physique.is_woman else 21.5) * size * spread
    belly = belly_front + SKIN + front_fat + 2.5 + rectus_thickness(physique, size)
    belly_wide = girth(physique)[0] / 2 - SKIN - side_fat - oblique

    def cage_at(values: Floats) -> Floats:
        return floats(np.interp(z, cage.z, values))

    low = np.clip((z - tops["T12"]) / (tops["L3"] - 12 - tops["T12"]), 0, 1)
    low = low * low * (3 - 2 * low)
    wide = (1 - low) * (cage_at(cage.half_width) - cage.thickness) + low * belly_wide
    front = (1 - low) * (cage_at(cage.front) + cage.thickness) + low * belly
    back = (1 - low) * (cage_at(cage.back) - cage.thickness) + low * (marks.spine_y + 27 * size)
    pelvis = np.clip((z - crest + 20) / (hip_z - crest + 10), 0, 1)
    narrow = (56 if physique.is_woman else 51) * size
    wide = np.where(z > crest - 20, wide + (narrow - wide) * pelvis**1.15, wide)
    front = np.where(z > crest, front + (hip_y - 30 * size - front) * pelvis**1.7, front)
    seat = marks.spine_y + 27 * size + np.maximum(z - tops["L5"], 0) * 0.62
    back = np.where(z > tops["L5"], np.minimum(seat, hip_y + 70 * size), back)
    wide, front, back, spine_y = (_smooth(v, 9) for v in (wide, front, back, marks.spine_y))
    lower = np.where(z < tops["L3"], spine_y - 28 * size, np.minimum(back - 20, spine_y - 10))
    y = (1 - low) * cage_at(cage.middle) + low * lower
    y = _smooth(np.clip(y, front + 15, back - 12), 12)
    # It closes at the apex of the chest and at the floor of the pelvis.
    floor = np.clip((z - hip_z - 18 * size) / (34 * size), 0, 0.97)
    apex = np.clip((z - tops["T1"] + 14 * size) / (46 * size), 1e-3, 1)
    close = np.sqrt(apex * (1 - floor**2))
    chest = np.clip((tops["L1"] - z) / 60, 0, 1)
    cavity = Outline(
        z, _middle(course, marks), y, floats(wide * close), floats((y - front) * close),
        floats((back - y) * close), floats(2.15 * low + cage_at(cage.front_power) * (1 - low)),
        floats(2.15 + 0.35 * chest),
    )  # fmt: skip
    ribs = cage.thickness
    side = marks.along(hip_z, 8, 10, ribs, ribs, ribs, oblique, 0.8 * oblique, 12, 16, 16, 16)
    ahead = marks.along(hip_z, 8, 10, ribs, ribs, 5, 2.5, 2.5, 3, 5, 5, 5)
    behind = marks.along(hip_z, 6, 8, ribs, ribs, 5, 3, 3, 3, 3, 3, 3)
    return cavity, cavity.grown(_smooth(side, 10), _smooth(ahead, 10), _smooth(behind, 8))


def _middle(course: SpineCourse, marks: _Marks) -> Floats:
    """Middle of the trunk from side to side at each height, mm."""
    return _smooth(np.where(marks.z > marks.tops["L5"], course.middle_x, marks.spine_x), 20)


def _skin(
    course: SpineCourse, cage: RibCage, physique: Physique, marks: _Marks, belly_front: float
) -> Outline:
    """The skin: over the chest by what lies on the ribs, from L3 down by the girth."""
    size, tops, woman = course.size, marks.tops, physique.is_woman
    apart, hip_y, hip_z = course.hip
    front_fat, side_fat, _ = subcutaneous_fat(physique)
    chest = physique.amount("chest")
    pectoral = (8.0 if woman else 14.0) * size * chest
    shoulder = (18.0 if woman else 25.0) * size * chest
    half = girth(physique)[0] / 2
    t4, t8, t12 = (
        float(np.interp(tops[name], cage.z, cage.half_width)) + 0.7 * side_fat + SKIN
        for name in ("T4", "T8", "T12")
    )
    hips = max(half * (1.075 if woman else 1.0), apart + (76 if woman else 70) * size + side_fat)
    thigh = hips * (0.985 if woman else 0.97)
    arms = 26 if physique.arms == "beside" else 0
    wide = marks.along(
        hip_z, 62 * size, 92 * size + 0.2 * side_fat + arms, t4 + 0.75 * shoulder + 0.3 * arms,
        t8 + 6 * size, max(t12 + 3 * size, 0.94 * half), half, half * (1.03 if woman else 1.01),
        0.35 * half + 0.65 * hips, hips, thigh, thigh * 0.9,
    )  # fmt: skip
    c7, t1, rib4, rib8, rib12 = (
        float(np.interp(tops[name], cage.z, cage.front)) for name in ("C7", "T1", "T4", "T8", "T12")
    )
    shade = SKIN + 0.65 * front_fat
    hang = belly_front - hip_y
    fold = hip_y - 62 * size
    front = marks.along(
        hip_z, c7 - 24 * size, t1 - 8 - 0.5 * pectoral - 0.4 * shade, rib4 - pectoral - shade,
        rib8 - 0.4 * pectoral - shade,
        min(rib12 - shade, 0.55 * (rib12 - shade) + 0.45 * belly_front), belly_front,
        belly_front + 3, hip_y + min(0.75 * hang, -80 * size),
        hip_y + min(0.5 * hang, -(62 + 0.7 * front_fat)), fold - 0.5 * side_fat,
        fold - 0.4 * side_fat,
    )  # fmt: skip
    front, back = _smooth(front, 15), _smooth(_dorsal(course, physique, marks), 15)
    y = front + 0.56 * (back - front)
    # The lean are rounder at the waist than the heavy.
    more = physique.bmi - 22
    lean, round_ = 2.02 + 0.008 * more, 1.98 + 0.014 * more
    return Outline(
        marks.z, _middle(course, marks), floats(y), _smooth(wide, 15), floats(y - front),
        floats(back - y),
        marks.along(hip_z, 2.0, 2.1, 2.5, 2.45, 2.2, lean, lean, 2.2, 2.5, 3.4, 3.4),
        marks.along(hip_z, 2.0, 2.2, 2.7, 2.6, 2.3, round_, round_, 2.25, 2.5, 3.4, 3.4),
    )  # fmt: skip


def _dorsal(course: SpineCourse, physique: Physique, marks: _Marks) -> Floats:
    """Depth of the skin of the back: behind the spinous processes, sacrum and buttocks."""
    size, tops, z = course.size, marks.tops, marks.z
    _, hip_y, hip_z = course.hip
    back_fat = subcutaneous_fat(physique)[2]
    tip_of = (course.spine_back - 12 * size, course.spine_back - 16 * size, course.spine_back)
    tips = marks.spine_y + np.interp(z, [tops["C7"], tops["T8"], tops["L3"]], tip_of)
    slide = np.clip((z - tops["L5"]) / (hip_z - 40 * size - tops["L5"]), 0, 1)
    tips = tips + (course.sacrum_back - tips) * slide
    cover = marks.along(hip_z, 6, 7, 8, 6, 5, 4, 4, 4, 4, 4, 4) + SKIN
    thin = marks.along(hip_z, 0.5, 0.4, 0.4, 0.4, 0.45, 0.5, 0.5, 0.5, 0.55, 0.5, 0.5)
    depth = tips + cover + thin * back_fat
    # Buttocks stand behind the sacrum, and the thighs come back under them.
    depth = depth + (9 + 0.22 * back_fat) * np.exp(-(((z - hip_z - 5) / (75 * size)) ** 2))
    lower = np.clip((z - hip_z - 25) / (70 * size), 0, 1)
    seat = hip_y + (82 if physique.is_woman else 78) * size + 0.7 * back_fat
    return floats(depth + np.minimum(seat - depth, 0) * lower)


def trunk_solid(outline: Outline, trunk: Trunk, inset: float = 0.0) -> Slab:
    """What an outline encloses from the neck to the crotch, with the furrow of the back."""
    whole = outline.solid(trunk.top, trunk.crotch - inset)
    rows, columns = whole.middle.shape
    x = whole.low[0] + whole.spacing[0] * np.arange(columns)
    z = whole.low[1] + whole.spacing[1] * np.arange(rows)
    on = SlabGrid(floats(x), floats(z))
    _, back = whole.faces(on)
    at = floats(np.interp(z, outline.z, outline.x))[:, None]
    lumbar = np.exp(-(((on.rows - 0.25 * trunk.crest) / 110) ** 2))
    gluteal = np.clip((on.rows - trunk.crest - 60) / 60, 0, 1) * 2.2
    deep = np.float32(4.5) * (np.float32(0.35) + lumbar + gluteal)
    furrow = deep * np.exp(-(((on.columns - at) / 15) ** 2))
    return clipped(whole, back=back - furrow)


def breast_solids(
    course: SpineCourse, trunk: Trunk, physique: Physique, inset: float
) -> list[Slab]:
    """Breasts of a woman who lies on her back: flat, and a little to the side."""
    grown = float(np.clip(1 + 0.045 * (physique.bmi - 22), 0.7, 1.9))
    size = course.size
    z = (course.z_of("T6") + course.z_of("T7")) / 2
    rel = 0.54

    def chest_at(height: float) -> tuple[float, float]:
        at = trunk.skin.at(height)
        return at["wide"], at["y"] - at["front"] * (1 - rel**2.4) ** (1 / 2.4)

    wide, front = chest_at(z)
    slope = math.atan2(chest_at(z + 40)[1] - chest_at(z - 40)[1], 80.0)
    radii = np.array([58 * grown**0.45, 24 * grown**0.8, 58 * grown**0.25]) * size - inset
    solids = []
    for side in (1, -1):
        axes = turned("x", -slope) @ turned("z", 0.42 * side)
        place = (trunk.skin.at(z)["x"] + side * rel * wide, front + 4, z)
        solids.append(ball(place, radii, axes))
    return solids

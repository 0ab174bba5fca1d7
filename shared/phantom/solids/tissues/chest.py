"""Chest and belly as rooms with the diaphragm between them; lungs, heart and great vessels.

Sizes and places [U].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..tissue import Tissue, tissue
from .course import Physique, SpineCourse
from .slab import Slab, clipped, grid, grid_of, slab, within
from .slab_shapes import ball, band, pooled, tube, turned
from .trunk import Trunk

SIDES: Final = (1.0, -1.0)


@dataclass(frozen=True)
class Rooms:
    """The cavities of a trunk.

    Attributes
    ----------
    chest : Slab
        Inside of the ribs, down to the lowest recess of the pleura.
    belly, diaphragm : Slab
        Everything below the diaphragm, without and with its muscle.
    dome_right, dome_left : float
        Heights of its domes, mm.
    """

    chest: Slab
    belly: Slab
    diaphragm: Slab
    dome_right: float
    dome_left: float


def _dome(course: SpineCourse, trunk: Trunk, tops: tuple[float, float], grown: float) -> Slab:
    """Both domes of the diaphragm; below their base they widen past the wall."""
    base = course.z_of("T12") + 6
    at = trunk.cavity.at(base)
    bottom = course.hip[2] + 70 * course.size
    on = grid((-at["wide"] * 1.6, at["wide"] * 1.6), (min(tops) - 8, bottom), (4.0, 4.0))
    deep = (at["front"] + at["back"]) / 2
    y = at["y"] + (at["back"] - at["front"]) / 2
    best = np.full((len(on.z), len(on.x)), -1e4, np.float32)
    for side, top in zip(SIDES, (tops[1], tops[0]), strict=True):
        off = (on.columns - np.float32(at["x"] + side * 0.45 * at["wide"])) / np.float32(
            0.53 * at["wide"] + grown
        )
        up = np.maximum(base - on.rows, 0) / np.float32(base - top + grown)
        wider = 1 + np.maximum(on.rows - base, 0) / 30
        share = wider * wider - np.abs(off) ** 2.3 - up**2.8
        np.maximum(best, np.float32((0.97 * deep + grown) ** 2) * share, out=best)
    return slab(on, np.full(best.shape, y), best)


def build_rooms(course: SpineCourse, trunk: Trunk, physique: Physique) -> Rooms:
    """Chest and belly, by how far the patient has breathed in."""
    size = course.size
    breath = physique.inspiration
    out, deep = course.z_of("T9") - 6, course.z_of("T10") + 16
    right = out + (deep - out) * breath
    left = right + 13 * size
    top, bottom = course.z_of("T1") - 14 * size, course.hip[2] + 60 * size
    recess = course.z_of("L1") - 4
    chest = trunk.cavity.solid(top, recess)
    on = grid_of(chest)
    # The pleura reaches lowest behind, and in front only to the height of T11.
    front, back = trunk.cavity.faces(on)
    high = course.z_of("T11") - 6
    rise = np.clip((on.rows - high) / (recess - high), 0, 1)
    # Where it is a cleft between wall and diaphragm it ends before its sheets meet.
    cleft = 2.5 * np.clip((on.rows - course.z_of("T12") + 16) / 14, 0, 1)
    chest = clipped(chest, front=front + rise * (back - front) + cleft, back=back - cleft)
    cavity = trunk.cavity.solid(min(right, left) - 8, bottom)
    belly = within(cavity, _dome(course, trunk, (right, left), 0.0))
    muscle = within(cavity, _dome(course, trunk, (right, left), 2.8))
    return Rooms(chest, belly, muscle, right, left)


def build_chest(
    course: SpineCourse, trunk: Trunk, rooms: Rooms, rng: np.random.Generator
) -> list[Tissue]:
    """Lungs, mediastinum, heart, great vessels, airways, in order."""
    size = course.size
    names = ("T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11")
    h = {name: course.z_of(name) for name in names}
    z = np.array([h["T1"] - 10, h["T2"], h["T4"], h["T6"], h["T8"], h["T10"], h["T11"] + 10])
    x, y = course.centre_at(z)
    front = np.array([trunk.cavity.at(v)["y"] - trunk.cavity.at(v)["front"] for v in z])
    reach = (y + 12 * size - front) / 2
    wide = np.array([30, 33, 33, 36, 36, 30, 26]) * size
    mediastinum = tube(z, x + 3 * size, (y + 12 * size + front) / 2, wide, reach, power=2.6)
    breast_bone = trunk.cavity.at(h["T8"])["y"] - trunk.cavity.at(h["T8"])["front"]
    long = np.array([0.62, -0.50, 0.60]) / np.linalg.norm([0.62, -0.50, 0.60])
    across = np.cross(long, [0, 1, 0])
    across /= np.linalg.norm(across)
    axes = np.stack([long, across, np.cross(long, across)], axis=1)
    place = (24 * size, breast_bone + 52 * size, h["T8"] - 2 * size)
    k = size * float(np.exp(rng.normal(0, 0.03)))
    heart = within(ball(place, np.array([64, 50, 45]) * k, axes), rooms.chest, 4)
    fat = within(ball(place, np.array([68, 54, 48]) * k, axes), rooms.chest, 2)
    vessels = _great_vessels(course, rooms, h, rng)
    z = np.array([h["T1"] - 30, h["T1"], h["T3"], h["T5"] - 4])
    x, y = course.centre_at(z)
    deep = course.body_at(z)[1]
    trachea = tube(z, x - 2, y - deep - 19 * size, np.full(4, 9) * size, np.full(4, 8.5) * size)
    bronchi = [
        band([0, 45 * size] if side > 0 else [-42 * size, 0],
             np.array([1.0, 1.0]) * float(y[-1] - deep[-1] - 20 * size),
             [h["T5"], h["T6"] + 8] if side > 0 else [h["T6"] + 8, h["T5"]],
             [6.5, 5], [6.5, 5])
        for side in SIDES
    ]  # fmt: skip
    z = np.array([h["T1"] - 30, h["T3"], h["T6"], h["T9"], h["T11"]])
    x, y = course.centre_at(z)
    deep = course.body_at(z)[1]
    gullet = tube(z, x + np.array([3, 4, 2, 6, 12]) * size, y - deep - 9 * size,
                  np.full(5, 8.5) * size, np.full(5, 6) * size)  # fmt: skip
    # Where neither lung nor belly reaches the costal margin in front there is fat.
    corner = trunk.cavity.solid(h["T10"], course.z_of("L1") + 10)
    return [
        tissue("visceral_fat", corner),
        tissue("lung", rooms.chest),
        tissue("visceral_fat", within(mediastinum, rooms.chest), fat),
        tissue("vessel", *vessels),
        tissue("heart", heart),
        tissue("oesophagus", gullet),
        tissue("airway", trachea, *bronchi),
    ]


def _great_vessels(
    course: SpineCourse, rooms: Rooms, h: dict[str, float], rng: np.random.Generator
) -> list[Slab]:
    """Ascending aorta and arch, upper vena cava, pulmonary trunk and its branches."""
    size = course.size
    z = np.array([h["T4"] + 6, h["T6"], h["T7"] + 8])
    _, y = course.centre_at(z)
    ascending = tube(z, np.array([-6, -18, -6]) * size, y - np.array([66, 78, 80]) * size,
                     np.array([14, 16, 15]) * size, np.array([14, 16, 15]) * size)  # fmt: skip
    _, t4 = course.centre_at(h["T4"])
    arch = ball((6 * size, float(t4) - 42 * size, h["T4"] + 4), np.array([12, 46, 13]) * size,
                turned("z", -0.42))  # fmt: skip
    upper = tube(z - 25, np.full(3, -33 * size), y - 58 * size, 9 * size, 8 * size)
    _, t6 = course.centre_at(h["T6"])
    trunk = ball((20 * size, float(t6) - 78 * size, h["T6"]), np.array([14, 20, 18]) * size)
    arteries = band(np.array([-58, -20, 20, 56]) * size, float(t6) - np.array([44, 50, 52, 40]),
                    h["T6"] + np.array([12, 4, 0, 4]), np.array([6, 10, 10, 6]) * size,
                    np.array([6, 9, 9, 6]) * size)  # fmt: skip
    found = [ascending, arch, upper, trunk, arteries]
    for side in SIDES:
        branches = []
        for _ in range(16):
            angle, down = rng.uniform(-1.1, 0.9), rng.uniform(-60, 75) * size
            way = np.array([42, 62, 84, 100]) * size
            y = float(t6) - 42 * size + (way - way[0]) * math.tan(angle) * 0.8
            rows = h["T6"] + 8 + down * np.array([0.15, 0.45, 0.8, 1.0])
            radius = np.array([4.6, 3.4, 2.2, 1.2]) * size
            order = slice(None) if side > 0 else slice(None, None, -1)
            branch = band((side * way)[order], y[order], rows[order], radius[order], radius[order],
                          spacing=2.0)  # fmt: skip
            branches.append(branch)
        found.append(within(pooled(branches, (2.0, 2.0)), rooms.chest, 6))
    return found

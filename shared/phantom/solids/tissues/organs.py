"""Lungs, heart, vessels, what the belly and the pelvis hold, discs and the spinal canal.

Sizes and places [U]. Organs of the belly are cut off at the diaphragm and at the wall; liver and
spleen are enlarged until they have the volume that was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..tissue import SUBSTANCES, Tissue, tissue
from .course import Physique, SpineCourse
from .slab import (
    Slab,
    ball,
    balls,
    band,
    clipped,
    grid,
    grid_of,
    pooled,
    slab,
    topped,
    tube,
    within,
)
from .trunk import Trunk

FloatArray = NDArray[np.float64]
SIDES: Final = (1.0, -1.0)
#: Mineral of a heavily calcified abdominal aorta, g [U].
HEAVY_CALCIUM: Final = 2.5


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
        share = wider * wider - np.abs(off) ** 2.3 - up**2.2
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
    chest = clipped(chest, on, front=front + rise * (back - front))
    cavity = trunk.cavity.solid(min(right, left) - 8, bottom)
    belly = within(cavity, _dome(course, trunk, (right, left), 0.0))
    muscle = within(cavity, _dome(course, trunk, (right, left), 2.8))
    return Rooms(chest, belly, muscle, right, left)


def _sized(make: Callable[[float], Slab], volume: float, low: float, high: float) -> Slab:
    """Solid of a given volume (ml) by bisection on what grows it."""
    for _ in range(9):
        middle = (low + high) / 2
        if make(middle).volume / 1000 < volume:
            low = middle
        else:
            high = middle
    return make((low + high) / 2)


def _turned(about: str, angle: float) -> FloatArray:
    cos, sin = math.cos(angle), math.sin(angle)
    if about == "z":
        return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    if about == "y":
        return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


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
    _, t8 = course.centre_at(h["T8"])
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
    return [
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
                _turned("z", -0.42))  # fmt: skip
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


def build_belly(
    course: SpineCourse, trunk: Trunk, rooms: Rooms, physique: Physique, rng: np.random.Generator
) -> list[Tissue]:
    """Diaphragm, fat and the organs of belly and pelvis, in order."""
    found = [tissue("diaphragm", rooms.diaphragm), tissue("visceral_fat", rooms.belly)]
    found += _bowel(course, trunk, rooms, physique, rng)
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
    heavy = float(np.clip(1 + 0.012 * (physique.bmi - 24), 0.9, 1.15))
    volume = 1480 * size**2 * heavy * float(np.exp(rng.normal(0, 0.08)))
    volume = float(np.clip(volume, 1330, 1800))
    top = rooms.dome_right

    # Left lobe: a wedge across the middle, in front.
    lean = _turned("y", 0.18)
    left = ball((at["x"] + 2, y - 0.24 * deep, rooms.dome_left + 24 * size),
                np.array([0.56 * wide, 0.27 * deep, 30 * size]), lean)  # fmt: skip
    left = within(left, rooms.belly, 0.7)

    def right_lobe(reach: float) -> Slab:
        centre = (at["x"] - 0.56 * wide, y - 3, top - 12 + reach)
        lobe = ball(centre, np.array([0.60 * wide, 0.66 * deep, reach]), _turned("y", 0.10))
        return within(lobe, rooms.belly, 0.7)

    right = _sized(right_lobe, volume - 0.62 * left.volume / 1000, 40 * size, 125 * size)
    caudate = ball((at["x"] - 20 * size, y + 0.06 * deep, top + 44 * size),
                   np.array([20, 24, 26]) * size)  # fmt: skip
    end = right.box[1][2]
    bile = ball((at["x"] - 0.38 * wide, y - 0.27 * deep, end - 42 * size),
                np.array([14, 17, 27]) * size, _turned("x", 0.5))  # fmt: skip
    place = (at["x"] + 0.42 * wide, y - 0.12 * deep, rooms.dome_left + 44 * size)
    full = float(rng.uniform(0.85, 1.15))
    axes = _turned("y", -0.35)

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
        body = ball(centre, np.array([26, 42, 52]) * scale, _turned("z", -0.55))
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
        volume = float(np.clip(182 * size**1.2 * np.exp(rng.normal(0, 0.07)), 158, 200))
        k = (volume * 1000 / (4 / 3 * math.pi * 27 * 24 * 56)) ** (1 / 3)
        axes = _turned("z", side * 0.65) @ _turned("y", side * 0.17) @ _turned("x", 0.12)
        middle = np.array([cx + side * (half + 37 * size), cy + 1 * size, height])
        kidneys.append(ball(middle, np.array([27, 24, 56]) * k, axes))
        inward = axes @ np.array([-side, 0, 0])
        inner, rim = middle + inward * 9 * k, middle + inward * 20 * k
        hollows.append(ball(inner, np.array([9, 7, 24]) * k, axes))
        hollows.append(ball(rim, np.array([12, 6, 12]) * k, axes))
        over = middle + np.array([-side * 20, -6, -50 * size])
        adrenals.append(ball(over, (4.5, 13 * size, 15 * size), _turned("z", side * 0.4)))
    found += [
        tissue("adrenal", *adrenals),
        tissue("kidney", *(within(one, rooms.belly, 1.0) for one in kidneys)),
        tissue("visceral_fat", *hollows),
    ]
    return found


def _bowel(
    course: SpineCourse, trunk: Trunk, rooms: Rooms, physique: Physique, rng: np.random.Generator
) -> list[Tissue]:
    """Small bowel in loops, colon with contents, gas in front of both."""
    size = course.size
    _, _, hip_z = course.hip
    loops, bubbles = _small_bowel(course, trunk, rooms, physique, rng)
    wall, filled = [], []

    def gut(make: Callable[[float], Slab], gas: float) -> None:
        wall.append(within(make(0.0), rooms.belly, 2.0))
        lumen = within(make(3.0), rooms.belly, 5.0)
        filled.append(lumen)
        if gas > 0.08:
            bubbles.append(topped(lumen, min(gas, 0.85)))

    def bubble(low: float, high: float) -> float:
        return float(rng.uniform(low, high)) * physique.gas

    def along(z: FloatArray, share: float, y: float, radius: float) -> Callable[[float], Slab]:
        wide = np.array([trunk.cavity.at(float(v))["wide"] for v in z])
        x, spine_y = course.centre_at(z)
        phase = rng.uniform(0, 6)
        round_ = radius * size * (1 + 0.14 * np.sin(z / 7.5 + phase))
        round_[0] *= 0.4
        round_[-1] *= 0.4
        place = x + np.sign(share) * (np.abs(share) * wide - 0.2 * radius)
        return lambda inset: tube(z, place, spine_y + y * size, round_ - inset, round_ - inset,
                                  spacing=(2.5, 2.5))  # fmt: skip

    low = trunk.crest + 58 * size
    gut(along(np.linspace(course.z_of("L2") + 22, low, 26), -0.76, -24, 23), bubble(0.1, 0.6))
    gut(along(np.linspace(course.z_of("L1") + 10, low + 8, 28), 0.84, -6, 15), bubble(-0.25, 0.4))
    at = trunk.cavity.at(course.z_of("L3"))
    x = np.linspace(-0.78, 0.78, 34) * at["wide"] + at["x"]
    rel = (x - at["x"]) / (0.78 * at["wide"])
    z = course.z_of("L2") + (8 - 16 * rel) * size + rng.uniform(10, 40) * (1 - rel**2)
    y = at["y"] - at["front"] * (0.80 - 0.42 * rel**2)
    round_ = rng.uniform(16, 21) * size * (1 + 0.16 * np.sin(x / 6.5))
    round_[[0, -1]] *= 0.5
    gut(
        lambda inset: band(x, y, z, round_ - inset, round_ - inset, spacing=2.5), bubble(0.15, 0.75)
    )
    # Sigmoid and rectum, in the hollow of the sacrum.
    z2 = np.linspace(trunk.crest + 95 * size, hip_z + 30 * size, 20)
    back = np.array(
        [trunk.cavity.at(float(v))["y"] + trunk.cavity.at(float(v))["back"] for v in z2]
    )
    bend = 26 * size * np.sin(np.linspace(2.6, 0, 20))
    round2 = np.linspace(14, 18, 20) * size * (1 + 0.08 * np.sin(z2 / 8))
    gut(lambda inset: tube(z2, course.middle_x + bend, back - 22 * size, round2 - inset,
                           (round2 - inset) * 0.9), bubble(-0.1, 0.5))  # fmt: skip
    x3 = np.linspace(18, 92, 24) * size + course.middle_x
    z3 = trunk.crest + (95 - 40 * np.linspace(0, 1, 24)) * size
    y3 = np.linspace(float(back[0]) - 40 * size, float(course.centre_at(low)[1]) - 30 * size, 24)
    round3 = 13.5 * size * (1 + 0.12 * np.sin(x3 / 6))
    gut(
        lambda inset: band(x3, y3, z3, round3 - inset, round3 - inset, spacing=2.5),
        bubble(-0.2, 0.4),
    )
    return [
        tissue("small_bowel", *loops),
        tissue("colon_wall", *wall),
        tissue("faeces", *filled),
        tissue("gas", *bubbles),
    ]


def _small_bowel(
    course: SpineCourse, trunk: Trunk, rooms: Rooms, physique: Physique, rng: np.random.Generator
) -> tuple[list[Slab], list[Slab]]:
    """Loops on a loose lattice in front of the spine, with mesenteric fat between, and gas.

    Loops at the same depth share a slab.
    """
    size = course.size
    # The same bowel lies looser in more fat.
    spread = float(np.clip(22.5 + 0.42 * (physique.bmi - 22) * physique.visceral, 22, 32)) * size
    top, bottom = course.z_of("L1") + 24, course.hip[2] - 34 * size
    reach = 0.72 * float(trunk.cavity.at(course.z_of("L3"))["wide"])
    on = grid((-reach - 40, reach + 40), (top - 35, bottom + 35), (2.5, 3.0))
    layers = 6
    drawn: list[list[tuple[FloatArray, FloatArray, FloatArray]]] = [[] for _ in range(layers)]
    for row, z in enumerate(np.arange(top, bottom, spread)):
        at = trunk.cavity.at(float(z))
        x, y = (float(v) for v in course.centre_at(z))
        front = at["y"] - at["front"] + 13 * size
        rear = y - float(course.body_at(z)[1]) - 34 * size
        if z > trunk.crest + 40:
            rear = y - 18 * size
        for column, place in enumerate(np.arange(-0.68 * at["wide"], 0.69 * at["wide"], spread)):
            # Beside the great vessels they lie further back.
            beside = float(np.clip((abs(place) - 30 * size) / (25 * size), 0, 1))
            end = rear + beside * 30 * size
            count = int(np.clip((end - front) / spread + 0.6, 1, layers))
            for k in range(count):
                if rng.random() < 0.06:
                    continue
                shift = ((row + column) % 2 - 0.5) * 0.3
                depth = front + (k + 0.5 + shift) * (end - front) / count
                centre = np.array([x + place, depth, z]) + rng.normal(0, 4.5, 3)
                radius = rng.uniform(11.0, 15.5) * size
                radii = np.array([rng.uniform(16, 25) * size, radius, radius])
                turn = _turned("z", rng.uniform(0, 3.2)) @ _turned("y", rng.uniform(-1.2, 1.2))
                drawn[k].append((centre, radii, turn))
    loops, bubbles = [], []
    for layer in drawn:
        if not layer:
            continue
        centres, radii, turns = (np.stack(v) for v in zip(*layer, strict=True))
        loops.append(within(balls(on, centres, radii, turns), rooms.belly, 3.0))
        gas = rng.random(len(centres)) < 0.10 * physique.gas
        if gas.any():
            level = centres[:, 1] + rng.uniform(-0.5, 0.4, len(centres)) * radii[:, 1]
            bubble = balls(on, centres[gas], radii[gas] - 2.0, turns[gas], level[gas])
            bubbles.append(within(bubble, rooms.belly, 5.0))
    return loops, bubbles


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
                     np.array([27, 20, 34]) * size, _turned("x", 0.5))  # fmt: skip
    else:
        organ = ball((x, hip_y - 2 * size, hip_z + 31 * size), np.array([23, 17, 18]) * size)
    return [
        tissue("pelvic_organ", organ),
        tissue("bladder_wall", within(ball(place, radii + 3.0), rooms.belly, 1.0)),
        tissue("urine", within(ball(place, radii), rooms.belly, 4.0)),
    ]


def build_vessels(
    course: SpineCourse, physique: Physique, rng: np.random.Generator
) -> list[Tissue]:
    """Aorta with plaques, lower vena cava, iliac vessels, crura of the diaphragm."""
    size = course.size
    apart, hip_y, hip_z = course.hip
    names = ("T4", "T6", "T8", "T10", "T11", "T12", "L1", "L2", "L3", "L4")
    z = np.array([course.z_of(name) for name in names])
    z[-1] += 6
    x, y = course.centre_at(z)
    deep = course.body_at(z)[1]
    lumbar = physique.aorta_mm / 2
    radius = lumbar * np.array([1.12, 1.12, 1.1, 1.08, 1.06, 1.04, 1.0, 0.98, 0.95, 0.90])
    side = rng.normal(7, 2)
    ax = x + np.array([25, 24, 22, 15, 11, 8.5, side, side, side, side - 3]) * size
    ahead = deep + radius + 2.0
    ay = y - np.array([10, 12, 20, 0, 0, 0, 0, 0, 0, 0]) * size
    ay[3:] -= ahead[3:]
    aorta = tube(z, ax, ay, radius, radius, spacing=(2.0, 4.0))
    end_x, end_y, end_z = float(ax[-1]), float(ay[-1]), float(z[-1])
    groin = (apart - 26 * size, hip_y - 46 * size, hip_z - 18 * size)
    iliac, veins = [], []
    for hand in SIDES:
        heights = np.array(
            [end_z - 4, end_z + 35, (end_z + groin[2]) / 2 + 15, groin[2], hip_z + 90]
        )
        final = course.middle_x + hand * groin[0]
        across = np.array([end_x + hand * 5, end_x + hand * 22, 0, final, final + hand * 10])
        across[2] = course.middle_x + hand * 0.85 * groin[0]
        depth = np.array([end_y, end_y + 12, hip_y + 4, groin[1], groin[1] - 4])
        iliac.append(tube(heights, across, depth, [7, 6, 5.5, 5, 4.5], [7, 6, 5.5, 5, 4.5]))
        shift = np.array([0, -hand * 2, -hand * 5, -hand * 13, -hand * 12])
        veins.append(tube(heights + 12, across + shift, depth + np.array([12, 12, 13, 5, 2]),
                          [8, 8, 7, 6.5, 5.5], [6, 6.5, 6, 6, 5.5]))  # fmt: skip
    heights = np.array([course.z_of(n) for n in ("T9", "T11", "T12", "L2", "L4", "L5")])
    heights[-1] -= 8
    vx, vy = course.centre_at(heights)
    vdeep = course.body_at(heights)[1]
    cava = tube(heights, vx - np.array([16, 22, 20, 17, 16, 12]) * size,
                vy - vdeep - np.array([34, 20, 13, 10, 9, 8]) * size,
                np.array([13, 13, 12, 12, 12, 11]) * size, np.array([12, 11, 9, 8, 8, 7]) * size)  # fmt: skip
    crura = []
    for hand in SIDES:
        heights = np.array([course.z_of(n) for n in ("T11", "T12", "L1", "L2")])
        cx, cy = course.centre_at(heights)
        cdeep = course.body_at(heights)[1]
        crura.append(tube(heights, cx + hand * np.array([20, 18, 16, 14]) * size,
                          cy - cdeep - np.array([12, 9, 5, 2]) * size,
                          np.array([9, 8, 7, 4]) * size, np.array([5, 4.5, 4, 3]) * size))  # fmt: skip
    found = [
        tissue("vessel", *_mesenteric_vessels(course, end_x, ay, rng)),
        tissue("diaphragm", *crura),
        tissue("vena_cava", cava, *veins),
        tissue("aorta", aorta, *iliac),
    ]
    plaques = aortic_plaques(z, ax, ay, radius, physique.aortic_calcium, rng)
    if plaques:
        found.append(tissue("plaque", *plaques))
    return found


def _mesenteric_vessels(
    course: SpineCourse, x: float, aorta_y: FloatArray, rng: np.random.Generator
) -> list[Slab]:
    """Upper mesenteric artery and vein, and branches that fan out into the fat of the belly."""
    size = course.size
    z = np.array([course.z_of(name) for name in ("L1", "L2", "L3", "L4")])
    y = float(aorta_y[-3]) - np.array([14, 22, 28, 34]) * size
    artery = tube(z, x + np.array([2, 2, 0, -6]), y, 3.5 * size, 3.5 * size, spacing=(1.5, 4.0))
    vein = tube(z, x - np.array([9, 10, 12, 20]), y - 2, 5.5 * size, 5 * size, spacing=(1.5, 4.0))
    count = 46
    centres = np.stack([
        rng.normal(x - 5, 42 * size, count), rng.normal(float(y[2]) - 4, 9, count),
        rng.uniform(z[1] - 5, z[3] + 50, count),
    ], axis=1)  # fmt: skip
    radii = np.stack([
        rng.uniform(6, 16, count), rng.uniform(1.3, 2.4, count), rng.uniform(1.3, 2.4, count)
    ], axis=1)  # fmt: skip
    turns = np.stack([
        _turned("z", rng.uniform(-0.9, 0.9)) @ _turned("y", rng.uniform(0, 3.1))
        for _ in range(count)
    ])  # fmt: skip
    on = grid((x - 170 * size, x + 170 * size), (float(z[1]) - 25, float(z[3]) + 70), (1.5, 1.5))
    keep = np.abs(centres[:, 0] - x) < 0.40 * 330 * size
    return [artery, vein, balls(on, centres[keep], radii[keep], turns[keep])]


def aortic_plaques(
    z: FloatArray,
    x: FloatArray,
    y: FloatArray,
    radius: FloatArray,
    calcium: float,
    rng: np.random.Generator,
) -> list[Slab]:
    """Plaques in the wall of the aorta from T12 to L4, denser towards its end.

    Parameters
    ----------
    z, x, y, radius : ndarray, shape (N,)
        Course of the aorta, mm; the last five are T12/L1 to L4.
    calcium : float
        0 to 1, of `HEAVY_CALCIUM` grams of mineral.
    """
    if calcium < 0.01:
        return []
    count = int(4 + 34 * min(calcium, 1.2))
    where = z[-1] - (z[-1] - z[-5]) * rng.random(count) ** 1.6
    angle = rng.normal(math.pi / 2, 1.3, count)  # most on the side of the spine
    sizes = np.stack([
        rng.uniform(0.8, 1.5, count), rng.uniform(1.8, 4.5, count), rng.uniform(2.5, 9.0, count)
    ], axis=1)  # fmt: skip
    volume = 4 / 3 * math.pi * sizes.prod(axis=1).sum()
    wanted = calcium * HEAVY_CALCIUM / SUBSTANCES["plaque"].mineral * 1000
    sizes *= (wanted / volume) ** (1 / 3)
    off = np.interp(where, z, radius) - 0.5
    centres = np.stack([
        np.interp(where, z, x) + off * np.cos(angle), np.interp(where, z, y) + off * np.sin(angle),
        where,
    ], axis=1)  # fmt: skip
    turns = np.stack([_turned("z", turn) for turn in angle])
    reach = float(radius.max()) + 8
    on = grid(
        (float(x.min()) - reach, float(x.max()) + reach),
        (float(where.min()) - 18, float(where.max()) + 18), (0.5, 1.0),
    )  # fmt: skip
    behind = np.sin(angle) > 0
    return [
        balls(on, centres[side], sizes[side], turns[side])
        for side in (behind, ~behind)
        if side.any()
    ]


def build_spine_filling(course: SpineCourse) -> list[Tissue]:
    """Discs, fat and fluid of the spinal canal, and the cord down to L1, in order.

    The discs are one column through the bodies, over which the bones are laid: what is between
    two bodies is disc, however the bodies are shaped.
    """
    size = course.size
    z, x, y, wide, deep = [], [], [], [], []
    for one in course.levels:
        axis = one.rotation[:, 2]
        half = one.height / 2
        disc = half + one.disc_below / 2
        for along, share in ((-half, 1.0), (0.0, 0.80), (half, 1.0), (disc, 1.03)):
            place = one.centre + axis * np.float32(along)
            z.append(float(place[2]))
            x.append(float(place[0]))
            y.append(float(place[1]))
            wide.append(one.half_width * share)
            deep.append(one.half_depth * share)
    order = np.argsort(z, kind="stable")
    rows, cx, cy, a, b = (np.array(v)[order] for v in (z, x, y, wide, deep))
    discs = tube(rows, cx, cy, a, b, spacing=(1.5, 1.5), power=2.3)
    z, x, y, behind = [], [], [], []
    for one in course.levels:
        place = one.centre + one.rotation[:, 1] * np.float32(one.half_depth + 9.5 * size)
        z.append(float(place[2]))
        x.append(float(place[0]))
        y.append(float(place[1]))
        behind.append(one.half_depth)
    last = course.levels[-1]
    z.append(z[-1] + last.height + 14)
    x.append(x[-1])
    y.append(y[-1] + 16 * size)
    heights = np.array(z)
    fat = tube(heights, x, y, 11.5 * size, 9 * size, spacing=(1.5, 3.0))
    sac = tube(heights, x, np.array(y) - 1, 8.5 * size, 7 * size, spacing=(1.5, 3.0))
    end = course.z_of("L1")
    upper = heights <= end
    cord = tube(heights[upper], np.array(x)[upper], np.array(y)[upper], 5.2 * size, 4.2 * size,
                spacing=(1.5, 3.0))  # fmt: skip
    return [
        tissue("disc", discs),
        tissue("visceral_fat", fat),
        tissue("spinal_fluid", sac),
        tissue("cord", cord),
    ]

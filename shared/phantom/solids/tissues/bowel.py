"""Small bowel in loops, colon with contents, and gas where it gathers.

Sizes and places [U].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..tissue import Tissue, tissue
from .chest import Rooms
from .course import Physique, SpineCourse
from .slab import Slab, grid, within
from .slab_shapes import balls, band, topped, tube, turned
from .trunk import Trunk

FloatArray = NDArray[np.float64]


def build_bowel(
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
    usual = 22.5 + 0.42 * (physique.bmi - 22)
    spread = float(np.clip(usual * physique.visceral**0.6, 18, 42)) * size
    filled = float(np.clip(physique.visceral**-0.3, 0.8, 1.3)) * size
    top, bottom = course.z_of("T12") + 4, course.hip[2] - 34 * size
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
            if z < course.z_of("L1") + 22 and place < 0.12 * at["wide"]:
                continue
            beside = float(np.clip((abs(place) - 30 * size) / (25 * size), 0, 1))
            end = rear + beside * 55 * size
            count = int(np.clip((end - front) / spread + 0.6, 1, layers))
            for k in range(count):
                if rng.random() < 0.06:
                    continue
                shift = ((row + column) % 2 - 0.5) * 0.3
                depth = front + (k + 0.5 + shift) * (end - front) / count
                centre = np.array([x + place, depth, z]) + rng.normal(0, 4.5, 3)
                radius = rng.uniform(11.0, 15.5) * filled
                radii = np.array([rng.uniform(16, 25) * filled, radius, radius])
                turn = turned("z", rng.uniform(0, 3.2)) @ turned("y", rng.uniform(-1.2, 1.2))
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

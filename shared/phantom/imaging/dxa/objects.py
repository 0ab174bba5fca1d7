"""What does not belong to a patient's bones and is in the picture: clips, clothing, jewellery."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from shared.phantom.solids.distance import (
    Distance,
    Floats,
    floats,
    length,
    rounded_box,
    vector,
)
from shared.phantom.solids.implants import FormulaOutline, Implant, clip
from shared.phantom.solids.tissue import Tissue

#: [U] Shares of visits with surgical clips, with something of the clothing and with jewellery in
#: a field; together with screws and hips 2 to 4 % (design/anatomy.md).
CLIPS: Final = 0.010
CLOTHING: Final = 0.014
JEWELLERY: Final = 0.004
CLOTHES: Final = ("button", "zip", "wire", "hooks")


def draw_objects(rng: np.random.Generator, sex: str, rarity: float) -> tuple[str, ...]:
    """Draw what is there: kinds of `place_objects`.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of the visit.
    sex : str
        ``F`` or ``M``: brassieres are women's.
    rarity : float
        Factor on all rates.
    """
    chances = rng.random(3)
    choice = int(rng.integers(len(CLOTHES) if sex == "F" else 2))
    found = []
    if chances[0] < rarity * CLIPS:
        found.append("clips")
    if chances[1] < rarity * CLOTHING:
        found.append(CLOTHES[choice])
    if chances[2] < rarity * JEWELLERY:
        found.append("piercing")
    return tuple(found)


def place_objects(
    kinds: Sequence[str], tissues: Sequence[Tissue], size: float, rng: np.random.Generator
) -> list[Implant]:
    """Place objects in the world.

    Parameters
    ----------
    kinds : sequence of str
        Of ``clips``, ``button``, ``zip``, ``wire``, ``hooks``, ``piercing``.
    tissues : sequence of Tissue
        The patient's; the first is the skin, on which clothing lies.
    size : float
        Of the skeleton.
    rng : numpy.random.Generator
        For places and directions.
    """
    found: list[Implant] = []
    for kind in kinds:
        if kind == "clips":
            found += _clips(rng, size)
        else:
            found += _worn(kind, tissues[0], size, rng)
    return found


def _clips(rng: np.random.Generator, size: float) -> list[Implant]:
    """Clips of an operation, a few beside each other: gall bladder, kidney or bowel."""
    spot = vector(rng.uniform(-60, 60), rng.uniform(-75, -35), rng.uniform(-70, 110)) * size
    return [
        clip(number, floats(spot + rng.normal(0, 9, 3)), float(rng.uniform(0, math.pi)))
        for number in range(int(rng.integers(2, 6)))
    ]


def _worn(kind: str, skin: Tissue, size: float, rng: np.random.Generator) -> list[Implant]:
    """One thing on the skin."""
    if kind == "button":
        spot = vector(rng.uniform(-15, 15), 0, rng.uniform(20, 110)) * size
        return [_thing("button", _disc(8.0, 1.2), _on(skin, spot, front=True), 10.0)]
    if kind == "zip":
        spot = vector(rng.uniform(-10, 10), 0, rng.uniform(85, 120)) * size
        teeth = _box(vector(2.4, 0.9, 42.0))
        slider = _box(vector(4.0, 1.6, 6.0))
        end = floats(spot - vector(0, 0, 40))
        return [
            _thing("zip", teeth, _on(skin, spot, front=True), 45.0, "titanium"),
            _thing("slider", slider, _on(skin, end, front=True), 9.0),
        ]
    if kind == "wire":
        return [
            _thing(
                f"wire_{side}", _arc(52.0 * size, 1.1),
                _on(skin, vector(sign * 78, 0, -215) * size, front=True), 60.0 * size,
            )
            for side, sign in (("left", 1), ("right", -1))
        ]  # fmt: skip
    if kind == "hooks":
        spot = vector(rng.uniform(-12, 12), 0, rng.uniform(-190, -160)) * size
        return [
            _thing(
                f"hook_{number}", _box(vector(3.0, 0.7, 1.8)),
                _on(skin, floats(spot + vector(0, 0, 13 * number)), front=False), 5.0,
            )
            for number in range(3)
        ]  # fmt: skip
    spot = vector(rng.uniform(-6, 6), 0, rng.uniform(30, 55)) * size
    place = _on(skin, spot, front=True)
    return [
        _thing("piercing_0", _ball(3.0), place, 4.0),
        _thing("piercing_1", _ball(4.0), floats(place + vector(0, -3, 11)), 5.0),
    ]


def _on(skin: Tissue, place: Floats, *, front: bool) -> Floats:
    """The place on the skin in front of or behind a place, mm."""
    x, z = floats([[place[0]]]), floats([[place[2]]])
    faces = []
    for part in skin.parts:
        middle, squared = part.sheets(x, z)
        if squared[0, 0] > 0:
            half = math.sqrt(float(squared[0, 0]))
            faces.append(float(middle[0, 0]) + (-half if front else half))
    depth = (min(faces) if front else max(faces)) if faces else float(place[1])
    return vector(place[0], depth + (-1 if front else 1), place[2])


def _thing(
    name: str, distance: Distance, place: Floats, reach: float, material: str = "steel"
) -> Implant:
    return Implant(name, material, FormulaOutline(distance), place, floats(np.eye(3)), reach)


def _ball(radius: float) -> Distance:
    return lambda points: floats(length(points) - np.float32(radius))


def _box(half: Floats) -> Distance:
    return lambda points: rounded_box(points, vector(0, 0, 0), half, 0.5)


def _disc(radius: float, half: float) -> Distance:
    """A disc that faces forward."""

    def distance(points: Floats) -> Floats:
        across = np.hypot(points[:, 0], points[:, 2]) - np.float32(radius)
        return floats(np.maximum(across, np.abs(points[:, 1]) - np.float32(half)))

    return distance


def _arc(radius: float, thick: float) -> Distance:
    """The lower half of a ring that faces forward."""

    def distance(points: Floats) -> Floats:
        around = np.hypot(points[:, 0], points[:, 2]) - np.float32(radius)
        ring = np.hypot(around, points[:, 1]) - np.float32(thick)
        return floats(np.maximum(ring, -points[:, 2]))

    return distance

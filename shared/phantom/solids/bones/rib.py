"""Twelve pairs of ribs, and the clavicles: hollow curves with an oval section.

Cartilage is no bone: a rib ends where it begins. The frame of a rib is the world's, turned by
nothing; the right one is its mirror image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from shared.phantom.solids.bone import Bone, straight_through
from shared.phantom.solids.curve import oval_curve
from shared.phantom.solids.distance import Floats, floats, length, smoothstep, vector

#: Half width and depth of the rib cage (mm, men), drop of a rib from its head to its end, and how
#: far round it goes (radians) [U]. The thirteenth is a small copy of the twelfth.
RIBS: Final[dict[int, tuple[float, float, float, float]]] = {
    1: (60, 40, 34, 2.55), 2: (86, 58, 44, 2.7), 3: (102, 70, 53, 2.75), 4: (112, 78, 62, 2.75),
    5: (120, 84, 78, 2.7), 6: (126, 88, 92, 2.65), 7: (130, 92, 104, 2.6), 8: (132, 92, 112, 2.45),
    9: (132, 90, 114, 2.25), 10: (130, 88, 108, 2.0), 11: (126, 84, 92, 1.5),
    12: (112, 76, 62, 0.95), 13: (80, 56, 34, 0.6),
}  # fmt: skip
#: Half height and half thickness of a rib, mm; the floating ribs are thinner.
SECTION: Final = (5.8, 3.3)
FLOATING: Final = {11: 0.90, 12: 0.76, 13: 0.62}
#: Trabecular mineral, g/cm³.
CORE: Final = 0.09
#: How far a rib goes to the back first, round the transverse process to its angle, mm, men [U],
#: and how far round that is, radians.
_ANGLE: Final = {1: 16.0, 2: 26.0, 11: 30.0, 12: 20.0, 13: 14.0}
_USUAL_ANGLE: Final = 37.0
_ANGLE_AT: Final = 0.42
#: How flat a rib lies: its height turned out of the vertical, radians.
_FLAT: Final = {1: 1.25, 2: 0.7, 3: 0.25}
_PIECES: Final = 48


def rib_curve(number: int, droop: float, short: float, deep: float = 1.0) -> tuple[Floats, Floats]:
    """Middle of a left rib from its head, mm, and how far round each vertex is, radians.

    Parameters
    ----------
    number : int
        1 to 13.
    droop : float
        Scales how steeply the rib falls.
    short : float
        Share of the rib that is there.
    deep : float
        Scales how far it goes to the front.
    """
    a, b, drop, reach = RIBS[number]
    u = floats(np.linspace(0, short, _PIECES + 1))
    bend = reach * u
    # From beside the vertebra outwards, first a little to the back, then round to the front.
    x = (a - 16) * np.sin(np.minimum(bend, np.pi / 2)) ** 0.85
    late = np.maximum(bend - np.pi / 2, 0)
    x = np.where(bend > np.pi / 2, (a - 16) * (1 - 0.62 * (1 - np.cos(late))), x)
    way = bend / _ANGLE_AT
    behind = _ANGLE.get(number, _USUAL_ANGLE) * (way * np.exp(1 - way)) ** 1.5
    y = behind - b * deep * (1 - np.cos(bend)) * 0.95
    z = drop * droop * (u + 0.22 * np.sin(np.pi * u)) * (0.65 + 0.35 * u)
    return floats(np.stack([x, y, z], axis=1)), floats(bend)


def place_rib(
    number: int,
    head: Floats,
    *,
    left: bool,
    size: float = 1.0,
    droop: float = 1.0,
    deep: float = 1.0,
    short: float = 1.0,
    cortex: float = 1.0,
    core: float = CORE,
    texture: Callable[[Floats, Floats, Floats], Floats] | None = None,
) -> Bone:
    """One rib.

    Parameters
    ----------
    number : int
        1 to 13.
    head : ndarray of float32, shape (3,)
        Where its head is, beside the vertebra, world, mm.
    left : bool
        Side.
    size, droop, deep, short : float
        Scale; how steeply it falls; how far it goes to the front; share of it that is there.
    cortex, core, texture
        As for `Bone`.
    """
    vertices, bend = rib_curve(number, droop, short, deep)
    vertices = floats(vertices * np.float32(size))
    u = floats(np.linspace(0, 1, len(vertices)))
    high, thin = (side * FLOATING.get(number, 1.0) * size for side in SECTION)
    # The head is a knob, the neck behind it thin; the front end is a little wider.
    mm = np.concatenate([[0], np.cumsum(length(np.diff(vertices, axis=0)))])
    grown = 0.80 + 0.30 * np.exp(-((mm / 5) ** 2)) + 0.20 * smoothstep(floats(mm), 12, 32)
    if number in FLOATING:
        grown *= 1 - 0.5 * u**2
    else:
        grown *= 1 + 0.12 * smoothstep(u, 0.85, 1.0)
    round_head = np.exp(-((mm / 12) ** 2))
    halves = np.stack([
        grown * (high * (1 - 0.25 * round_head)), grown * (thin * (1 + 0.25 * round_head))
    ], axis=1)  # fmt: skip
    tip = _FLAT.get(number, 0.0) * smoothstep(floats(mm), 0, 25 * size)
    outwards = np.stack([np.sin(bend), np.cos(bend), np.zeros_like(bend)], axis=1)
    upright = np.cos(tip)[:, None] * vector(0, 0, 1) + np.sin(tip)[:, None] * outwards
    traits = np.stack([0.62 + 0.35 * smoothstep(floats(mm), 10, 40), np.ones(len(u))], axis=1)
    return curved(
        f"rib_{number}_{'left' if left else 'right'}", vertices, floats(upright), floats(halves),
        floats(traits), head, left=left, cortex=cortex, core=core, texture=texture,
    )  # fmt: skip


def place_clavicle(
    inner: Floats,
    outer: Floats,
    *,
    left: bool,
    size: float = 1.0,
    cortex: float = 1.0,
    core: float = 0.12,
    texture: Callable[[Floats, Floats, Floats], Floats] | None = None,
) -> Bone:
    """One clavicle from the sternum to the acromion, both ends in the world, mm."""
    u = floats(np.linspace(0, 1, 33))
    span = floats((outer - inner) * vector(1 if left else -1, 1, 1))
    vertices = u[:, None] * span
    # Seen from above an S: bulging to the front near the sternum, to the back at the shoulder.
    vertices[:, 1] -= np.float32(13 * size) * np.sin(2 * np.pi * u) * (1 - 0.3 * u)
    knob = 1 + 0.75 * (1 - smoothstep(u, 0, 0.22))
    wide = 1 + 0.9 * smoothstep(u, 0.62, 0.95)
    halves = np.float32(size) * np.stack([5.8 * knob * wide**-0.35, 5.8 * knob * wide], axis=1)
    upright = np.broadcast_to(vector(0, 0, 1), vertices.shape)
    shaft = smoothstep(u, 0.1, 0.35) * (1 - smoothstep(u, 0.65, 0.9))
    traits = np.stack([0.7 + 1.3 * shaft, 1 - 0.6 * shaft], axis=1)
    return curved(
        f"clavicle_{'left' if left else 'right'}", floats(vertices), floats(upright),
        floats(halves), floats(traits), inner, left=left, cortex=cortex, core=core,
        texture=texture,
    )  # fmt: skip


def curved(
    name: str,
    vertices: Floats,
    upright: Floats,
    halves: Floats,
    traits: Floats,
    start: Floats,
    *,
    left: bool,
    cortex: float,
    core: float,
    texture: Callable[[Floats, Floats, Floats], Floats] | None,
) -> Bone:
    """A bone along a curve (V, 3) in mm from `start`; the right one is mirrored."""
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    flip = vector(1 if left else -1, 1, 1)
    curve = oval_curve(floats(vertices - middle), upright, halves, traits)
    reach = float(length(curve.vertices).max() + halves.max())
    return Bone(
        name, curve, floats(start + middle * flip), floats(np.diag(flip)), straight_through, reach,
        cortex, core, texture,
    )  # fmt: skip

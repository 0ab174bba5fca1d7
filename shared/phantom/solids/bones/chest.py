"""Sternum and scapulae.

The sternum's frame: origin in the middle of the jugular notch, x to the patient's left, y to the
back, z down along the manubrium. The left scapula's: origin in the middle of the socket of the
shoulder, axes of the world (the blade stands obliquely behind the ribs); the right one is its
mirror image. Units are mm, sizes are men's [U].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np

from shared.phantom.solids.bone import Bone
from shared.phantom.solids.distance import (
    Floats,
    blend,
    capsule,
    carve,
    ellipsoid,
    floats,
    length,
    plate,
    rounded_box,
    smoothstep,
    vector,
)
from shared.phantom.solids.scaled import scaled, scaled_half
from shared.phantom.solids.template import SampledOutline, sample_near

#: Length of the manubrium, and of manubrium and body, mm.
MANUBRIUM: Final = 49.0
STERNUM: Final = 152.0
#: How much the body turns back against the manubrium, as a slope.
SLANT: Final = 0.34
#: Trabecular mineral for which the shares below were chosen, g/cm³.
CORE: Final = 0.10

#: Corners of the blade: upper, lower and lateral angle.
_UPPER, _LOWER, _LATERAL = vector(-84, 44, -44), vector(-76, 54, 104), vector(-10, 8, 4)
#: The scapular spine from the medial border to the corner of the acromion.
_ROOT, _CORNER, _ACROMION = vector(-88, 46, -10), vector(2, 44, -26), vector(24, 12, -34)


def sternum_distance(points: Floats) -> Floats:
    """Signed distance of the sternum at points (N, 3), mm."""
    p = points.copy()
    p[:, 0] = np.abs(p[:, 0])
    # Below the manubrium the body turns back by some twenty degrees.
    p[:, 1] -= np.float32(SLANT) * np.maximum(p[:, 2] - np.float32(MANUBRIUM), 0)
    x, y, z = p.T
    high = np.stack([
        (x - 31 + np.float32(0.30) * z) * np.float32(0.95),
        np.abs(y) - (6.5 - np.float32(0.03) * z),
        np.abs(z - np.float32(MANUBRIUM / 2 - 0.5)) - np.float32(MANUBRIUM / 2 - 0.5),
    ], axis=1) + np.float32(3.5)  # fmt: skip
    manubrium = length(np.maximum(high, 0)) + np.minimum(high.max(axis=1), 0) - np.float32(3.5)
    notch = length(floats(p * vector(1, 0, 1) - vector(0, 0, -11))) - np.float32(15)
    clavicle = length(floats(p - vector(33, 0, -2))) - np.float32(11)
    manubrium = carve(carve(manubrium, notch, 4), clavicle, 3)
    wide = 13 + 5 * smoothstep(z, 60, 130) - 9 * smoothstep(z, 132, 152)
    low = np.stack([
        (x - wide) * np.float32(0.95),
        np.abs(y) - np.float32(4.7),
        np.abs(z - np.float32((MANUBRIUM + STERNUM) / 2 + 0.8))
        - np.float32((STERNUM - MANUBRIUM) / 2 - 0.8),
    ], axis=1) + np.float32(3)  # fmt: skip
    body = length(np.maximum(low, 0)) + np.minimum(low.max(axis=1), 0) - np.float32(3)
    tip = rounded_box(p, vector(0, 1, STERNUM + 12), vector(5.5, 2.4, 15), 2.2)
    return np.minimum(manubrium, blend(body, tip, 4))


def scapula_distance(points: Floats) -> Floats:
    """Signed distance of the left scapula at points (N, 3), mm."""
    p = points
    blade = plate(p, np.stack([_UPPER, _LOWER, _LATERAL]), 3.6)
    blade = blend(blade, capsule(p, _UPPER, _LOWER, 2.4, 3.2), 3)
    blade = blend(blade, capsule(p, vector(-13, 12, 12), _LOWER, 6.0, 4.0), 5)
    socket = ellipsoid(p, vector(-6, 2, 0), vector(8.5, 14, 19.5))
    socket = carve(socket, length(floats(p - vector(33, -2, 0))) - np.float32(33), 1)
    neck = blend(socket, capsule(p, vector(-9, 4, 1), vector(-26, 16, 4), 11, 6.5), 6)
    ridge = plate(p, np.stack([_ROOT, _CORNER, vector(-22, 20, -8)]), 4.2)
    ridge = blend(ridge, capsule(p, _ROOT, _CORNER, 3.4, 5.0), 4)
    acromion = plate(
        p, np.stack([_CORNER, _ACROMION, vector(6, 20, -31), vector(-10, 40, -25)]), 8.0
    )
    coracoid = blend(
        capsule(p, vector(-14, 2, -15), vector(-9, -18, -27), 7.5, 6.5),
        capsule(p, vector(-9, -18, -27), vector(8, -34, -17), 6.5, 5.0), 4,
    )  # fmt: skip
    solid = blend(blend(blade, neck, 7), blend(ridge, acromion, 6), 5)
    return blend(solid, coracoid, 6)


def _sternal(points: Floats, distance: Floats) -> Floats:
    """Cortex in mm, core as a share."""
    return np.broadcast_to(vector(0.85, 1.0), (len(points), 2))


def _scapular(points: Floats, distance: Floats) -> Floats:
    """Cortex in mm, core as a share: the lateral border and the ridge are the thickest."""
    border = capsule(points, vector(-13, 12, 12), _LOWER, 6.0, 4.0)
    ridge = capsule(points, _ROOT, _CORNER, 3.4, 5.0)
    strong = 1 - smoothstep(np.minimum(border, ridge), 0, 4)
    socket = 1 - smoothstep(length(floats(points - vector(-6, 2, 0))), 14, 26)
    thick = 0.62 + 0.7 * strong + 0.25 * socket
    return np.stack([floats(thick), floats(0.9 + 0.9 * socket)], axis=1)


@lru_cache(maxsize=1)
def sternum_template() -> SampledOutline:
    """The left half of the sternum, sampled."""
    return sample_near(sternum_distance, (-1.6, -10, -6), (36, 54, 184), _sternal, 1.4)


@lru_cache(maxsize=1)
def scapula_template() -> SampledOutline:
    """The left scapula, sampled."""
    return sample_near(scapula_distance, (-98, -44, -54), (32, 66, 114), _scapular, 1.5)


def place_sternum(
    notch: Floats,
    slope: float,
    size: float,
    *,
    cortex: float = 1.0,
    core: float = CORE,
    texture: Callable[[Floats, Floats, Floats], Floats] | None = None,
) -> Bone:
    """The sternum under its jugular notch (world, mm).

    `slope` is how far the manubrium's lower end stands forward, radians: 0.6 or so; the body
    comes half way back. `cortex`, `core` and `texture` are as for `Bone`.
    """
    cos, sin = math.cos(slope), math.sin(slope)
    rotation = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], np.float32)
    # The frame's origin is at one end: reach is the bone's length.
    return Bone(
        "sternum", sternum_template(), notch, rotation, scaled_half(size), 190 * size, cortex, core,
        texture,
    )  # fmt: skip


def place_scapula(
    socket: Floats,
    size: float,
    *,
    left: bool,
    turn: float = 0.0,
    lean: float = 0.0,
    cortex: float = 1.0,
    core: float = CORE,
    texture: Callable[[Floats, Floats, Floats], Floats] | None = None,
) -> Bone:
    """One scapula with the middle of its socket at `socket` (world, mm).

    `turn` moves the lower angle outwards, radians: a raised arm's scapula is turned by half the
    arm's angle or so; `lean` moves it backwards, radians. `cortex`, `core` and `texture` are as
    for `Bone`.
    """
    cos, sin = math.cos(turn), math.sin(turn)
    about_y = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    cos, sin = math.cos(lean), math.sin(lean)
    about_x = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    rotation = np.diag([1.0 if left else -1.0, 1, 1]) @ about_x @ about_y
    name = f"scapula_{'left' if left else 'right'}"
    return Bone(
        name, scapula_template(), socket, floats(rotation), scaled(size), 145 * size, cortex, core,
        texture,
    )  # fmt: skip

"""The sacrum, between the hip bones and under the last disc, and where its joints are.

Frame, mm: origin in the middle of the upper end plate, x to the patient's left, z down along the
axis of the first body, y to the back. The joints with the hip bones are two sheets: the sacrum
ends before them, a hip bone begins behind them, and between is the gap.
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
    floats,
    length,
    rounded_box,
    smoothstep,
    vector,
)
from shared.phantom.solids.scaled import scaled_half
from shared.phantom.solids.template import SampledOutline, sample_near

#: Angle of the upper end plate to the horizontal for which the pelvis was drawn, radians.
SLOPE: Final = math.radians(38.0)
#: The hip joint from the middle of the upper end plate, at that slope: to the side, to the
#: front and below, mm, men [U] (incidence about 58 degrees).
JOINT: Final = (88.0, -34.0, 92.0)
#: Middle of the sacro-iliac joints from the line through the hip joints, y and z, mm.
SACROILIAC: Final = (62.0, -70.0)
#: Width of the sacro-iliac joints between the bones, mm.
GAP: Final = 3.2
#: Trabecular mineral for which the shares below were chosen, g/cm³.
CORE: Final = 0.12


def joint_sheet(y: Floats, z: Floats) -> Floats:
    """How far the left sacro-iliac joint is from the midline, mm.

    `y` and `z` are measured from the middle of the joint, in the pelvis as it was drawn: its
    front is further to the side than its back, and its top further than its foot.
    """
    return floats(49.5 - 0.52 * y - 0.16 * z)


def turned(slope: float) -> Floats:
    """Axes of a sacrum with a slope (radians) as columns, in the pelvis."""
    cos, sin = math.cos(slope), math.sin(slope)
    return np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]], np.float32)


def hip_joint(slope: float, tilt: float, size: float) -> Floats:
    """The left hip joint from the middle of the sacrum's upper end plate, mm, shape (3,).

    The sacrum turns in its joints with the hip bones: by how much is what `slope` differs from
    `SLOPE` less `tilt`, the turn of the hip bones to the front (radians). More than 0.1 rad
    would close the gap.
    """
    side, front, below = JOINT
    middle = vector(0, SACROILIAC[0] + front, SACROILIAC[1] + below)
    own = middle @ turned(SLOPE)  # in the sacrum's frame
    hip = turned(tilt) @ vector(side, -SACROILIAC[0], -SACROILIAC[1])
    return floats((turned(slope) @ own + hip) * np.float32(size))


def sacrum_distance(points: Floats) -> Floats:
    """Signed distance of the sacrum's left half without its joint at points (N, 3), mm."""
    p = points.copy()
    p[:, 0] = np.abs(p[:, 0])
    p[:, 1] += np.float32(0.0035) * p[:, 2] ** 2  # hollow to the front
    x, y, z = p.T
    taper = np.clip(1 - z / np.float32(150), 0.3, 1)
    q = p.copy()
    q[:, :2] /= taper[:, None]
    # Wings and lateral masses: a wedge, narrower and thinner downwards.
    sides = np.stack(
        [
            (x - 70 + np.float32(0.44) * z) * np.float32(0.93),
            np.abs(y - 7) - (13 - np.float32(0.065) * z),
            np.maximum(4 + np.float32(0.14) * x - z, z - 106),
        ],
        axis=1,
    ) + np.float32(6)
    inside = np.maximum(np.maximum(sides[:, 0], sides[:, 1]), sides[:, 2])
    wedge = length(np.maximum(sides, 0)) + np.minimum(inside, 0) - np.float32(6)
    bodies = rounded_box(q, vector(0, -1, 14), vector(24.5, 14.5, 13.5), 4)
    bodies = blend(bodies, rounded_box(q, vector(0, 0, 60), vector(22, 13, 46), 5), 4)
    crest = capsule(q, vector(0, 28, 16), vector(0, 24, 95), 5, 4)
    back = blend(capsule(q, vector(14, 19, 10), vector(14, 17, 90), 5.5, 5.5), crest, 8)
    solid = blend(blend(bodies, back, 4) * taper, wedge, 7)
    canal = capsule(q * vector(1, 1.8, 1), vector(0, 34, -14), vector(0, 29, 92), 10.5, 6)
    solid = carve(solid, canal / np.float32(1.8), 2)
    for place, side, radius in ((30, 20.5, 5.2), (52, 18, 4.8), (72, 15.5, 4.2), (90, 13, 3.6)):
        wide = p * vector(1, 0, 1) - vector(side, 0, place)
        hole = length(wide) - np.float32(radius)
        solid = carve(solid, hole, 3)
    # The coccyx.
    return blend(solid, capsule(p, vector(0, 3, 113), vector(0, 6, 140), 6, 3), 2)


def _in_pelvis(points: Floats) -> tuple[Floats, Floats]:
    """Return y and z of points of the sacrum's frame from the middle of the joints, as drawn."""
    _, front, below = JOINT
    placed = points @ turned(SLOPE).T
    return placed[:, 1] - (front + SACROILIAC[0]), placed[:, 2] - (below + SACROILIAC[1])


def _jointed(points: Floats) -> Floats:
    """The sacrum up to its joints."""
    y, z = _in_pelvis(points)
    beyond = (np.abs(points[:, 0]) - joint_sheet(y, z) + np.float32(GAP / 2)) * np.float32(0.88)
    return carve(sacrum_distance(points), -beyond, 2)


def _traits(points: Floats, distance: Floats) -> Floats:
    """Cortex in mm, core as a share: dense under the end plate, poor in the wings."""
    x, _, z = np.abs(points).T
    top = 1 - smoothstep(points[:, 2], 1, 6)
    thick = 0.6 + 0.35 * top * (1 - smoothstep(x, 22, 28))
    wing = smoothstep(x, 24, 34) * (1 - smoothstep(x, 40, 46))
    share = 1.05 + 0.5 * top - 0.45 * wing - 0.25 * smoothstep(z, 40, 90)
    return np.stack([floats(thick), floats(share)], axis=1)


@lru_cache(maxsize=1)
def sacrum_template() -> SampledOutline:
    """The left half of the sacrum, sampled."""
    return sample_near(_jointed, (-1.6, -76, -7), (64, 38, 144), _traits, 1.4)


def place_sacrum(
    top: Floats,
    slope: float,
    size: float,
    *,
    pelvis: Floats | None = None,
    cortex: float = 1.0,
    core: float = CORE,
    texture: Callable[[Floats, Floats, Floats], Floats] | None = None,
) -> Bone:
    """The sacrum under the last disc.

    Parameters
    ----------
    top : ndarray of float32, shape (3,)
        Middle of its upper end plate, world, mm.
    slope : float
        Angle of the end plate to the horizontal, radians.
    size : float
        Scale.
    pelvis : ndarray of float32, shape (3, 3), optional
        Axes of the whole pelvis as columns, where it lies askew.
    cortex, core, texture
        As for `Bone`.
    """
    rotation = turned(slope)
    if pelvis is not None:
        rotation = floats(pelvis @ rotation)
    return Bone(
        "sacrum",
        sacrum_template(),
        top,
        rotation,
        scaled_half(size),
        160 * size,
        cortex,
        core,
        texture,
    )

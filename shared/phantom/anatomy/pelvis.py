"""Hip bones and sacrum, from the iliac crests to the ring below the hip joint.

Frame of a hip bone (left), mm: origin at the centre of the hip joint, x to the
patient's left, y to the back, z to the feet. The right one is its mirror image.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from shared.phantom.solids.bones.hip_bone import bezier
from shared.seeds import numpy_generator

from .solid import (
    Floats,
    PointSolid,
    blend,
    capsule,
    ellipsoid,
    even_sheet,
    floats,
    rounded_box,
    sample_solid,
    smoothstep,
    vector,
)
from .vertebra import CORTICAL

#: The hip joint lies this far to the side of the midline, and the iliac crest
#: this far above it (mm, men) [U].
JOINT_X = 88.0
CREST_HEIGHT = 138.0


def _ring_distance(points: Floats) -> Floats:
    """Signed distance of ischium, pubis and the body of the ilium."""
    p = points
    ischium = capsule(p, vector(-14, 18, 10), vector(-24, 26, 52), 17.5, 11.5)
    tuber = ellipsoid(p, vector(-22, 28, 62), vector(15, 15, 21))
    upper_ramus = capsule(p, vector(-20, -12, 4), vector(-66, -38, 20), 11.5, 6.5)
    lower_ramus = capsule(p, vector(-30, 20, 72), vector(-54, -6, 66), 8, 6)
    lower_ramus = blend(lower_ramus, capsule(p, vector(-54, -6, 66), vector(-72, -32, 46), 6, 6), 8)
    pubis = rounded_box(p, vector(-76, -38, 34), vector(9, 8, 19), 6)
    ring = blend(blend(ischium, tuber, 8), blend(upper_ramus, pubis, 6), 3)
    ring = blend(ring, lower_ramus, 6)
    # the cup opens to the side, the front and below; its roof is its thickest part
    radius = np.sqrt((p**2).sum(axis=1))
    opening = p @ vector(0.84, -0.32, 0.44)
    roof = smoothstep(-p[:, 2], -6, 26)
    shell = np.abs(radius - 28.5 - 2.5 * roof) - (2.2 + 3.2 * roof)
    ring = blend(ring, -blend(-shell, 3 - opening, 5), 5)
    return -blend(-ring, radius - 25.0, 1.5)


@lru_cache(maxsize=1)
def _ring() -> PointSolid:
    return sample_solid(
        _ring_distance, (-88, -56, -74), (32, 50, 92), surface_spacing=1.1, core_spacing=2.0
    )


@lru_cache(maxsize=1)
def _wing() -> tuple[Floats, Floats]:
    """Points (N, 3) and masses (g) of the left iliac wing in the hip bone's frame."""
    u, v = even_sheet(30000)
    # fixed random depths: a lattice through the sheet would show as a comb at its edge
    w = numpy_generator(0, "iliac wing").random(len(u), dtype=np.float32)
    crest = bezier(u, vector(-52, 66, -92), vector(-30, 34, -162), vector(28, -30, -150),
                    vector(30, -68, -82))  # fmt: skip
    base = bezier(
        u, vector(-46, 44, -40), vector(-34, 34, -19), vector(-12, 14, -21), vector(7, -30, -30)
    )
    rise = v[:, None]
    points = base * (1 - rise) + crest * rise
    points[:, 0] += 9 * np.sin(np.pi * v) * np.sin(np.pi * u)
    thick = 5.0 + 7.0 * smoothstep(v, 0.90, 1.0) + 14 * (1 - smoothstep(v, 0.0, 0.3))
    thick += 7.0 * (1 - smoothstep(u, 0.05, 0.3)) + 3.0 * smoothstep(u, 0.85, 1.0)
    side = np.where(w < 0.62, np.sign(w - 0.31), (w - 0.81) / 0.19)
    across = vector(0.85, 0.50, -0.12)
    points += (side * thick / 2)[:, None] * across
    length = np.linalg.norm(crest - base, axis=1)
    width = 150 * v + 90 * (1 - v)
    sheet = length * width / len(u)
    cortical = 2 * (0.75 + 0.9 * smoothstep(v, 0.93, 1.0)) * CORTICAL
    mass = sheet * np.where(w < 0.62, cortical / 0.62, thick * 0.10e-3 / 0.38)
    return floats(points), floats(mass)


@lru_cache(maxsize=1)
def _hip_bone() -> tuple[Floats, Floats]:
    ring = _ring()
    thickness = np.full_like(ring.area, 0.9)
    radius = np.sqrt((ring.surface**2).sum(axis=1))
    # the weight-bearing roof of the joint is a bright arc
    roof = smoothstep(-ring.surface[:, 2], 6, 22) * (radius < 26.5)
    thickness += np.float32(0.7) * roof
    inward = ring.surface - ring.normal * (ring.depth * thickness)[:, None]
    wing_points, wing_mass = _wing()
    points = np.concatenate([inward, ring.core, wing_points])
    mass = np.concatenate([
        ring.area * thickness * np.float32(CORTICAL),
        np.full(len(ring.core), ring.volume * 0.13e-3, np.float32),
        wing_mass,
    ])  # fmt: skip
    return points, mass


def _sacrum_distance(points: Floats) -> Floats:
    """Signed distance of the sacrum; origin in the middle of its upper end plate, z along it."""
    p = points.copy()
    p[:, 0] = np.abs(p[:, 0])
    p[:, 1] -= 0.0035 * p[:, 2] ** 2  # hollow to the front
    taper = np.clip(1 - p[:, 2] / 150, 0.3, 1)
    q = floats(p / np.stack([taper, taper, np.ones_like(taper)], axis=1))
    bodies = rounded_box(q, vector(0, 0, 14), vector(24.5, 15.5, 13.5), 4)
    for place, half in ((43, 11.5), (68, 10.5), (90, 9.5)):
        bodies = np.minimum(bodies, rounded_box(q, vector(0, 0, place), vector(23, 14.5, half), 4))
    wings = capsule(p, vector(22, 4, 14), vector(45, 9, 28), 12, 13)
    wings = blend(wings, capsule(p, vector(45, 10, 28), vector(31, 8, 84), 11, 7), 10)
    crest = capsule(q, vector(0, 30, 16), vector(0, 24, 95), 6, 5)
    back = blend(capsule(q, vector(14, 20, 10), vector(14, 18, 90), 6, 6), crest, 8)
    return blend(blend(bodies, wings, 6), back, 4)


@lru_cache(maxsize=1)
def _sacrum() -> PointSolid:
    return sample_solid(
        _sacrum_distance, (-58, -24, -6), (58, 72, 104), surface_spacing=1.2, core_spacing=2.2
    )


def place_hip_bone(joint: Floats, size: float, left: bool) -> tuple[Floats, Floats]:
    """Mineral points (N, 3) in mm and masses (N,) in g of one hip bone."""
    points, mass = _hip_bone()
    sign = 1.0 if left else -1.0
    placed = points * (vector(sign, 1, 1) * np.float32(size)) + joint
    return np.asarray(placed, np.float32), mass * np.float32(size**2.5)


def place_sacrum(top: Floats, slope: float, size: float) -> tuple[Floats, Floats]:
    """Mineral points and masses of the sacrum under the last disc.

    `slope` is the angle of the upper end plate to the horizontal, radians.
    """
    solid = _sacrum()
    inward = solid.surface - solid.normal * solid.depth[:, None]
    points = np.concatenate([inward, solid.core]) * np.float32(size)
    cos, sin = np.cos(slope), np.sin(slope)
    turn = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]], np.float32)
    mass = np.concatenate([
        solid.area * np.float32(0.5 * CORTICAL),
        np.full(len(solid.core), solid.volume * 0.11e-3, np.float32),
    ])  # fmt: skip
    return np.asarray(points @ turn.T + top, np.float32), mass * np.float32(size**2.5)

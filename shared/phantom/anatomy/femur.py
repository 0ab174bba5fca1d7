"""The left proximal femur: head, neck, trochanters and shaft.

Frame, mm: origin at the centre of the head, x to the patient's left (lateral),
y to the back, z to the feet; the leg is turned inwards so that the neck lies in
the image plane, as a technologist positions it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from .solid import (
    Floats,
    PointSolid,
    blend,
    capsule,
    ellipsoid,
    floats,
    sample_solid,
    smoothstep,
    vector,
)
from .vertebra import CORTICAL

#: Template: head radius, neck-shaft angle (degrees), head centre to shaft axis along the neck.
HEAD_RADIUS: Final = 23.5
NECK_SHAFT_DEGREES: Final = 128.0
NECK_TO_SHAFT: Final = 52.0
SHAFT_RADIUS: Final = 14.5
#: Unit vector along the template's neck, from head to shaft.
_ANGLE = math.radians(NECK_SHAFT_DEGREES)
NECK_AXIS: Final = (math.sin(_ANGLE), 0.0, -math.cos(_ANGLE))
SHAFT_X: Final = NECK_TO_SHAFT * NECK_AXIS[0]
SHAFT_TOP: Final = NECK_TO_SHAFT * NECK_AXIS[2]
LENGTH: Final = 175.0


@dataclass(frozen=True)
class FemurShape:
    """What makes one femur differ from the template.

    `size` scales everything, `neck` the length of the neck, `angle` is added to
    the neck-shaft angle (radians), `cortex` scales the cortical thickness and
    `turn` is the error of rotation about the shaft (radians).
    """

    size: float = 1.0
    neck: float = 1.0
    angle: float = 0.0
    cortex: float = 1.0
    turn: float = 0.0
    tilt: float = 0.0


@dataclass(frozen=True)
class FemurCloud:
    """Mineral points in the femur's world position, masses in g, and landmarks.

    `along` is the place of each point on the template's neck axis, mm from the
    head's centre; `head` the head's centre; `neck_axis` (head to shaft) and
    `shaft_axis` (downwards) are unit vectors; `turn` is the error of rotation,
    radians.
    """

    points: Floats
    mass: Floats
    along: Floats
    head: Floats
    neck_axis: Floats
    shaft_axis: Floats
    size: float
    turn: float


def femur_distance(points: Floats) -> Floats:
    """Signed distance of the template femur, mm."""
    p = points
    n = vector(*NECK_AXIS)
    head = np.sqrt((p**2).sum(axis=1)) - HEAD_RADIUS
    squeezed = p * vector(1, 1.22, 1)
    neck = capsule(squeezed, n * 6, n * 26, 17.5, 15.2)
    neck = blend(neck, capsule(squeezed, n * 26, n * 52, 15.2, 19.5), 6)
    shaft = capsule(p, vector(SHAFT_X, 0, SHAFT_TOP + 10), vector(SHAFT_X, 0, 95), 17.5, 14.6)
    long_shaft = capsule(p, vector(SHAFT_X, 0, 95), vector(SHAFT_X, 0, 230), 14.6, 14.2)
    shaft = blend(shaft, long_shaft, 8)
    greater = ellipsoid(p, vector(SHAFT_X + 8, 4, 24), vector(13.5, 17, 25))
    greater = blend(greater, ellipsoid(p, vector(SHAFT_X + 3, 9, 9), vector(9.5, 11, 13)), 10)
    lesser = ellipsoid(p, vector(SHAFT_X - 15, 10, 74), vector(8.5, 8.5, 14))
    solid = blend(blend(head, neck, 7), shaft, 12)
    return blend(blend(solid, greater, 10), lesser, 8)


@lru_cache(maxsize=1)
def _template() -> tuple[PointSolid, Floats, Floats]:
    """Sampled femur, cortex thickness in mm by surface point, core density in g/mm³."""
    solid = sample_solid(femur_distance, (-28, -28, -28), (72, 32, LENGTH), core_spacing=1.6)
    n = vector(*NECK_AXIS)
    along = solid.surface @ n
    z = solid.surface[:, 2]
    x = solid.surface[:, 0]
    on_shaft = smoothstep(z, 50, 110)
    on_neck = smoothstep(along, 14, 24) * (1 - smoothstep(along, 48, 62))
    downward = smoothstep(solid.normal @ vector(-n[2], 0, n[0]), 0.0, 0.9)
    medial = smoothstep(-solid.normal[:, 0], 0.1, 0.9) * smoothstep(z, 38, 60)
    thickness = 0.7 + on_neck * (0.5 + 2.0 * downward) + on_shaft * 4.4 + medial * 1.6
    lateral = smoothstep(x, SHAFT_X + 6, SHAFT_X + 14) * smoothstep(z, 30, 60)
    thickness += 1.0 * lateral * (1 - on_shaft)
    density = _core_density(solid.core)
    return solid, floats(thickness), floats(density)


def _core_density(core: Floats) -> Floats:
    """Trabecular mineral, g/mm³: compressive and tensile groups, Ward's triangle, empty shaft."""
    n = vector(*NECK_AXIS)
    along = core @ n
    radius = np.sqrt((core**2).sum(axis=1))
    head = 1 - smoothstep(radius, 15, 27)
    # the compressive group fans from the calcar to the top of the head
    start, end = vector(SHAFT_X - 14, 0, 50), vector(-3, 0, -20)
    axis = (end - start) / np.linalg.norm(end - start)
    offset = core - start
    away = offset - (offset @ axis)[:, None] * axis
    fan = np.exp(-(away[:, 0] ** 2 + away[:, 2] ** 2) / np.float32(2 * 8.5**2))
    # the tensile group arches from the lateral cortex under the top of the neck
    lift = core @ vector(-n[2], 0, n[0])  # positive below the neck's axis
    arch = np.exp(-((lift + 9) ** 2) / np.float32(2 * 5.0**2)) * smoothstep(along, 0, 15)
    arch *= 1 - smoothstep(along, 55, 70)
    base = 0.085 + 0.10 * head + 0.16 * fan + 0.07 * arch
    marrow = 1 - smoothstep(core[:, 2], 50, 92)
    edge = 0.06 * smoothstep(core[:, 0], SHAFT_X + 2, SHAFT_X + 18) * marrow
    return np.asarray((base * marrow + edge + 0.012) * 1e-3, dtype=np.float32)


def _bend(points: Floats, shape: FemurShape) -> Floats:
    """Move template points to one patient's shape, head centre kept at the origin."""
    n = vector(*NECK_AXIS)
    along = points @ n
    lengthen = np.clip(along, 12, 44) - 12
    moved = points + (lengthen * np.float32(shape.neck - 1))[:, None] * n
    # open or close the neck-shaft angle about the y axis, beyond the neck
    share = smoothstep(along, 15, 50) * np.float32(shape.angle)
    pivot = n * 30
    rel = moved - pivot
    cos, sin = np.cos(share), np.sin(share)
    x = rel[:, 0] * cos + rel[:, 2] * sin
    z = -rel[:, 0] * sin + rel[:, 2] * cos
    bent = np.stack([x, rel[:, 1], z], axis=1) + pivot
    bent *= np.float32(shape.size)
    cos_t, sin_t = math.cos(shape.turn), math.sin(shape.turn)
    turn = np.array([[cos_t, -sin_t, 0], [sin_t, cos_t, 0], [0, 0, 1]], np.float32)
    cos_a, sin_a = math.cos(shape.tilt), math.sin(shape.tilt)
    tilt = np.array([[cos_a, 0, sin_a], [0, 1, 0], [-sin_a, 0, cos_a]], np.float32)
    return np.asarray(bent @ (tilt @ turn).T, dtype=np.float32)


def place_femur(shape: FemurShape, head: Floats) -> FemurCloud:
    """Mineral points of the left femur with its head at `head` (world, mm)."""
    solid, thickness, density = _template()
    thickness = np.clip(thickness * np.float32(shape.cortex), 0.5, 9.0)
    inward = solid.surface - solid.normal * (solid.depth * thickness)[:, None]
    # a shell's inner layers are smaller than its surface
    layer = 1 - solid.depth * thickness / np.float32(2 * SHAFT_RADIUS)
    points = np.concatenate([inward, solid.core])
    mass = np.concatenate([
        solid.area * thickness * layer * np.float32(CORTICAL * shape.size**2),
        density * np.float32(solid.volume * shape.size**3),
    ])  # fmt: skip
    n = vector(*NECK_AXIS)
    shaft = [vector(SHAFT_X, 0, 60), vector(SHAFT_X, 0, 160)]
    marks = np.stack([n * 16, n * 44, *shaft])
    near, far, top, bottom = _bend(marks, shape)
    return FemurCloud(
        points=_bend(points, shape) + head,
        mass=floats(mass),
        along=points @ n,
        head=head,
        neck_axis=(far - near) / np.float32(np.linalg.norm(far - near)),
        shaft_axis=(bottom - top) / np.float32(np.linalg.norm(bottom - top)),
        size=shape.size,
        turn=shape.turn,
    )

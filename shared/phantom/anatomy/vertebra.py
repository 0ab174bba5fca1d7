"""One vertebra: body with waist, shell and end plates, pedicles, facets and processes.

Frame of a vertebra, mm: origin at the centre of the body, x to the patient's
left, y to the back, z to the feet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from shared.phantom.solids.bones.vertebra import body_distance, mirrored

from .solid import (
    Floats,
    PointSolid,
    blend,
    capsule,
    carve,
    ellipsoid,
    floats,
    rounded_box,
    sample_solid,
    smoothstep,
    vector,
)

#: Levels from cranial to caudal.
LEVELS: Final = (
    "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5",
)  # fmt: skip

#: Body of the two templates: half width, half depth, height, mm.
LUMBAR_BODY: Final = (21.5, 17.5, 24.5)
THORACIC_BODY: Final = (14.5, 14.0, 19.5)

#: Hydroxyapatite in cortical and in trabecular bone, g/mm³ (anatomy.md [U]).
CORTICAL: Final = 1.05e-3
TRABECULAR: Final = 0.13e-3


@dataclass(frozen=True)
class VertebraShape:
    """What makes one vertebra of one patient differ from the template.

    Lengths in mm, angles in radians. `anterior`, `middle`, `posterior` are the
    heights after any fracture; `healthy` the posterior height before it.
    `flare` is the share by which osteophytes widen the rims, `sclerosis` the
    factor on the mineral of the end plates. `collapse` in [0, 1] says how much
    of a loss of height comes from the upper end plate.
    """

    level: str
    width: float
    depth: float
    anterior: float
    middle: float
    posterior: float
    healthy: float
    flare: float = 0.0
    sclerosis: float = 1.0
    collapse: float = 0.5
    lean: float = 0.0  # left minus right height over width
    process: float = 1.0  # length of the processes


@dataclass(frozen=True)
class VertebraCloud:
    """Mineral points of a placed vertebra: positions (N, 3) mm and masses (N,) g."""

    cortex: Floats
    cortex_mass: Floats
    core: Floats
    core_mass: Floats


def lumbar_distance(points: Floats) -> Floats:
    """Signed distance of a lumbar vertebra like L2, mm."""
    p = mirrored(points)
    solid = carve(
        body_distance(p, LUMBAR_BODY), ellipsoid(p, vector(0, 27, 0), vector(12, 11.5, 60)), 4
    )
    pedicle = (p - vector(0, 0, -5.5)) * vector(1, 1, 0.66) + vector(0, 0, -5.5)
    solid = blend(
        solid, capsule(pedicle, vector(13.5, 13, -5.5), vector(14.2, 31, -5.5), 4.1, 4.3), 2
    )
    lamina = capsule(p, vector(12.5, 33, -1), vector(2.5, 42, 6), 3.9, 3.6)
    lamina = blend(lamina, capsule(p, vector(10.5, 35, 6), vector(3, 42, 11), 3.4, 3.4), 3)
    upper = capsule(p, vector(13.8, 32, -3), vector(15.2, 33, -16), 4.2, 3.8)
    lower = capsule(p, vector(10.5, 36, 6), vector(11.2, 38, 19), 4.2, 4.2)
    facets = blend(upper, lower, 3)
    spinous = rounded_box(p, vector(0, 54, 9.5), vector(2.8, 13, 7.5), 2.6)
    spinous = blend(spinous, ellipsoid(p, vector(0, 62, 13), vector(4.6, 6.5, 8.5)), 4)
    flat = (p - vector(0, 0, -4)) * vector(1, 1.25, 0.9) + vector(0, 0, -4)
    transverse = capsule(flat, vector(16, 35, -3), vector(40, 40, -6.5), 3.6, 2.6)
    arch = blend(blend(lamina, facets, 3), blend(spinous, transverse, 2), 3)
    return blend(solid, arch, 3)


def thoracic_distance(points: Floats) -> Floats:
    """Signed distance of a thoracic vertebra like T8, mm."""
    p = mirrored(points)
    solid = carve(
        body_distance(p, THORACIC_BODY), ellipsoid(p, vector(0, 21, 0), vector(8.5, 8.5, 60)), 3
    )
    pedicle = (p - vector(0, 0, -4)) * vector(1, 1, 0.62) + vector(0, 0, -4)
    solid = blend(solid, capsule(pedicle, vector(9.5, 10, -4), vector(10.5, 24, -4), 3.2, 3.6), 2)
    lamina = capsule(p, vector(9.5, 27, -4), vector(2, 33, 4), 4.0, 4.0)
    lamina = blend(lamina, capsule(p, vector(9, 28, 4), vector(2.5, 33, 9), 3.2, 3.2), 3)
    upper = capsule(p, vector(10, 25, -3), vector(10.5, 25.5, -13), 3.6, 3.2)
    lower = capsule(p, vector(9, 29, 5), vector(9.5, 29.5, 14), 3.4, 3.4)
    spinous = capsule(p, vector(0, 33, 3), vector(0, 55, 24), 3.6, 3.0)
    transverse = capsule(p, vector(12, 27, -4), vector(28, 40, -6), 4.4, 5.0)
    arch = blend(blend(lamina, blend(upper, lower, 2), 3), blend(spinous, transverse, 2), 3)
    return blend(solid, arch, 2)


@lru_cache(maxsize=2)
def template(lumbar: bool) -> tuple[PointSolid, Floats, Floats, Floats]:
    """Sampled template with cortex thickness (mm), plate share and core density by point.

    Returns
    -------
    solid : PointSolid
    thickness : ndarray of float32, shape (N,)
        Cortex in mm: 0.4 at the wall, 0.7 at the end plates, 1.3 behind.
    plate : ndarray of float32, shape (N,)
        1 on end plates, 0 elsewhere.
    density : ndarray of float32, shape (M,)
        Trabecular mineral, g/mm³.
    """
    if lumbar:
        solid = sample_solid(lumbar_distance, (-48, -22, -30), (48, 72, 34))
        a, b, height = LUMBAR_BODY
    else:
        solid = sample_solid(thoracic_distance, (-36, -18, -22), (36, 62, 34))
        a, b, height = THORACIC_BODY
    x, y, z = solid.surface.T
    behind = smoothstep(y, b - 1.0, b + 4.0)
    plate = smoothstep(np.abs(solid.normal[:, 2]), 0.6, 0.9) * (1 - behind)
    plate *= np.abs(z) > height / 2 - 4
    thickness = 0.42 + 0.14 * plate + behind * (0.35 if lumbar else 0.25)
    thickness -= 0.25 * behind * smoothstep(np.abs(x), a - 2, a + 4)  # thin transverse processes
    # the rims of the end plates are the densest part of a body
    rim = smoothstep(np.sqrt((x / a) ** 2 + (y / b) ** 2), 0.6, 0.95)
    thickness += 0.10 * plate * rim
    core_behind = smoothstep(solid.core[:, 1], b, b + 4.0)
    ends = smoothstep(np.abs(solid.core[:, 2]), height / 2 - 6, height / 2 - 1)
    density = TRABECULAR * (1 + 0.35 * ends + core_behind * 0.4)
    return solid, floats(thickness), floats(plate), floats(density)


def _bend(points: Floats, shape: VertebraShape, size: tuple[float, float, float]) -> Floats:
    """Move template points to one patient's shape, still in the vertebra's frame."""
    a, b, height = size
    sx, sy = shape.width / 2 / a, shape.depth / 2 / b
    x, y, z = points.T
    behind = smoothstep(y, b - 3.0, b + 5.0)
    share = np.clip(z / (height / 2), -1.25, 1.25)
    rims = np.clip((np.abs(share) - 0.55) / 0.45, 0, 1) * (1 - behind)
    away = np.abs(x)
    wide = np.minimum(away, a) * sx + np.maximum(away - a, 0) * (sx * shape.process)
    new_x = np.copysign(wide * (1 + shape.flare * rims), x)
    new_y = np.minimum(y, b) * sy + np.maximum(y - b, 0) * (sy * (1 + 0.5 * (shape.process - 1)))
    new_y = new_y - shape.flare * 0.6 * rims * np.maximum(-y, 0) / b * (b * sy)
    u = np.clip(y / b, -1, 1)
    loss_line = _height_at(u, shape) / np.float32(shape.healthy)
    upper = 1 - (1 - loss_line) * (2 * shape.collapse)
    lower = 1 - (1 - loss_line) * (2 * (1 - shape.collapse))
    grown = np.float32(shape.healthy / height)
    body_z = z * grown * np.where(z < 0, upper, lower)
    body_z = body_z + shape.lean * new_x * share
    new_z = body_z * (1 - behind) + z * grown * behind
    return np.stack([new_x, new_y, new_z], axis=1).astype(np.float32)


def _height_at(u: Floats, shape: VertebraShape) -> Floats:
    """Height of the body along its depth, u from -1 (front) to 1 (back), mm."""
    ha, hm, hp = shape.anterior, shape.middle, shape.posterior
    # the rims stay up in a biconcave body: a flat-topped bowl rather than a parabola
    bowl = 1 - np.abs(u) ** 2.5
    line = hp + (ha - hp) * (1 - u) / 2
    return floats(line + (hm - (ha + hp) / 2) * bowl)


def end_plates(u: Floats, shape: VertebraShape) -> tuple[Floats, Floats]:
    """Height (z) of both end plates along the depth, u from -1 (front) to 1 (back), mm."""
    loss = 1 - _height_at(u, shape) / np.float32(shape.healthy)
    half = np.float32(shape.healthy / 2)
    upper = -half * (1 - loss * 2 * shape.collapse)
    lower = half * (1 - loss * 2 * (1 - shape.collapse))
    return floats(upper), floats(lower)


def place_vertebra(shape: VertebraShape, rotation: Floats, centre: Floats) -> VertebraCloud:
    """Mineral points of one vertebra in the world.

    Parameters
    ----------
    shape : VertebraShape
        The vertebra.
    rotation : ndarray of float32, shape (3, 3)
        Columns are the vertebra's axes in the world.
    centre : ndarray of float32, shape (3,)
        Centre of the body, mm.

    Returns
    -------
    VertebraCloud
        Masses before they are scaled to the patient's BMD.
    """
    lumbar = shape.level.startswith("L") or shape.level in ("T11", "T12")
    solid, thickness, plate, density = template(lumbar)
    size = LUMBAR_BODY if lumbar else THORACIC_BODY
    scale = (shape.width / 2 / size[0]) * (shape.depth / 2 / size[1]) * (shape.healthy / size[2])
    inward = solid.surface - solid.normal * (solid.depth * thickness)[:, None]
    cortex = _bend(inward, shape, size) @ rotation.T + centre
    core = _bend(solid.core, shape, size) @ rotation.T + centre
    cortex_mass = solid.area * thickness * (1 + (shape.sclerosis - 1) * plate)
    cortex_mass *= np.float32(CORTICAL * scale ** (2 / 3))
    core_mass = density * np.float32(solid.volume * scale)
    return VertebraCloud(cortex, cortex_mass, core, core_mass)

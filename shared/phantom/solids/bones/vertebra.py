"""A vertebra as a solid: body with waist, end plates and vein, pedicles, facets and processes.

Frame of a vertebra, mm: origin at the centre of the body, x to the patient's left, y to the
back, z to the feet. Three templates (lower neck, thoracic, lumbar) are bent to every level of
every patient; T11 and T12 are bent from the lumbar one, whose facets they have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from shared.phantom.solids.bone import Bone, Matter, Unbend, filled, sides_along
from shared.phantom.solids.distance import (
    Distance,
    Floats,
    blend,
    capsule,
    carve,
    ellipsoid,
    floats,
    rounded_box,
    smoothstep,
    vector,
)
from shared.phantom.solids.template import SampledOutline, sample_near

#: Levels from cranial to caudal; L6 is there in who has six lumbar vertebrae.
SPINE_LEVELS: Final = (
    "C7", "T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11", "T12",
    "L1", "L2", "L3", "L4", "L5", "L6",
)  # fmt: skip

#: Body width, depth, posterior height and disc below, mm, men: T4 to L5 design/anatomy.md [U];
#: above and below in their line [U]. Levels between those given are interpolated.
_GIVEN: Final = {
    "C7": (27.0, 17.5, 15.0, 4.5), "T1": (29.0, 18.0, 16.0, 4.0), "T2": (28.0, 19.5, 17.0, 4.0),
    "T4": (25.0, 23.0, 17.5, 4.0), "T6": (26.0, 26.0, 18.5, 4.5), "T8": (28.0, 28.0, 19.5, 5.0),
    "T10": (32.0, 31.0, 21.0, 5.5), "T12": (39.0, 33.0, 23.0, 7.0), "L1": (41.0, 34.0, 24.0, 8.5),
    "L2": (43.0, 35.0, 24.5, 9.5), "L3": (44.0, 35.0, 24.5, 10.5), "L4": (46.5, 35.5, 24.0, 11.0),
    "L5": (47.5, 35.0, 23.0, 10.0), "L6": (48.0, 34.5, 22.5, 9.0),
}  # fmt: skip

#: Anterior over posterior height of a healthy body (design/anatomy.md [U]).
TAPER: Final = {"L1": 0.99, "L2": 1.01, "L3": 1.03, "L4": 1.05, "L5": 1.15, "L6": 1.15}
THORACIC_TAPER: Final = 0.97


def body_size(level: str) -> tuple[float, float, float, float]:
    """Width, depth, posterior height and disc below of a man's vertebra, mm."""
    if level in _GIVEN:
        return _GIVEN[level]
    place = SPINE_LEVELS.index(level)
    above, below = _GIVEN[SPINE_LEVELS[place - 1]], _GIVEN[SPINE_LEVELS[place + 1]]
    a, b, c, d = ((x + y) / 2 for x, y in zip(above, below, strict=True))
    return a, b, c, d


#: From which share of the half height on osteophytes widen a body, and how much further it grows
#: to the front, as a share of how much it does to the side.
RIMS: Final = 0.55
FORWARD: Final = 0.6


def rim_share(w: Floats, height: float) -> Floats:
    """How much of a flare there is at heights `w` of a body of `height` mm."""
    return np.clip((np.abs(w) * np.float32(2 / height) - RIMS) / np.float32(1 - RIMS), 0, 1)


@dataclass(frozen=True)
class BodyShape:
    """What makes one vertebra of one patient differ from its template.

    Lengths in mm. `anterior`, `middle`, `posterior` are the heights after any fracture,
    `healthy` the posterior height before it. `flare` is the share by which osteophytes widen
    the rims to the left and to the right; `collapse` in [0, 1] how much of a loss of height
    comes from the upper end plate; `lean` left minus right height over width; `process` the
    length of the processes over the template's.
    """

    level: str
    width: float
    depth: float
    anterior: float
    middle: float
    posterior: float
    healthy: float
    flare: tuple[float, float] = (0.0, 0.0)
    collapse: float = 0.5
    lean: float = 0.0
    process: float = 1.0

    def height_at(self, u: Floats) -> Floats:
        """Height of the body along its depth, `u` from -1 (front) to 1 (back), mm."""
        # The rims stay up in a biconcave body: a flat-topped bowl rather than a parabola.
        bowl = 1 - np.abs(u) ** 2.5
        line = self.posterior + (self.anterior - self.posterior) * (1 - u) / 2
        return floats(line + (self.middle - (self.anterior + self.posterior) / 2) * bowl)

    def growth(self, u: Floats) -> tuple[Floats, Floats]:
        """Share of the healthy half height that is left above and below, along the depth."""
        loss = 1 - self.height_at(u) / np.float32(self.healthy)
        return floats(1 - loss * 2 * self.collapse), floats(1 - loss * 2 * (1 - self.collapse))

    def end_plates(self, u: Floats) -> tuple[Floats, Floats]:
        """Place (z) of the rims of both end plates along the depth, mm."""
        upper, lower = self.growth(u)
        return -upper * np.float32(self.healthy / 2), lower * np.float32(self.healthy / 2)


@dataclass(frozen=True)
class BodyMineral:
    """Densities of one vertebra: factors on the template's, and its core.

    `wall` and `plate` are factors on the cortex of the body's side and of its end plates,
    `arch` on cortex and core of everything behind the body; `core` in g/cm³. `spur` is the
    mineral of osteophytes, of what `BodyShape.flare` adds to the body, g/cm³.
    """

    core: float
    wall: float = 1.0
    plate: float = 1.0
    arch: float = 1.0
    spur: float = 0.0


# --- the three templates ------------------------------------------------------------------


@dataclass(frozen=True)
class VertebraKind:
    """A template: the formula's half width, half depth and height, mm; its distance and box.

    Edges are rounded, so what an outline shows is a little less: `outline` is that, and a
    patient's width, depth and heights are those of outlines.
    """

    body: tuple[float, float, float]
    outline: tuple[float, float, float]
    distance: Distance
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    arch_cortex: float


def mirrored(points: Floats) -> Floats:
    """Points (N, 3) with those of the right side moved to the left."""
    folded = points.copy()
    folded[:, 0] = np.abs(folded[:, 0])
    return folded


def body_distance(points: Floats, size: tuple[float, float, float]) -> Floats:
    """Signed distance of a body of half width, half depth and height `size`, mm."""
    a, b, height = size
    x, y, z = points.T
    half = np.float32(height / 2)
    waist = 1 - 0.10 * np.clip(1 - (z / half) ** 2, 0, 1)
    q = (np.abs(x / (a * waist)) ** 2.6 + np.abs(y / (b * waist)) ** 2.6) ** np.float32(1 / 2.6)
    side = (q - 1) * np.float32(min(a, b))
    concave = 2.4 * np.clip(1 - q * q, 0, 1)
    end = np.abs(z) - (half - concave)
    return -blend(-side, -end, 3.0)


def _lumbar(points: Floats) -> Floats:
    """Signed distance of a vertebra like L2."""
    p = mirrored(points)
    canal = ellipsoid(p, vector(0, 27, 0), vector(12, 11.5, 60))
    solid = carve(body_distance(p, (21.5, 17.5, 24.5)), canal, 4)
    pedicle = (p - vector(0, 0, -5.5)) * vector(1, 1, 0.66) + vector(0, 0, -5.5)
    rod = capsule(pedicle, vector(13.5, 13, -5.5), vector(14.2, 31, -5.5), 4.1, 4.3)
    solid = blend(solid, rod, 2)
    lamina = capsule(p, vector(12.5, 33, -1), vector(2.5, 42, 6), 3.9, 3.6)
    lamina = blend(lamina, capsule(p, vector(10.5, 35, 6), vector(3, 42, 11), 3.4, 3.4), 3)
    upper = capsule(p, vector(13.8, 32, -3), vector(15.4, 32, -15), 4.2, 3.6)
    lower = capsule(p, vector(9.8, 37, 6), vector(9.8, 39.5, 17), 4.0, 3.8)
    facets = blend(upper, lower, 3)
    spinous = rounded_box(p, vector(0, 54, 9.5), vector(2.8, 13, 7.5), 2.6)
    spinous = blend(spinous, ellipsoid(p, vector(0, 62, 13), vector(4.6, 6.5, 8.5)), 4)
    flat = (p - vector(0, 0, -4)) * vector(1, 1.25, 0.9) + vector(0, 0, -4)
    transverse = capsule(flat, vector(16, 35, -3), vector(40, 40, -6.5), 3.6, 2.6)
    arch = blend(blend(lamina, facets, 3), blend(spinous, transverse, 2), 3)
    return blend(solid, arch, 3)


def _thoracic(points: Floats) -> Floats:
    """Signed distance of a vertebra like T8."""
    p = mirrored(points)
    canal = ellipsoid(p, vector(0, 21, 0), vector(8.5, 8.5, 60))
    solid = carve(body_distance(p, (14.5, 14.0, 19.5)), canal, 3)
    pedicle = (p - vector(0, 0, -4)) * vector(1, 1, 0.62) + vector(0, 0, -4)
    solid = blend(solid, capsule(pedicle, vector(9.5, 10, -4), vector(10.5, 24, -4), 3.2, 3.6), 2)
    lamina = capsule(p, vector(9.5, 27, -4), vector(2, 33, 4), 4.0, 4.0)
    lamina = blend(lamina, capsule(p, vector(9, 28, 4), vector(2.5, 33, 9), 3.2, 3.2), 3)
    upper = capsule(p, vector(10, 24.5, -3), vector(10.5, 24.5, -12), 3.4, 2.8)
    lower = capsule(p, vector(9, 29.5, 5), vector(9.2, 31, 12), 3.2, 2.8)
    spinous = capsule(p, vector(0, 33, 3), vector(0, 55, 24), 3.6, 3.0)
    transverse = capsule(p, vector(12, 27, -4), vector(28, 40, -6), 4.4, 5.0)
    arch = blend(blend(lamina, blend(upper, lower, 2), 3), blend(spinous, transverse, 2), 3)
    return blend(solid, arch, 2)


def _lower_neck(points: Floats) -> Floats:
    """Signed distance of a vertebra like T1: low and wide, its spinous process straight back."""
    p = mirrored(points)
    canal = ellipsoid(p, vector(0, 18, 0), vector(10.5, 8, 60))
    solid = carve(body_distance(p, (14.5, 9.0, 16.0)), canal, 3)
    solid = blend(solid, capsule(p, vector(9.5, 6, -2), vector(13, 18, -2), 3.4, 3.6), 2)
    lamina = capsule(p, vector(12.5, 20, -1), vector(2, 28, 3), 3.6, 3.6)
    upper = capsule(p, vector(13.5, 17.5, -2), vector(14, 17, -9), 3.6, 3.0)
    lower = capsule(p, vector(12.5, 21, 3), vector(12.5, 22.5, 9), 3.4, 3.0)
    spinous = capsule(p, vector(0, 28, 3), vector(0, 56, 11), 3.6, 4.6)
    transverse = capsule(p, vector(14, 18, -2), vector(36, 20, -4), 4.2, 4.6)
    arch = blend(blend(lamina, blend(upper, lower, 2), 3), blend(spinous, transverse, 2), 3)
    return blend(solid, arch, 2)


_LUMBAR: Final = VertebraKind(
    (21.5, 17.5, 24.5), (20.6, 16.8, 23.3), _lumbar, (-52, -24, -34), (52, 76, 36), 0.35
)
_THORACIC: Final = VertebraKind(
    (14.5, 14.0, 19.5), (13.8, 13.3, 18.1), _thoracic, (-40, -20, -24), (40, 66, 34), 0.25
)
_LOWER_NECK: Final = VertebraKind(
    (14.5, 9.0, 16.0), (13.6, 8.5, 14.2), _lower_neck, (-46, -15, -20), (46, 68, 24), 0.3
)

#: Columns of a template's table: cortex of wall, plate and arch in mm, core share of body and
#: of arch. What is arch has no wall and no plate.
_WALL, _PLATE, _ARCH, _BODY_CORE, _ARCH_CORE = range(4, 9)


def kind_of(level: str) -> VertebraKind:
    """Which template a level is bent from."""
    if level.startswith("L") or level in ("T11", "T12"):
        return _LUMBAR
    return _LOWER_NECK if level in ("C7", "T1", "T2") else _THORACIC


@lru_cache(maxsize=3)
def template_of(kind: VertebraKind) -> SampledOutline:
    """A template, sampled."""
    a, b, height = kind.body

    def traits(points: Floats, distance: Floats) -> Floats:
        x, y, z = points.T
        behind = smoothstep(y, b - 1.0, b + 4.0)
        plate = smoothstep(np.abs(z), height / 2 - 5, height / 2 - 2.5) * (1 - behind)
        # The rims of the end plates are the densest part of a body.
        rim = smoothstep(np.sqrt((x / a) ** 2 + (y / b) ** 2), 0.6, 0.95)
        thin = 0.25 * smoothstep(np.abs(x), a - 2, a + 4)  # transverse processes
        wall = 0.42 * (1 - behind) * (1 - plate)
        plates = (0.56 + 0.10 * rim) * plate
        arch = (0.42 + kind.arch_cortex - thin) * behind
        ends = smoothstep(np.abs(z), height / 2 - 7, height / 2 - 2)
        # The vein leaves the body in the middle of its back, and branches to both sides.
        vein = np.exp(
            -((z / 2.2) ** 2) - (np.maximum(np.abs(x) - 0.25 * np.maximum(b - y, 0), 0) / 2.5) ** 2
        )
        vein = vein * smoothstep(y, -0.35 * b, 0.4 * b)
        core = (1 + 0.35 * ends) * (1 - 0.75 * vein) * (1 - behind)
        return floats(np.stack([wall, plates, arch, core, 1.4 * behind], axis=1))

    return sample_near(kind.distance, kind.low, kind.high, traits, 1.0)


# --- one level of one patient ---------------------------------------------------------------


@dataclass(frozen=True)
class VertebraBone(Bone):
    """A placed vertebra: `mineral` takes the place of the factors of a plain bone.

    Osteophytes are what it is wider than `body`, itself without them; they are found further
    than the first of `rims` above and below its middle, and before the second, mm.
    """

    mineral: BodyMineral = BodyMineral(0.13)
    body: VertebraBone | None = None
    rims: tuple[float, float] = (0.0, 0.0)

    def matter(self, x: Floats, y: Floats, z: Floats, step: tuple[float, float, float]) -> Matter:
        """What world points are made of, as for any bone."""
        if self.body is None:
            return super().matter(x, y, z, step)
        found = self.body.matter(x, y, z, step)
        x, y, z = self.frame(x, y, z)
        # Osteophytes grow from the rims.
        near = np.flatnonzero((found.bone < 1) & (np.abs(z) > self.rims[0]) & (y < self.rims[1]))
        rows = self.looked_up(x[near], y[near], z[near])
        grown = filled(rows[:, 0], *sides_along(rows[:, 1:4] @ self.rotation.T, step))
        grown = np.maximum(grown - found.bone[near], 0)
        found.bone[near] += grown
        found.mineral[near] += grown * np.float32(self.mineral.spur)
        return found

    def cortex_and_core(self, rows: Floats) -> tuple[Floats, Floats]:
        """Cortex in mm and core in g/cm³ of rows of the template."""
        given = self.mineral
        weights = floats([given.wall, given.plate, given.arch])
        cortex = rows[:, _WALL : _ARCH + 1] @ weights
        cores = floats([given.core, given.core * given.arch])
        return cortex, rows[:, _BODY_CORE : _ARCH_CORE + 1] @ cores


def _unbend(shape: BodyShape, kind: VertebraKind) -> Unbend:
    """Map from the patient's frame to the template's, and the patient's millimetres over it.

    Length along z differs above and below and along the depth (fractures); the arch behind
    keeps its height. Slants of the end plates are small against their distance from the
    middle and left out of the scale.
    """
    a, b, height = kind.body
    half_width, half_depth, outlined = kind.outline
    sx, sy = np.float32(shape.width / 2 / half_width), np.float32(shape.depth / 2 / half_depth)
    behind_scale = np.float32(1 + 0.5 * (shape.process - 1))
    grown = np.float32(shape.healthy / outlined)
    upper, lower = shape.growth(floats(np.linspace(-1, 1, 65)))
    left, right = (np.float32(side) for side in shape.flare)
    lean, process = np.float32(shape.lean), np.float32(shape.process)

    def unbend(
        x: Floats, y: Floats, z: Floats
    ) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
        v = y / sy
        v = np.where(v > b, b + (v - b) / behind_scale, v)
        behind = smoothstep(v, b - 3.0, b + 5.0)
        place = np.clip((v / np.float32(b) + 1) * 32 + np.float32(0.5), 0, 64).astype(np.int32)
        factor = np.where(z < 0, upper[place], lower[place])
        factor = factor + (1 - factor) * behind
        scale_z = grown * factor
        w = z / scale_z
        if lean:
            w = w - lean * x * np.clip(w * np.float32(2 / height), -1, 1) / scale_z
        wider = np.where(x > 0, left, right) * rim_share(w, height) * (1 - behind)
        scale_x = sx * (1 + wider)
        u = x / scale_x
        far = np.abs(u)
        u = np.where(far > a, np.copysign(a + (far - a) / process, u), u)
        v = np.where(v < 0, v / (1 + np.float32(FORWARD) * wider), v)
        return u, v, w, scale_x, floats(np.broadcast_to(sy, scale_x.shape)), scale_z

    return unbend


def make_vertebra(
    shape: BodyShape,
    mineral: BodyMineral,
    centre: Floats,
    rotation: Floats,
    texture: Callable[[Floats, Floats, Floats], Floats] | None = None,
) -> VertebraBone:
    """Place a vertebra.

    Parameters
    ----------
    shape : BodyShape
        Its form.
    mineral : BodyMineral
        Its densities.
    centre : ndarray of float32, shape (3,)
        Centre of the body in the world, mm.
    rotation : ndarray of float32, shape (3, 3)
        Columns are its axes in the world.
    texture : callable, optional
        Factor on the core at points of its frame.
    """
    kind = kind_of(shape.level)
    half_width, half_depth, height = kind.outline
    across = abs(kind.high[0]) * shape.width / 2 / half_width * max(shape.process, 1.0)
    back = kind.high[1] * shape.depth / 2 / half_depth * max(1 + 0.5 * (shape.process - 1), 1.0)
    down = max(-kind.low[2], kind.high[2]) * shape.healthy / height
    whole = VertebraBone(
        name=shape.level,
        template=template_of(kind),
        centre=floats(centre),
        rotation=floats(rotation),
        unbend=_unbend(shape, kind),
        reach=float(np.hypot(max(across, back), down)),
        cortex=1.0,
        core=mineral.core,
        texture=texture,
        mineral=mineral,
    )
    if not mineral.spur:
        return whole
    smooth = replace(whole, unbend=_unbend(replace(shape, flare=(0.0, 0.0)), kind))
    rims = (RIMS * min(shape.anterior, shape.middle, shape.posterior) / 2, shape.depth / 2 + 4)
    return replace(whole, body=smooth, rims=rims)

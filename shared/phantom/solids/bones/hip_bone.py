"""The hip bones: ischium, pubis and the wing of the ilium, with the cup for the femoral head.

Frame of the left one, mm: origin at the centre of the hip joint, x to the patient's left, y to
the back, z to the feet. The right one is its mirror image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
    polygon,
    rounded_box,
    smoothstep,
    vector,
)
from shared.phantom.solids.scaled import scaled
from shared.phantom.solids.template import SampledOutline, sample_near

from .sacrum import GAP, JOINT, SACROILIAC, SLOPE, joint_sheet, sacrum_distance, turned

#: Radius of the cup: 3 mm of cartilage around the template's femoral head.
CUP: Final = 26.7
#: The iliac crest is this far above the hip joint, mm, men [U].
CREST_HEIGHT: Final = 138.0
#: Trabecular mineral for which the shares below were chosen, g/cm³.
CORE: Final = 0.13
#: Across the wing, and two directions along it (forward and down), unit vectors as rows.
_ACROSS = vector(0.85, 0.50, -0.12) / np.float32(np.sqrt(0.85**2 + 0.5**2 + 0.12**2))
_DOWN = vector(0, 0, 1) - _ACROSS[2] * _ACROSS
_DOWN = _DOWN / np.float32(np.linalg.norm(_DOWN))
_AXES: Final = np.stack([np.cross(_ACROSS, _DOWN), _DOWN, _ACROSS]).astype(np.float32)
_RASTER: Final = 2.0


def bezier(u: Floats, a: Floats, b: Floats, c: Floats, d: Floats) -> Floats:
    """Cubic curve from `a` to `d`."""
    w = u[:, None]
    return a * (1 - w) ** 3 + 3 * b * w * (1 - w) ** 2 + 3 * c * w**2 * (1 - w) + d * w**3


@dataclass(frozen=True)
class WingMap:
    """The wing of the ilium as a plate over a plane: rasters of 2 mm.

    Attributes
    ----------
    low : ndarray of float32, shape (2,)
        Place of the first node in the plane, mm.
    table : ndarray of float32, shape (rows, columns, 4)
        How far the middle of the plate is from the plane, mm; the cosine of its slope; half its
        thickness, mm; the distance to its outline, mm, negative inside.
    """

    low: Floats
    table: Floats

    def at(self, points: Floats) -> tuple[Floats, Floats]:
        """Signed distance, and how far from the rim, of points (N, 3) of the bone's frame, mm."""
        s, t, w = _AXES @ points.T
        rows, columns, _ = self.table.shape
        a = np.clip((s - self.low[0]) / np.float32(_RASTER), 0, rows - 1.001)
        b = np.clip((t - self.low[1]) / np.float32(_RASTER), 0, columns - 1.001)
        i, j = a.astype(np.int32), b.astype(np.int32)
        a, b = (a - i)[:, None], (b - j)[:, None]
        near = self.table[i, j] * (1 - b) + self.table[i, j + 1] * b
        far = self.table[i + 1, j] * (1 - b) + self.table[i + 1, j + 1] * b
        middle, cosine, half, rim = (near * (1 - a) + far * a).T
        round_off = np.float32(0.85) * half
        flat = np.abs(w - middle) * cosine - half + round_off
        edge = rim + round_off
        outside = np.sqrt(np.maximum(flat, 0) ** 2 + np.maximum(edge, 0) ** 2)
        return outside + np.minimum(np.maximum(flat, edge), 0) - round_off, rim


@lru_cache(maxsize=1)
def _wing() -> WingMap:
    """The left wing between its base and its crest, both curves."""
    along = floats(np.linspace(0, 1, 361))
    crest = bezier(
        along, vector(-43, 90, -74), vector(-38, 64, -164), vector(28, -30, -152),
        vector(30, -68, -82),
    )  # fmt: skip
    base = bezier(
        along, vector(-45, 80, -46), vector(-30, 48, -44), vector(-12, 14, -21), vector(7, -30, -30)
    )
    rise = floats(np.linspace(0, 1, 241))[:, None, None]
    sheet = base * (1 - rise) + crest * rise
    u, v = np.broadcast_arrays(along, rise[..., 0])
    sheet[..., 0] += 9 * np.sin(np.pi * v) * np.sin(np.pi * u)
    behind = 1 - smoothstep(u, 0.05, 0.3)
    sheet -= 5 * behind[..., None] * _ACROSS
    thick = 5.0 + 7.0 * smoothstep(v, 0.88, 1.0) + 16.0 * behind + 3.0 * smoothstep(u, 0.85, 1.0)
    thick += 14 * (1 - smoothstep(v, 0.0, 0.3)) * (1 - behind)
    s, t, w = np.moveaxis(sheet @ _AXES.T, -1, 0)
    low = floats([s.min() - 24, t.min() - 24])
    sides = [np.arange(a, b.max() + 24, _RASTER) for a, b in zip(low, (s, t), strict=True)]
    nodes = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1)
    found = _spread(np.stack([s, t], axis=-1), np.stack([w, thick / 2], axis=-1), low, nodes.shape)
    loop = np.concatenate([
        np.stack([s, t], axis=-1)[part]
        for part in (np.s_[0, :-1], np.s_[:-1, -1], np.s_[-1, :0:-1], np.s_[:0:-1, 0])
    ])  # fmt: skip
    slopes = np.gradient(found[..., 0], _RASTER)
    cosine = 1 / np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)
    rim = polygon(nodes.reshape(-1, 2), loop[::18]).reshape(cosine.shape)
    return WingMap(low, floats(np.stack([found[..., 0], cosine, found[..., 1], rim], axis=-1)))


def _spread(places: Floats, values: Floats, low: Floats, shape: tuple[int, ...]) -> Floats:
    """Means of values by node of a raster, smoothed; nodes without any take their neighbours'."""
    rows, columns = shape[:2]
    node = np.rint((places - low) / _RASTER).astype(int).reshape(-1, 2)
    flat = node[:, 0] * columns + node[:, 1]
    layers = [np.ones(len(flat)), *values.reshape(len(flat), -1).T]
    counted = np.stack([np.bincount(flat, v, rows * columns) for v in layers], axis=-1)
    sums = floats(counted / np.maximum(counted[:, :1], 1)).reshape(rows, columns, -1)
    known = sums[..., 0] > 0
    for turn in range(max(rows, columns)):
        wide = np.pad(sums, ((1, 1), (1, 1), (0, 0)))
        around = np.zeros_like(sums)
        for i, j in np.ndindex(3, 3):
            around += wide[i : i + rows, j : j + columns]
        around /= np.maximum(around[..., :1], np.float32(1e-9))
        # The first turn smooths what is known, the others reach outwards.
        sums = around if turn == 0 else np.where(known[..., None], sums, around)
        known = sums[..., 0] > 0
        if known.all():
            break
    return floats(sums[..., 1:])


def _ring(points: Floats) -> Floats:
    """Signed distance of ischium, pubis and the body of the ilium, without the cup."""
    p = points
    ischium = capsule(p, vector(-14, 18, 10), vector(-24, 26, 52), 17.5, 11.5)
    tuber = ellipsoid(p, vector(-22, 28, 62), vector(15, 15, 21))
    spine = capsule(p, vector(-24, 32, 14), vector(-35, 45, 12), 8, 2.5)
    ischium = blend(blend(ischium, tuber, 8), spine, 8)
    column = capsule(p, vector(-27, 34, -36), vector(-17, 24, 12), 8, 13)
    upper_ramus = capsule(p, vector(-20, -12, 4), vector(-66, -38, 20), 11.5, 6.5)
    lower_ramus = capsule(p, vector(-30, 20, 72), vector(-54, -6, 66), 8, 6)
    lower_ramus = blend(lower_ramus, capsule(p, vector(-54, -6, 66), vector(-72, -32, 46), 6, 6), 8)
    pubis = rounded_box(p, vector(-76, -38, 34), vector(9, 8, 19), 6)
    brim = capsule(p, vector(-35, 50, -50), vector(-27, 8, -25), 5.5, 8)
    brim = blend(brim, capsule(p, vector(-27, 8, -25), vector(-22, -14, -3), 8, 9), 6)
    ring = blend(ischium, blend(upper_ramus, pubis, 6), 3)
    return blend(blend(blend(ring, lower_ramus, 6), column, 8), brim, 8)


def hip_bone_distance(points: Floats) -> Floats:
    """Signed distance of the left hip bone at points (N, 3), mm."""
    p = points
    radius = length(p)
    solid = np.full(len(p), np.inf, np.float32)
    high, low = np.flatnonzero(p[:, 2] < 5), np.flatnonzero(p[:, 2] > -75)
    solid[high] = _wing().at(p[high])[0]
    solid[low] = blend(_ring(p[low]), np.minimum(solid[low], 99), 7)
    # The cup opens to the side, the front and below; its roof is its thickest part.
    opening = p @ vector(0.84, -0.32, 0.44)
    roof = smoothstep(-p[:, 2], -6, 26)
    shell = np.abs(radius - (CUP + 3.5) - 2.5 * roof) - (2.2 + 3.2 * roof)
    solid = blend(solid, -blend(-shell, 3 - opening, 5), 5)
    solid = carve(solid, radius - np.float32(CUP), 1.5)
    behind = np.flatnonzero((p[:, 1] > 22) & (p[:, 2] < 10) & (p[:, 0] < 0))
    solid[behind] = carve(solid[behind], _sacral(p[behind]), 2)
    return solid


def _sacral(points: Floats) -> Floats:
    """Where the sacrum and its joint are, as the hip bone sees it: nothing of it may be there."""
    y, z = points[:, 1] - SACROILIAC[0], points[:, 2] - SACROILIAC[1]
    side, front, below = JOINT
    beyond = (points[:, 0] + side - joint_sheet(y, z) - np.float32(GAP / 2)) * np.float32(0.88)
    own = (points + vector(side, front, below)) @ turned(SLOPE)
    return np.maximum(beyond, sacrum_distance(floats(own)) - np.float32(GAP + 1))


def _traits(points: Floats, distance: Floats) -> Floats:
    """Cortex in mm, core as a share: the roof of the joint and the crest are the densest."""
    radius = length(points)
    up = -points[:, 2]
    roof = smoothstep(up, 6, 22) * (1 - smoothstep(radius, CUP + 3, CUP + 8))
    high = np.flatnonzero(up > 30)
    wing, rim = np.full((2, len(points)), 99, np.float32)
    wing[high], rim[high] = _wing().at(points[high])
    on_wing = (1 - smoothstep(wing, 0, 3)) * smoothstep(up, 30, 45)
    crest = on_wing * smoothstep(rim, -9, -2)
    thick = 0.9 + 0.9 * roof - 0.1 * on_wing + 0.55 * crest
    share = 1.0 - 0.25 * on_wing + 0.7 * smoothstep(up, 12, 24) * (1 - smoothstep(radius, 34, 58))
    return np.stack([floats(thick), floats(share)], axis=1)


@lru_cache(maxsize=1)
def hip_bone_template() -> SampledOutline:
    """The left hip bone, sampled."""
    return sample_near(hip_bone_distance, (-90, -80, -146), (42, 108, 88), _traits, 1.6)


def place_hip_bone(
    joint: Floats,
    size: float,
    *,
    left: bool,
    tilt: float = 0.0,
    pelvis: Floats | None = None,
    cortex: float = 1.0,
    core: float = CORE,
    texture: Callable[[Floats, Floats, Floats], Floats] | None = None,
) -> Bone:
    """One hip bone with the centre of its cup at `joint` (world, mm).

    Parameters
    ----------
    joint : ndarray of float32, shape (3,)
        Centre of the hip joint; from `sacrum.hip_joint` if it shall meet the sacrum.
    size : float
        Scale: the sacrum's, and within 4 % the femur's.
    left : bool
        Side.
    tilt : float
        Turn of the pelvis to the front about the line through both hips, radians.
    pelvis : ndarray of float32, shape (3, 3), optional
        Axes of the whole pelvis as columns, where it lies askew.
    cortex, core, texture
        As for `Bone`.
    """
    rotation = turned(tilt) @ np.diag(vector(1 if left else -1, 1, 1))
    if pelvis is not None:
        rotation = pelvis @ rotation
    name = f"hip_{'left' if left else 'right'}"
    return Bone(
        name, hip_bone_template(), joint, floats(rotation), scaled(size), 175 * size, cortex, core,
        texture,
    )  # fmt: skip

"""A bone where it is in a patient: cortex, end plates and core at any point.

What a point is made of follows from its distance to the surface: cortex as far in as the
cortex is thick there, core behind it. Samples stand for a little space each, so both borders
are ramps as wide as a sample; along the normal their integral is exact, however wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from .distance import Floats, floats
from .lattice import BLOCK, Lattice, block_centres, blocks_at
from .template import Template

#: Hydroxyapatite of cortical bone, g/cm³ (design/anatomy.md [U]).
CORTICAL: Final = 1.05

#: From the patient's frame of a bone to the template's: coordinates (N,) to coordinates (N,) and
#: how much longer the patient is there along each axis.
Unbend = Callable[[Floats, Floats, Floats], tuple[Floats, Floats, Floats, Floats, Floats, Floats]]


@dataclass(frozen=True)
class Matter:
    """What samples hold: share of bone, and mineral in g/cm³, each (N,)."""

    bone: Floats
    mineral: Floats


@dataclass(frozen=True)
class Bone:
    """One placed bone.

    Attributes
    ----------
    name : str
        Region or side and bone.
    template : Template
        Traits: cortex thickness in mm and core density as a share of `core`.
    centre : ndarray of float32, shape (3,)
        Origin of its frame in the world, mm.
    rotation : ndarray of float32, shape (3, 3)
        Columns are its axes in the world.
    unbend : callable
        From its frame to the template's.
    reach : float
        No part of it is further from `centre`, mm.
    cortex, core : float
        Factor on the cortex's thickness; trabecular mineral, g/cm³.
    texture : callable, optional
        Factor on the core at points of its frame.
    """

    name: str
    template: Template
    centre: Floats
    rotation: Floats
    unbend: Unbend
    reach: float
    cortex: float
    core: float
    texture: Callable[[Floats, Floats, Floats], Floats] | None = None

    def frame(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
        """World coordinates in the bone's frame, mm."""
        x, y, z = (v - c for v, c in zip((x, y, z), self.centre, strict=True))
        r = self.rotation
        return (
            x * r[0, 0] + y * r[1, 0] + z * r[2, 0],
            x * r[0, 1] + y * r[1, 1] + z * r[2, 1],
            x * r[0, 2] + y * r[1, 2] + z * r[2, 2],
        )

    def looked_up(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Rows of the template for points of the frame; distance and normal are the patient's."""
        u, v, w, gx, gy, gz = self.unbend(x, y, z)
        rows = self.template.at(u, v, w)
        rows[:, 1] /= gx
        rows[:, 2] /= gy
        rows[:, 3] /= gz
        slope = np.einsum("ij,ij->i", rows[:, 1:4], rows[:, 1:4])
        rows[:, :4] /= np.sqrt(np.maximum(slope, np.float32(0.04)))[:, None]
        return rows

    def cortex_and_core(self, rows: Floats) -> tuple[Floats, Floats]:
        """Cortex in mm and core in g/cm³ of rows of the template."""
        return rows[:, 4] * np.float32(self.cortex), rows[:, 5] * np.float32(self.core)

    def matter(self, x: Floats, y: Floats, z: Floats, step: tuple[float, float, float]) -> Matter:
        """What world points are made of, each sample a box of sides `step` along x, y, z, mm."""
        x, y, z = self.frame(x, y, z)
        rows = self.looked_up(x, y, z)
        distance = rows[:, 0]
        cortex, density = self.cortex_and_core(rows)
        # How far each side of the box reaches along the normal.
        reaches = np.abs(rows[:, 1:4] @ self.rotation.T) * floats(step)
        bone = _share_inside(distance, reaches)
        inner = _share_inside(distance + cortex, reaches)
        if self.texture is not None:
            density = density * self.texture(x, y, z)
        return Matter(bone, (bone - inner) * np.float32(CORTICAL) + inner * density)


def _share_inside(distance: Floats, reaches: Floats) -> Floats:
    """Share of boxes on the inner side of a plane, (N,).

    `distance` is that of their middles, `reaches` (N, 3) how far their sides reach along its
    normal, mm. The share is that of two boxes folded with each other: the longest side, along
    which boxes lie one behind the other and add up exactly, and the two others together.
    """
    first, second, third = reaches.T
    long = np.maximum(np.maximum(first, second), third)
    short = first + second + third - long
    # In the middle of a bone no normal is there, and no side of a box reaches along it.
    least = np.float32(1e-3)
    long, short = (
        np.maximum(np.maximum(long, short), least), np.maximum(np.minimum(long, short), least)
    )  # fmt: skip
    half = (long + short) / 2
    depth = np.clip(-distance, -half, half)
    rounded = np.maximum(np.abs(depth) - (long - short) / 2, 0)
    depth -= np.copysign(rounded * rounded / (2 * short), depth)
    return floats(np.float32(0.5) + depth / long)


def mineral_of(bones: Sequence[Bone], lattice: Lattice) -> Floats:
    """Mineral of bones at the samples of a lattice, g/cm³; where two meet, the denser."""
    total = np.zeros(lattice.shape, np.float32)
    step = lattice.sides
    places, *middles = block_centres(lattice)
    half = BLOCK / 2 * float(np.sqrt((np.array(lattice.step) ** 2).sum()))
    for bone in bones:
        away = sum((m - c) ** 2 for m, c in zip(middles, bone.centre, strict=True))
        near = np.flatnonzero(away < (bone.reach + half) ** 2)
        if not len(near):
            continue
        x, y, z = bone.frame(*(m[near] for m in middles))
        near = near[bone.looked_up(x, y, z)[:, 0] < half + max(step)]
        if not len(near):
            continue
        blocks = blocks_at(lattice, places[near])
        found = bone.matter(*blocks.points(lattice), step).mineral
        found = found.reshape(len(near), BLOCK, BLOCK, BLOCK)
        index = (blocks.i, blocks.j, blocks.k)
        total[index] = np.maximum(total[index], found)
    return total


def straight_through(x: Floats, y: Floats, z: Floats) -> tuple[Floats, ...]:
    """No bend at all."""
    one = floats(1.0)
    return x, y, z, one, one, one

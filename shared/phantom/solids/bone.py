"""A bone where it is in a patient: cortex, end plates and core at any point.

What a point is made of follows from its distance to the surface: cortex as far in as the
cortex is thick there, core behind it. Samples stand for a little space each, so both borders
are as wide as a sample; along the normal their integral is exact, however wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from .distance import Floats, floats
from .lattice import BLOCK, Blocks, Lattice, block_centres, blocks_at, compact_sides
from .template import BoneSurface

#: Hydroxyapatite of cortical bone, g/cm³ (design/anatomy.md [U]).
CORTICAL: Final = 1.05

#: Joined formulas may say up to a quarter more than a distance is.
_REACH: Final = 1.25
#: Samples of a block from which it saves time to ask whether it is near.
_WORTH_ASKING: Final = 16
#: How long blocks are that are asked after each other, mm.
_LENGTHS: Final = (16.0, 8.0, 4.0)

#: From the patient's frame of a bone to the template's: coordinates (N,) to coordinates (N,) and
#: how much longer the patient is there along each axis.
Unbend = Callable[[Floats, Floats, Floats], tuple[Floats, Floats, Floats, Floats, Floats, Floats]]


@dataclass(frozen=True)
class Matter:
    """What samples hold: share of bone, and mineral in g/cm³, each (N,) or as a lattice."""

    bone: Floats
    mineral: Floats


def sides_along(normals: Floats, step: tuple[float, float, float]) -> tuple[Floats, Floats]:
    """How far a sample's box reaches along unit normals (N, 3), mm: in two parts, the wider first.

    One part is the longest of its three sides as the normal sees them, the other is the other
    two together.
    """
    x, y, z = (np.abs(normals[:, axis]) * np.float32(step[axis]) for axis in range(3))
    longest = np.maximum(np.maximum(np.maximum(x, y), z), np.float32(1e-3))
    others = np.maximum(x + y + z - longest, np.float32(0.02) * longest)
    return np.maximum(longest, others), np.minimum(longest, others)


def filled(distance: Floats, wide: Floats, narrow: Floats) -> Floats:
    """Share of samples that lies inside of a surface at a signed distance, mm.

    A ramp with rounded ends: a step blurred by both parts of the box. Its integral along the
    normal is exact, and so is its sum along a ray that the longest side lies along: a straight
    ramp would show rings where a face is seen from the front.
    """
    away = np.minimum(np.abs(distance), (wide + narrow) * np.float32(0.5))
    over = np.maximum(away - (wide - narrow) * np.float32(0.5), 0)
    half = (away - over * over / (narrow + narrow)) / wide
    return np.float32(0.5) - np.copysign(half, distance)


@dataclass(frozen=True)
class Bone:
    """One placed bone.

    Attributes
    ----------
    name : str
        Region or side and bone.
    template : BoneSurface
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
    template: BoneSurface
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
        slope = 1 / np.sqrt(np.maximum(slope, np.float32(0.04)))
        for column in range(4):
            rows[:, column] *= slope
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
        sides = sides_along(rows[:, 1:4] @ self.rotation.T, step)
        bone = filled(distance, *sides)
        inner = filled(distance + cortex, *sides)
        if self.texture is not None:
            density = density * self.texture(x, y, z)
        return Matter(bone, (bone - inner) * np.float32(CORTICAL) + inner * density)


class Placed(Protocol):
    """A solid with a place in the world: a bone, an implant."""

    @property
    def centre(self) -> Floats:
        """Origin of its frame in the world, mm, shape (3,)."""

    @property
    def reach(self) -> float:
        """No part of it is further from `centre`, mm."""

    def frame(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
        """World coordinates in its frame, mm."""

    def looked_up(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Rows for points of its frame: distance in mm, unit normal, traits."""


class Solid(Placed, Protocol):
    """A placed solid that says what it is made of."""

    def matter(self, x: Floats, y: Floats, z: Floats, step: tuple[float, float, float]) -> Matter:
        """What world points are made of, each sample a box of sides `step` along x, y, z, mm."""


def blocks_near(
    solid: Placed, lattice: Lattice, places: np.ndarray, middles: Sequence[Floats]
) -> Blocks | None:
    """Blocks of a lattice that a solid may reach into; None where it is nowhere near.

    `places` and `middles` are the lattice's `block_centres`.
    """
    half = BLOCK / 2 * float(np.sqrt((np.array(lattice.step) ** 2).sum()))
    away = sum((m - c) ** 2 for m, c in zip(middles, solid.centre, strict=True))
    near = np.flatnonzero(away < (solid.reach + half) ** 2)
    if not len(near):
        return None
    x, y, z = solid.frame(*(m[near] for m in middles))
    near = near[solid.looked_up(x, y, z)[:, 0] < 2 * _REACH * half]
    blocks = _touched(solid, lattice, blocks_at(lattice, places[near]))
    # Steps along a ray are long: blocks as wide as long reach much less far beside a bone.
    before = BLOCK**3
    for length in _LENGTHS:
        sides = compact_sides(lattice.step, length)
        if _WORTH_ASKING <= math.prod(sides) < before:
            before = math.prod(sides)
            blocks = _touched(solid, lattice, blocks.divided(sides))
    return blocks if len(blocks.i) else None


def _touched(solid: Placed, lattice: Lattice, blocks: Blocks) -> Blocks:
    """Blocks that a solid may reach into.

    Amid two faces a distance may be said to be twice what it is, so a few samples of each are
    asked.
    """
    if not len(blocks.i):
        return blocks
    some = blocks.inner()
    x, y, z = solid.frame(*some.points(lattice))
    distance = solid.looked_up(x, y, z)[:, 0].reshape(len(some.i), -1).min(axis=1)
    _, a, b, c = blocks.shape
    return blocks.chosen(distance < _REACH * _reach(lattice.step, (a, b, c)))


def _reach(step: tuple[float, float, float], sides: tuple[int, int, int]) -> float:
    """How far the samples around one of `Blocks.inner` reach, with their borders, mm."""
    apart = [n / 4 if n > 2 else n // 2 for n in sides]
    away = math.hypot(*(n * one for n, one in zip(apart, step, strict=True)))
    return away + math.hypot(*step) / 2


def mineral_of(bones: Sequence[Bone], lattice: Lattice) -> Floats:
    """Mineral of bones at the samples of a lattice, g/cm³; where two meet, the denser."""
    return matter_of(bones, lattice).mineral


def matter_of(bones: Sequence[Bone], lattice: Lattice) -> Matter:
    """Share that is bone, and mineral in g/cm³, of the samples of a lattice, each of its shape."""
    whole = Matter(np.zeros(lattice.shape, np.float32), np.zeros(lattice.shape, np.float32))
    places, *middles = block_centres(lattice)
    for bone in bones:
        blocks = blocks_near(bone, lattice, places, middles)
        if blocks is None:
            continue
        for part in blocks.parts():
            found = bone.matter(*part.points(lattice), lattice.sides)
            index = (part.i, part.j, part.k)
            for total, values in ((whole.bone, found.bone), (whole.mineral, found.mineral)):
                total[index] = np.maximum(total[index], values.reshape(part.shape))
    return whole


def straight_through(
    x: Floats, y: Floats, z: Floats
) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """No bend at all."""
    one = floats(1.0)
    return x, y, z, one, one, one

"""Bones and metal as thin planes across a series, computed a few at a time where a solid is."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.phantom.solids.bone import Solid
from shared.phantom.solids.distance import Floats, floats
from shared.phantom.solids.lattice import BLOCK, Lattice, block_centres, blocks_at

from .scene import CtScene
from .stack import SliceStack

#: Planes are no thicker than this, mm.
THICKEST: Final = 1.6
#: Blocks computed at once: what they need stays in the processor's cache.
AT_ONCE: Final = 96


@dataclass(frozen=True)
class BoneMatter:
    """What samples hold of bones, arrays of one shape.

    Attributes
    ----------
    share, mineral : ndarray of float32
        Share of bone, and mineral in g/cm³.
    number : ndarray of uint8
        Of the bone that fills most of it, from 1 in the list's order; 0 = none.
    """

    share: Floats
    mineral: Floats
    number: NDArray[np.uint8]


def matter_in(bones: Sequence[Solid], lattice: Lattice) -> BoneMatter | None:
    """What a lattice's samples hold of bones; None where none is near.

    The lattice's shape is a multiple of `BLOCK` along each axis. Where two bones meet, the
    larger counts.
    """
    counts = [size // BLOCK for size in lattice.shape]
    total: Floats | None = None
    owner: NDArray[np.uint8] | None = None
    places, *middles = block_centres(lattice)
    half = BLOCK / 2 * math.sqrt(sum(side**2 for side in lattice.step))
    numbers = (places[:, 0] * counts[1] + places[:, 1]) * counts[2] + places[:, 2]
    for number, bone in enumerate(bones, 1):
        away = sum((m - c) ** 2 for m, c in zip(middles, bone.centre, strict=True))
        near = np.flatnonzero(away < (bone.reach + half) ** 2)
        if not len(near):
            continue
        x, y, z = bone.frame(*(m[near] for m in middles))
        near = near[bone.looked_up(x, y, z)[:, 0] < half + max(lattice.step)]
        if not len(near):
            continue
        if total is None or owner is None:
            total = np.zeros((len(places), 2, BLOCK**3), np.float32)
            owner = np.zeros((len(places), BLOCK**3), np.uint8)
        for start in range(0, len(near), AT_ONCE):
            some = near[start : start + AT_ONCE]
            points = blocks_at(lattice, places[some]).points(lattice)
            matter = bone.matter(*points, lattice.sides)
            found = np.stack([matter.bone, matter.mineral]).reshape(2, len(some), -1)
            at = numbers[some]
            known = total[at]
            owner[at] = np.where(found[0] > known[:, 0], np.uint8(number), owner[at])
            total[at] = np.maximum(known, found.transpose(1, 0, 2))
    if total is None or owner is None:
        return None
    whole = total.reshape(*counts, 2, BLOCK, BLOCK, BLOCK).transpose(3, 0, 4, 1, 5, 2, 6)
    whole = whole.reshape(2, *lattice.shape)
    whose = owner.reshape(*counts, BLOCK, BLOCK, BLOCK).transpose(0, 3, 1, 4, 2, 5)
    return BoneMatter(whole[0], whole[1], whose.reshape(lattice.shape))


class BonePlanes:
    """Planes across a series: what each holds of a list of bones.

    Parameters
    ----------
    bones : sequence of Solid
        Bones, or the solids of one metal.
    scene : CtScene
        For how the patient moved.
    stack : SliceStack
        Slices.

    Attributes
    ----------
    each : int
        Planes between two slices.
    rows, columns : slice
        Where in a slice bones can be.
    weights : list of (int, float)
        Offsets of the planes that make slice k, from plane k·each, and their weights.
    """

    def __init__(self, bones: Sequence[Solid], scene: CtScene, stack: SliceStack) -> None:
        self.bones, self.scene, self.stack = bones, scene, stack
        increment = stack.protocol.increment_mm
        self.each = max(1, math.ceil(increment / THICKEST))
        self.thick = increment / self.each
        self.rows, self.columns = self._box()
        self.weights = profile_weights(stack.protocol.thickness_mm, increment, self.each)
        self._slabs: OrderedDict[int, BoneMatter | None] = OrderedDict()

    @property
    def empty(self) -> bool:
        """Whether no bone reaches into a slice."""
        return self.rows.stop <= self.rows.start or self.columns.stop <= self.columns.start

    def _box(self) -> tuple[slice, slice]:
        """Rows and columns that bones can reach, multiples of a block."""
        plane = self.stack.plane(0.0)
        moved = max((max(map(abs, step.bones)) for step in self.scene.breaths), default=0.0)
        low, high = self.stack.extent()
        inside = [np.zeros(len(plane.y), bool), np.zeros(len(plane.x), bool)]
        for bone in self.bones:
            reach = bone.reach + moved + 2
            if low[2] - reach < bone.centre[2] < high[2] + reach:
                inside[0] |= np.abs(plane.y - bone.centre[1]) < reach
                inside[1] |= np.abs(plane.x - bone.centre[0]) < reach
        sides = []
        for mask in inside:
            found = np.flatnonzero(mask)
            first, last = (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)
            sides.append(slice(first // BLOCK * BLOCK, -(-last // BLOCK) * BLOCK))
        return sides[0], sides[1]

    def _slab(self, number: int) -> BoneMatter | None:
        """Planes 8·number to 8·number+7, (8, rows, columns)."""
        if number not in self._slabs:
            index = np.arange(BLOCK) + number * BLOCK
            slices = np.floor_divide(index, self.each)
            zs = floats(self.stack.z_of(-0.5) + (index + 0.5) * self.thick)
            shifts = floats([self.scene.breath_at(int(k)).bones for k in slices])
            lattice = self.stack.lattice(zs, shifts, self.rows, self.columns, self.thick)
            self._slabs[number] = matter_in(self.bones, lattice)
            while len(self._slabs) > 3:
                self._slabs.popitem(last=False)
        return self._slabs[number]

    def slice_of(self, index: int) -> BoneMatter | None:
        """What a slice holds over `rows` and `columns`, or None.

        Share and mineral are means over the slice's profile; a voxel that is less than half
        bone has number 0.
        """
        if self.empty:
            return None
        share: Floats | None = None
        mineral: Floats | None = None
        for offset, weight in self.weights:
            number, within = divmod(index * self.each + offset, BLOCK)
            slab = self._slab(number)
            if slab is None:
                continue
            if share is None or mineral is None:
                share, mineral = slab.share[within] * weight, slab.mineral[within] * weight
            else:
                share += slab.share[within] * weight
                mineral += slab.mineral[within] * weight
        if share is None or mineral is None:
            return None
        number, within = divmod(index * self.each + self.each // 2, BLOCK)
        middle = self._slab(number)
        whose = np.zeros(share.shape, np.uint8)
        if middle is not None:
            np.multiply(middle.number[within], share >= np.float32(0.5), out=whose)
        return BoneMatter(share, mineral, whose)


def profile_weights(thickness: float, increment: float, each: int) -> list[tuple[int, float]]:
    """Weights of the planes that make a slice.

    The slice's profile is a box as wide as the slice, its edges softened over a fifth of it (a
    helical scan's); each plane's weight is the profile's integral over it.
    """
    thick = increment / each
    soft = 0.2 * thickness
    reach = math.ceil((thickness + soft) / 2 / thick) + 1
    found = []
    for offset in range(-reach, each + reach + 1):
        middle = (offset + 0.5) * thick - increment / 2
        at = middle + thick * (np.arange(41) - 20) / 41
        profile = np.clip(((thickness + soft) / 2 - np.abs(at)) / soft, 0, 1)
        found.append((offset, float(profile.mean())))
    total = sum(weight for _, weight in found)
    return [(offset, weight / total) for offset, weight in found if weight / total > 1e-3]

"""What the rays of a projection cross in an anatomy: mineral, lean, fat and metal.

DXA and film ask alike; they differ in the lattices alone. Bones are sampled on rays as dense as
the picture's pixels, but not denser than detectors see; soft tissue on a few rays, between which
pixels lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from scipy.ndimage import map_coordinates

from shared.phantom.solids.bone import Bone, Matter, matter_of
from shared.phantom.solids.distance import Floats, floats
from shared.phantom.solids.implants import MATERIALS
from shared.phantom.solids.lattice import Lattice
from shared.phantom.solids.tissue import Tissue
from shared.phantom.solids.tissues.mass import RayMass, ray_mass

from .ct.attenuation import tube_beam
from .physics import Crossed

#: Steps along the rays through bones, mm: a sample's borders make the integral exact at any.
BONE_STEP: Final = 3.0
#: Rays through bones are no closer than this, mm: detectors blur by as much.
BONE_RAYS: Final = 1.2
#: Rays through bones of the chest are no closer than this, mm.
CHEST_RAYS: Final = 3.0
#: Rays and steps through soft tissue, mm: its borders are found between samples.
TISSUE_STEP: Final = 5.0
CHEST_BONES: Final = ("rib_", "scapula_", "sternum")
#: Density of hydroxyapatite, g/cm³: so much soft tissue gives way to mineral.
HYDROXYAPATITE: Final = 3.1
#: Density of what is in bones besides mineral, g/cm³.
MARROW: Final = 1.0
#: Tube voltage of the beam in which metals are compared with mineral, kV.
COMPARED_AT: Final = 100


@dataclass(frozen=True)
class RayGrid:
    """Rays of one picture, as lattices.

    Attributes
    ----------
    bones : Lattice
        Rays through bones, metal and plaques, `BONE_RAYS` apart or more; steps of about
        `BONE_STEP`.
    tissue : Lattice
        Fewer rays around and between them; steps of about `TISSUE_STEP`.
    rows, columns : ndarray of float32, shapes (H,) and (W,)
        Where pixels lie between the rays of `tissue`, 0 on its first.
    longer : ndarray of float32, broadcast to (H, W)
        Way along a ray for each mm of the lattice's step: 1 for parallel rays.
    chest : (Lattice, (rows, columns)), optional
        Rays `CHEST_RAYS` apart or more for `CHEST_BONES`, which are long, thin and not what is
        looked at, and where pixels lie between them; as `bones` if there are none.
    pixels : (rows, columns), optional
        Where pixels lie between the rays of `bones`, (H,) and (W,); one on each if there is none.
    """

    bones: Lattice
    tissue: Lattice
    rows: Floats
    columns: Floats
    longer: Floats
    chest: tuple[Lattice, tuple[Floats, Floats]] | None = None
    pixels: tuple[Floats, Floats] | None = None

    def along(self, volume: Floats) -> Floats:
        """Integral of samples of `bones` along the rays at the pixels, in their unit times cm."""
        step = np.float32(self.bones.step[2] / 10)
        return floats(self.at_pixels(volume.sum(axis=2) * step) * self.longer)

    def at_pixels(self, values: Floats) -> Floats:
        """What rays of `bones` found, at the pixels, (H, W)."""
        return values if self.pixels is None else _between(values, self.pixels)


def _between(values: Floats, places: tuple[Floats, Floats]) -> Floats:
    """Values at places between rows and columns, along straight lines."""
    rows, columns = places
    grid = np.broadcast_arrays(rows[:, None], columns[None, :])
    return floats(map_coordinates(values, grid, order=1, mode="nearest"))


@dataclass(frozen=True)
class CrossedBones:
    """What rays cross of bones.

    Attributes
    ----------
    mineral : ndarray of float32, shape (H, W)
        g/cm².
    inside : ndarray of float32, shape (H, W)
        Way through bones, cm.
    """

    mineral: Floats
    inside: Floats

    def __add__(self, other: CrossedBones) -> CrossedBones:
        """Both, one behind the other."""
        return CrossedBones(self.mineral + other.mineral, self.inside + other.inside)


def cross_bones(
    bones: Sequence[Bone], rays: RayGrid, metal: Mapping[str, Floats] | None = None
) -> CrossedBones:
    """Follow rays through bones.

    Parameters
    ----------
    bones : sequence of Bone
        Which.
    rays : RayGrid
        Of the picture.
    metal : mapping of str to ndarray, optional
        Shares of the samples of `rays.bones` that are metal (`shares_of`): no bone is there.
    """
    chest = [one for one in bones if rays.chest and one.name.startswith(CHEST_BONES)]
    found = matter_of([one for one in bones if one not in chest], rays.bones)
    for share in (metal or {}).values():
        found = Matter(found.bone * (1 - share), found.mineral * (1 - share))
    crossed = CrossedBones(rays.along(found.mineral), rays.along(found.bone))
    if rays.chest is None:
        return crossed
    lattice, places = rays.chest
    found, step = matter_of(chest, lattice), np.float32(lattice.step[2] / 10)
    mineral, inside = (
        rays.longer * _between(values.sum(axis=2) * step, places)
        for values in (found.mineral, found.bone)
    )
    return crossed + CrossedBones(mineral, inside)


def areal_metal(metal: Mapping[str, Floats], rays: RayGrid) -> dict[str, Floats]:
    """Metal or cement along rays by material, g/cm², (H, W), of shares of `rays.bones`."""
    return {
        material: rays.along(share) * np.float32(MATERIALS[material].density)
        for material, share in metal.items()
    }


@lru_cache(maxsize=8)
def mineral_like(material: str) -> float:
    """Mineral in g that attenuates as much as 1 g of a material, over a beam's energies."""
    known = tube_beam(COMPARED_AT).attenuation
    # steel is as heavy as cobalt chrome, and PEEK attenuates as cement's resin does
    names = {"steel": "cobalt_chrome", "peek": "water"}
    metal, mineral = known[names.get(material, material)], known["hydroxyapatite"]
    return float((metal * mineral).sum() / (mineral * mineral).sum())


def soft_tissue(
    tissues: Sequence[Tissue], inside: Floats, rays: RayGrid, marrow_fat: float
) -> RayMass:
    """Lean, fat and plaques along rays, as if there was no mineral in bones, g/cm², (H, W).

    Parameters
    ----------
    tissues : sequence of Tissue
        In order.
    inside : ndarray of float32, shape (H, W)
        Way through bones, cm: their marrow is tissue too. Bones lie over lean tissue (discs,
        muscle), so that what is in them differs by the fat of the marrow.
    rays : RayGrid
        Of the picture.
    marrow_fat : float
        Fat's share of marrow in [0, 1].
    """
    plaques = [one for one in tissues if one.substance.mineral]
    found = ray_mass(tissues, rays.tissue).at(rays.rows, rays.columns)
    fat = inside * np.float32(MARROW * marrow_fat)
    return RayMass(found.lean - fat, found.fat + fat, _plaques(plaques, rays))


def _plaques(plaques: Sequence[Tissue], rays: RayGrid) -> Floats:
    """Mineral of plaques on the pixels, where there can be any, g/cm²."""
    lattice = rays.bones
    found = np.zeros(lattice.shape[:2], np.float32)
    if not plaques:
        return rays.at_pixels(found)
    low = np.min([one.box[0] for one in plaques], axis=0)
    high = np.max([one.box[1] for one in plaques], axis=0)
    inside = [
        (values > start - 2) & (values < end + 2)
        for values, start, end in zip((lattice.x, lattice.y, lattice.z), low, high, strict=True)
    ]
    some = []
    for axis, size in enumerate(lattice.shape):
        near = np.ones(size, bool)
        for mask in inside:
            others = tuple(k for k in range(3) if k != axis)
            near &= mask.any(axis=others)
        index = np.flatnonzero(near)
        if not len(index):
            return rays.at_pixels(found)
        some.append(slice(int(index[0]), int(index[-1]) + 1))
    part = _cut(lattice, (some[0], some[1], some[2]))
    found[some[0], some[1]] = ray_mass(plaques, part).mineral
    return rays.at_pixels(found)


def _cut(lattice: Lattice, some: tuple[slice, slice, slice]) -> Lattice:
    """Part of a lattice."""

    def cut(values: Floats) -> Floats:
        return values[
            tuple(
                one if size > 1 else slice(None)
                for one, size in zip(some, values.shape, strict=True)
            )
        ]

    shape = tuple(one.stop - one.start for one in some)
    return Lattice(
        cut(lattice.x), cut(lattice.y), cut(lattice.z),
        (shape[0], shape[1], shape[2]), lattice.step, lattice.lateral,
    )  # fmt: skip


def crossed_by(
    mineral: Floats, metal: Mapping[str, Floats], soft: RayMass, most: float = np.inf
) -> Crossed:
    """Put together what rays cross.

    Parameters
    ----------
    mineral : ndarray of float32, shape (H, W)
        Of bones, g/cm².
    metal : mapping of str to ndarray of float32, shape (H, W)
        By material, g/cm²; counts as the mineral that attenuates as much.
    soft : RayMass
        Soft tissue and plaques, (H, W).
    most : float
        More mineral than this a detector cannot tell from it, g/cm².
    """
    bone = mineral + soft.mineral
    # mineral takes the place of tissue
    whole = np.maximum(soft.lean + soft.fat, np.float32(1.0))
    left = np.clip(1 - bone * np.float32(1 / HYDROXYAPATITE) / whole, 0.2, 1.0)
    for material, mass in metal.items():
        density = MATERIALS[material].density
        left = left * np.clip(1 - mass / np.float32(density) / whole, 0.2, 1)
        bone = bone + mass * np.float32(mineral_like(material))
    return Crossed(
        floats(np.minimum(bone, most)), floats(soft.lean * left), floats(soft.fat * left)
    )

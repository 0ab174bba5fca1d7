"""Fat and lean tissue, lungs and bowel gas, given analytically.

The trunk is a cylinder with a superelliptic section; what a ray crosses has a
closed form, so no voxels are needed. World frame, mm: x to
the patient's left, y to the back, z to the feet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .solid import Floats

#: Mass densities, g/cm³ (ICRU-44): muscle-like lean tissue, adipose, inflated lung.
LEAN_DENSITY: Final = 1.05
FAT_DENSITY: Final = 0.95
LUNG_DENSITY: Final = 0.28


@dataclass(frozen=True)
class Blob:
    """An ellipsoid of gas or lung: centre and radii in mm, share of tissue taken away."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    removed: float


@dataclass(frozen=True)
class SoftTissue:
    """The trunk of one patient.

    The share of fat along a ray rises smoothly towards the side, as the shell of
    subcutaneous fat fills more of it. What lies in gas and lung is taken away
    from lean and fat alike.

    Attributes
    ----------
    half_width, half_depth : float
        Of the trunk at L3, mm.
    centre_x, centre_y : float
        Middle of the trunk, mm.
    fat : float
        Share of fat, by volume, of rays through the middle from front to back.
    fat_side : float
        What is added to that share at the skin of the side.
    hips_z : float
        Height of the hip joints, mm.
    blobs : tuple of Blob
        Lungs and bowel gas.
    texture : tuple of (float, float, float, float)
        Waves of thickness by bowel and muscle: amplitude as a share, wave numbers
        across and down (radians per mm), phase.
    """

    half_width: float
    half_depth: float
    centre_x: float
    centre_y: float
    fat: float
    fat_side: float
    hips_z: float
    blobs: tuple[Blob, ...]
    texture: tuple[tuple[float, float, float, float], ...]

    def _girth(self, z: Floats, across: bool) -> Floats:
        """Factor on width or depth along the body: chest, waist and hips."""
        toward_hips = np.clip(z / max(self.hips_z, 1.0), 0, 1.25)
        toward_chest = np.clip(-z / 260.0, 0, 1.2)
        hips = 0.17 if across else 0.06
        return 1 + hips * toward_hips**1.5 + 0.04 * np.sin(np.pi * toward_chest)

    def along_y(self, z: Floats, x: Floats) -> tuple[Floats, Floats]:
        """Lean and fat, g/cm², crossed from front to back; shape (len(z), len(x))."""
        half = self.half_width * self._girth(z, across=True)
        through = self.half_depth * self._girth(z, across=False)
        return self._crossed(z, x, half, through, self.centre_x, (0, 1))

    def along_x(self, z: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Lean and fat, g/cm², crossed from side to side; shape (len(z), len(y))."""
        half = self.half_depth * self._girth(z, across=False)
        through = self.half_width * self._girth(z, across=True)
        return self._crossed(z, y, half, through, self.centre_y, (1, 0))

    def _crossed(
        self,
        z: Floats,
        place: Floats,
        half: Floats,
        through: Floats,
        centre: float,
        axes: tuple[int, int],
    ) -> tuple[Floats, Floats]:
        rel = np.abs(place - np.float32(centre))[None, :] / half[:, None]
        rel = np.minimum(rel, np.float32(1.0))
        left = _chord(rel, through[:, None])
        full = left.copy()
        for blob in self.blobs:
            _remove(left, full, blob, z, place, axes)
        for amplitude, across, down, phase in self.texture:
            wave = (
                np.sin(np.float32(across) * place)[None, :]
                + np.sin(np.float32(down) * z + np.float32(phase))[:, None]
                * np.cos(np.float32(0.7 * across) * place + np.float32(phase))[None, :]
            )
            left *= 1 + np.float32(amplitude) * wave
        share = np.float32(self.fat) + np.float32(self.fat_side) * rel * rel
        fat = left * share
        return (
            np.asarray((left - fat) * np.float32(LEAN_DENSITY / 10), np.float32),
            np.asarray(fat * np.float32(FAT_DENSITY / 10), np.float32),
        )


def _remove(
    left: Floats, full: Floats, blob: Blob, z: Floats, place: Floats, axes: tuple[int, int]
) -> None:
    """Take a blob off the tissue that is left along each ray, mm; 15 % always stay."""
    across, through = axes
    zs = (z - blob.centre[2]) / blob.radii[2]
    ps = (place - blob.centre[across]) / blob.radii[across]
    rows = np.flatnonzero(np.abs(zs) < 1)
    cols = np.flatnonzero(np.abs(ps) < 1)
    if not len(rows) or not len(cols):
        return
    box = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
    inside = np.maximum(1 - zs[box[0], None] ** 2 - ps[None, box[1]] ** 2, 0)
    chord = np.float32(2 * blob.radii[through] * blob.removed) * np.sqrt(inside)
    left[box] = np.maximum(left[box] - chord, np.float32(0.15) * full[box])


def _chord(rel: Floats, through: Floats) -> Floats:
    """Length of a ray through a superellipse (exponent 2.4), `rel` in [0, 1] from its middle."""
    return np.float32(2.0) * through * (1 - rel**2.4) ** np.float32(1 / 2.4)


def trunk_of(
    bmi: float,
    sex: str,
    height_cm: float,
    back_y: float,
    hips_z: float,
    chest_top_z: float,
    middle_x: float,
    rng: np.random.Generator,
) -> SoftTissue:
    """Trunk of a patient (design/anatomy.md [U]).

    Parameters
    ----------
    bmi : float
        Body mass index, kg/m².
    sex : str
        "F" or "M".
    height_cm : float
        Height.
    back_y, hips_z, chest_top_z : float
        Skin of the back behind L3, height of the hip joints, top of the lungs, mm.
    middle_x : float
        Middle of the trunk from side to side, mm.
    rng : numpy.random.Generator
        For what is not given by the covariates.
    """
    depth = (200 + 7.5 * (bmi - 22)) * float(np.exp(rng.normal(0, 0.04)))
    width = (310 + 5.6 * (bmi - 22) + 0.6 * (height_cm - 165)) * float(np.exp(rng.normal(0, 0.03)))
    depth, width = max(depth, 145.0), max(width, 255.0)
    fat = 0.20 if sex == "F" else 0.14
    fat = float(np.clip(fat + 0.014 * (bmi - 22) + rng.normal(0, 0.03), 0.06, 0.5))
    fat_side = float(np.clip(0.15 + 0.01 * (bmi - 22) + rng.normal(0, 0.03), 0.05, 0.35))
    centre_y = back_y - depth / 2
    lungs = _lungs(middle_x, centre_y, width, depth, chest_top_z)
    return SoftTissue(
        half_width=width / 2,
        half_depth=depth / 2,
        centre_x=middle_x,
        centre_y=centre_y,
        fat=fat,
        fat_side=fat_side,
        hips_z=hips_z,
        blobs=lungs + _bowel_gas(centre_y - depth * 0.18, rng),
        texture=_texture(rng),
    )


def _lungs(x: float, y: float, width: float, depth: float, top: float) -> tuple[Blob, ...]:
    """Two lungs beside the middle, from `top` to 75 mm above L3."""
    centre_z, half = (top - 75) / 2 - 10, abs(top + 75) / 2 + 12
    removed = 1 - LUNG_DENSITY / LEAN_DENSITY
    return tuple(
        Blob(
            (x + side * width * 0.235, y - 4, centre_z), (width * 0.20, depth * 0.34, half), removed
        )
        for side in (-1.0, 1.0)
    )


def _bowel_gas(y: float, rng: np.random.Generator) -> tuple[Blob, ...]:
    """Some bubbles in front of the lumbar spine."""
    return tuple(
        Blob(
            (float(rng.uniform(-105, 105)), y, float(rng.uniform(-70, 150))),
            (float(rng.uniform(8, 22)), float(rng.uniform(6, 14)), float(rng.uniform(7, 18))),
            float(rng.uniform(0.3, 0.9)),
        )
        for _ in range(int(rng.integers(6, 15)))
    )


def _texture(rng: np.random.Generator) -> tuple[tuple[float, float, float, float], ...]:
    """Four waves of thickness of 0.3 to 0.8 %, 14 to 60 mm long."""
    return tuple(
        (
            float(rng.uniform(0.003, 0.008)),
            float(2 * np.pi / rng.uniform(14, 60)),
            float(2 * np.pi / rng.uniform(14, 60)),
            float(rng.uniform(0, 2 * np.pi)),
        )
        for _ in range(4)
    )

"""Fat and lean tissue, lungs and bowel gas, given analytically.

The trunk is an elliptic cylinder with a shell of subcutaneous fat; the mass that
a ray crosses has a closed form, so no voxels are needed. World frame, mm: x to
the patient's left, y to the back, z to the feet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

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

    Attributes
    ----------
    half_width, half_depth : float
        Of the trunk at L3, mm.
    centre_y : float
        Middle of the trunk, mm.
    shell : float
        Subcutaneous fat at the side, mm; at back and front scaled by the depth.
    inner_fat : float
        Share of fat (by volume) inside the shell.
    hips_z : float
        Height of the hip joints, mm.
    blobs : tuple of Blob
        Lungs and bowel gas.
    """

    half_width: float
    half_depth: float
    centre_y: float
    shell: float
    inner_fat: float
    hips_z: float
    blobs: tuple[Blob, ...]

    def _girth(self, z: Floats) -> Floats:
        """Factor on width and depth along the body: waist, chest and hips."""
        toward_hips = np.clip(z / max(self.hips_z, 1.0), 0, 1.2)
        toward_chest = np.clip(-z / 260.0, 0, 1.2)
        return 1 + 0.07 * toward_hips**2 + 0.04 * np.sin(np.pi * toward_chest)

    def along_y(self, z: Floats, x: Floats) -> tuple[Floats, Floats]:
        """Lean and fat, g/cm², crossed from front to back; shape (len(z), len(x))."""
        return self._crossed(z, x, self.half_width, self.half_depth, 0.0, (0, 1))

    def along_x(self, z: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Lean and fat, g/cm², crossed from side to side; shape (len(z), len(y))."""
        return self._crossed(z, y, self.half_depth, self.half_width, self.centre_y, (1, 0))

    def _crossed(
        self,
        z: Floats,
        place: Floats,
        half: float,
        through: float,
        centre: float,
        axes: tuple[int, int],
    ) -> tuple[Floats, Floats]:
        girth = self._girth(z)[:, None]
        shell_half = self.shell * half / self.half_width
        shell_through = self.shell * through / self.half_width
        rel = np.abs(place - np.float32(centre))[None, :]
        outer = _chord(rel, half * girth, through * girth)
        inner = _chord(rel, half * girth - shell_half, through * girth - shell_through)
        keep = np.ones_like(inner)
        for blob in self.blobs:
            self._remove(keep, blob, z, place, axes, inner)
        inner_left = inner * keep
        lean = inner_left * np.float32((1 - self.inner_fat) * LEAN_DENSITY / 10)
        fat = (outer - inner + inner_left * np.float32(self.inner_fat)) * np.float32(
            FAT_DENSITY / 10
        )
        return lean, fat

    @staticmethod
    def _remove(
        keep: Floats,
        blob: Blob,
        z: Floats,
        place: Floats,
        axes: tuple[int, int],
        inner: Floats,
    ) -> None:
        """Take a blob's chord off the tissue that is left, as a share of the inner chord."""
        across, through = axes
        zs = (z - blob.centre[2]) / blob.radii[2]
        ps = (place - blob.centre[across]) / blob.radii[across]
        rows = np.flatnonzero(np.abs(zs) < 1)
        cols = np.flatnonzero(np.abs(ps) < 1)
        if not len(rows) or not len(cols):
            return
        box = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        left = np.maximum(1 - zs[box[0], None] ** 2 - ps[None, box[1]] ** 2, 0)
        chord = 2 * blob.radii[through] * np.sqrt(left) * np.float32(blob.removed)
        keep[box] = np.maximum(keep[box] - chord / np.maximum(inner[box], 1.0), 0.12)


def _chord(rel: Floats, half: Floats, through: Floats) -> Floats:
    """Length of a ray through a superellipse (exponent 2.4), mm."""
    share = np.clip(rel / half, 0, 1)
    return np.float32(2.0) * through * (1 - share**2.4) ** np.float32(1 / 2.4)


def trunk_of(
    bmi: float,
    sex: str,
    height_cm: float,
    back_y: float,
    hips_z: float,
    chest_top_z: float,
    spine_x: NDArray[np.floating],
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
    spine_x : ndarray
        Lateral position of the spine's middle (unused beyond its mean), mm.
    rng : numpy.random.Generator
        For what is not given by the covariates.
    """
    depth = (200 + 7.5 * (bmi - 22)) * float(np.exp(rng.normal(0, 0.04)))
    width = (310 + 5.6 * (bmi - 22) + 0.6 * (height_cm - 165)) * float(np.exp(rng.normal(0, 0.03)))
    depth, width = max(depth, 145.0), max(width, 255.0)
    shell = float(np.clip((12 if sex == "F" else 7) + 1.6 * (bmi - 20) + rng.normal(0, 3), 5, 52))
    inner_fat = float(np.clip(0.12 + 0.010 * (bmi - 22) + rng.normal(0, 0.03), 0.05, 0.38))
    centre_y = back_y - depth / 2
    middle = float(np.mean(spine_x))
    lungs = tuple(
        Blob(
            (middle + side * width * 0.235, centre_y - 4, (chest_top_z - 75) / 2 - 10),
            (width * 0.20, depth * 0.34, abs(chest_top_z + 75) / 2 + 12),
            1 - LUNG_DENSITY / LEAN_DENSITY,
        )
        for side in (-1.0, 1.0)
    )
    gas = tuple(
        Blob(
            (float(rng.uniform(-105, 105)), centre_y - depth * 0.18, float(rng.uniform(-70, 150))),
            (float(rng.uniform(8, 22)), float(rng.uniform(6, 14)), float(rng.uniform(7, 18))),
            float(rng.uniform(0.3, 0.9)),
        )
        for _ in range(int(rng.integers(6, 15)))
    )
    return SoftTissue(width / 2, depth / 2, centre_y, shell, inner_fat, hips_z, lungs + gas)

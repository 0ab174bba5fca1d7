"""Dual-energy X-ray physics: what is measured, and how mineral is found in it.

Formulas of design/clinical.md: J = −ln(I/I₀); with R_s = μ_sL/μ_sH measured
beside the bone on each scan line, BMD = (J_L − R_s·J_H)/(μ_bL − R_s·μ_bH). A
K-edge filtered beam is treated as two lines (38 and 70 keV). A switched broad
beam (100 and 140 kVp) is simulated over its spectrum, and its decomposition is
a polynomial calibrated on known thicknesses, in which the share of fat plays
the part of R_s. Coefficients come from xraydb, spectra from spekpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from shared.phantom.anatomy.solid import Floats, floats

Physics = Literal["k_edge", "switched"]

#: keV of the K-edge (cerium) filtered beam (clinical.md).
K_EDGE_KEV: Final = (38.0, 70.0)
#: Peak kilovoltage, added aluminium and added copper in mm of the switched
#: beam [U].
SWITCHED_BEAMS: Final = ((100.0, 3.0, 0.0), (140.0, 3.0, 1.2))
ANODE_DEGREES: Final = 12.0
#: Mass fractions: hydroxyapatite by formula, ICRU-44 soft tissue and adipose.
HYDROXYAPATITE: Final = {"Ca": 0.39894, "P": 0.18499, "O": 0.41406, "H": 0.00201}
LEAN: Final = {
    "H": 0.102, "C": 0.143, "N": 0.034, "O": 0.708, "Na": 0.002, "P": 0.003, "S": 0.003,
    "Cl": 0.002, "K": 0.003,
}  # fmt: skip
FAT: Final = {"H": 0.114, "C": 0.598, "N": 0.007, "O": 0.278, "Na": 0.001, "S": 0.001, "Cl": 0.001}
#: Calibration range of the switched beam: bone in g/cm², tissue in g/cm², share of fat.
CALIBRATED: Final = ((0.0, 3.2), (2.0, 46.0), (0.0, 0.8))
_DEGREES: Final = (4, 4, 2)


def mass_attenuation(material: dict[str, float], kev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mass attenuation coefficient in cm²/g of mass fractions by element (xraydb, Elam)."""
    import xraydb

    total = np.zeros_like(kev, dtype=np.float64)
    for element, share in material.items():
        total += share * xraydb.mu_elam(element, kev * 1000.0)
    return total / sum(material.values())


@dataclass(frozen=True)
class Beam:
    """One of the two beams: detected weights (sum 1) and attenuation by energy bin, cm²/g."""

    weight: Floats
    bone: Floats
    lean: Floats
    fat: Floats


@dataclass(frozen=True)
class Crossed:
    """What each ray crosses: mineral, lean and fat, g/cm², all (H, W)."""

    bone: Floats
    lean: Floats
    fat: Floats


@lru_cache(maxsize=2)
def beams(physics: Physics) -> tuple[Beam, Beam]:
    """Low and high beam."""
    if physics == "k_edge":
        lines = [_beam(np.array([kev]), np.array([1.0])) for kev in K_EDGE_KEV]
        return lines[0], lines[1]
    spectra = [_spectrum(*settings) for settings in SWITCHED_BEAMS]
    low, high = (_beam(kev, weight) for kev, weight in spectra)
    return low, high


def _beam(kev: NDArray[np.float64], weight: NDArray[np.float64]) -> Beam:
    tables = (mass_attenuation(material, kev) for material in (HYDROXYAPATITE, LEAN, FAT))
    bone, lean, fat = (np.asarray(table, np.float32) for table in tables)
    return Beam(np.asarray(weight / weight.sum(), np.float32), bone, lean, fat)


def _spectrum(
    kvp: float, aluminium: float, copper: float, bins: int = 10
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies (keV) and energy-weighted fluence of a tube, in a few bins of equal signal."""
    import spekpy

    tube = spekpy.Spek(kvp=kvp, th=ANODE_DEGREES, dk=1.0)
    tube.filter("Al", aluminium)
    if copper:
        tube.filter("Cu", copper)
    kev, fluence = tube.get_spectrum()
    signal = np.asarray(kev) * np.asarray(fluence)
    # the body hardens the beam: bins are of equal signal behind 15 g/cm² of tissue
    behind = signal * np.exp(-15 * mass_attenuation(LEAN, np.asarray(kev)))
    place = np.cumsum(behind) / behind.sum()
    label = np.minimum((place * bins).astype(int), bins - 1)
    energies = [np.average(kev[label == b], weights=behind[label == b]) for b in range(bins)]
    weights = [signal[label == b].sum() for b in range(bins)]
    return np.array(energies), np.array(weights)


def attenuate(crossed: Crossed, beam: Beam) -> Floats:
    """J = −ln(I/I₀) of every ray for one beam, noise-free."""
    if len(beam.weight) == 1:
        return crossed.bone * beam.bone[0] + crossed.lean * beam.lean[0] + crossed.fat * beam.fat[0]
    total = np.zeros_like(crossed.bone)
    for weight, bone, lean, fat in zip(beam.weight, beam.bone, beam.lean, beam.fat, strict=True):
        depth = crossed.bone * bone
        depth += crossed.lean * lean
        depth += crossed.fat * fat
        np.exp(-depth, out=depth)
        depth *= weight
        total += depth
    return np.asarray(-np.log(total), dtype=np.float32)


def with_noise(attenuation: Floats, photons: float, rng: np.random.Generator) -> Floats:
    """Attenuation as counted: Poisson noise of `photons` a pixel in air."""
    counts = rng.poisson(np.float64(photons) * np.exp(-attenuation))
    return np.asarray(-np.log(np.maximum(counts, 0.5) / photons), dtype=np.float32)


# --- decomposition ------------------------------------------------------------------


@lru_cache(maxsize=1)
def _calibration() -> NDArray[np.float64]:
    """Polynomial of the switched beam, mineral from (d, u, fat): coefficients (i, j, k)."""
    low, high = beams("switched")
    (b0, b1), (t0, t1), (f0, f1) = CALIBRATED
    bone, tissue, share = (
        g.ravel().astype(np.float32)
        for g in np.meshgrid(
            b0 + (b1 - b0) * np.linspace(0, 1, 17) ** 1.3,
            np.linspace(t0, t1, 23),
            np.linspace(f0, f1, 5),
            indexing="ij",
        )
    )
    crossed = Crossed(bone, tissue * (1 - share), tissue * share)
    d, u = _coordinates(attenuate(crossed, low), attenuate(crossed, high))
    design = _terms(d, u, share, _DEGREES)
    weights = 1 / (0.05 + bone)
    mineral, *_ = np.linalg.lstsq(design * weights[:, None], bone * weights, rcond=None)
    return np.asarray(mineral).reshape([n + 1 for n in _DEGREES])


def _coordinates(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Well-conditioned coordinates of (J_L, J_H): contrast d and depth u, about in [0, 1]."""
    u = high * np.float32(1 / 6.0)
    return (low - np.float32(1.18) * high), u


def _terms(
    d: Floats, u: Floats, share: Floats, degrees: tuple[int, int, int]
) -> NDArray[np.float64]:
    powers = [
        (d.astype(float) ** i) * (u.astype(float) ** j) * (share.astype(float) ** k)
        for i in range(degrees[0] + 1)
        for j in range(degrees[1] + 1)
        for k in range(degrees[2] + 1)
    ]
    return np.stack(powers, axis=1)


def _horner(table: NDArray[np.float64], d: Floats, u: Floats, share: Floats) -> Floats:
    """Polynomial with coefficients (i, j, k) of d^i·u^j·share^k."""
    result = np.zeros_like(d)
    for along_u in table[::-1]:
        inner = np.zeros_like(d)
        for along_share in along_u[::-1]:
            value = np.full_like(d, along_share[-1])
            for coefficient in along_share[-2::-1]:
                value *= share
                value += np.float32(coefficient)
            inner *= u
            inner += value
        result *= d
        result += inner
    return result


def fit_beside(values: Floats, weight: Floats, half_lines: int = 6) -> Floats:
    """Fit what is measured beside the bone, and fill each scan line with the fit.

    A surface of second degree is fitted to the whole field, then a parabola to
    what is left on each scan line, pooled over `half_lines` lines above and
    below so that noise is averaged. Lines with little soft tissue keep to the
    surface.

    Parameters
    ----------
    values : ndarray of float32, shape (H, W)
        For example R_s by ray.
    weight : ndarray of float32, shape (H, W)
        0 on bone and air.
    """
    from scipy.ndimage import uniform_filter1d

    height, width = values.shape
    t, s = np.linspace(-1, 1, width), np.linspace(-1, 1, height)
    w = weight.astype(np.float64)
    powers = np.stack([t**k for k in range(5)], axis=1)
    sums, moments = w @ powers, (w * values) @ powers[:, :3]  # (H, 5), (H, 3)
    down = np.stack([s**k for k in range(5)], axis=1)
    table = down.T @ sums  # sums of w·s^i·t^j
    degrees = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))  # (of s, of t)
    normal = np.array([[table[i + k, j + n] for k, n in degrees] for i, j in degrees])
    right = np.array([(down[:, i] * moments[:, j]).sum() for i, j in degrees])
    normal += np.diag([0, 1e-3, 1e-3, 5e-3, 5e-3, 5e-3]) * table[0, 0] + 1e-9 * np.eye(6)
    surface = np.linalg.solve(normal, right)
    # the surface as a parabola on each line
    lines = np.zeros((height, 3))
    for (i, j), value in zip(degrees, surface, strict=True):
        lines[:, j] += value * down[:, i]
    index = np.arange(3)
    square = sums[:, index[:, None] + index[None, :]]  # (H, 3, 3)
    left = moments - np.einsum("hij,hj->hi", square, lines)
    size = 2 * half_lines + 1
    square = uniform_filter1d(square, size, axis=0, mode="nearest")
    left = uniform_filter1d(left, size, axis=0, mode="nearest")
    typical = float(table[0, 0]) / height
    square[:, index, index] += typical * np.array([0.02, 0.02, 0.02]) + 1e-9
    lines += np.linalg.solve(square, left[:, :, None])[:, :, 0]
    return np.asarray(lines @ powers[:, :3].T, dtype=np.float32)


def decompose(physics: Physics, low: Floats, high: Floats, beside: Floats) -> Floats:
    """Areal mineral of each ray from the two attenuations.

    Parameters
    ----------
    physics : {"k_edge", "switched"}
        Which beams.
    low, high : ndarray of float32, shape (H, W)
        J_L and J_H.
    beside : ndarray of float32, shape (H, W)
        Weight of each ray as soft tissue beside the bone (0 = bone or air).

    Returns
    -------
    ndarray of float32, shape (H, W)
        g/cm².
    """
    first, second = beams(physics)
    if physics == "k_edge":
        ratio = fit_beside(floats(low / np.maximum(high, np.float32(0.05))), beside * high)
        contrast = first.bone[0] - ratio * second.bone[0]
        return np.asarray((low - ratio * high) / contrast, dtype=np.float32)
    table = _calibration()
    d, u = _coordinates(low, high)
    share = floats(np.full_like(d, 0.25))
    # Newton: the share of fat for which soft tissue shows no mineral
    for _ in range(3):
        value = _horner(table, d, u, share)
        slope = (_horner(table, d, u, share + np.float32(0.05)) - value) / np.float32(0.05)
        step = np.clip(value / np.where(np.abs(slope) < 1e-3, 1e-3, slope), -0.3, 0.3)
        share = fit_beside(floats(np.clip(share - step, -0.3, 1.1)), beside * high)
    return _horner(table, d, u, share)

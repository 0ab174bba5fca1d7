"""What rays do to a slice: hardening by bone, streaks of metal, and where noise is.

A slice is projected along parallel rays at low resolution, each ray is measured with the whole
spectrum, corrected for water as scanners do, and what is left over from the ideal is projected
back with the ramp filter (Kak and Slaney 1988, chapter 3). The image of these errors is smooth,
so few pixels do: cupping, dark bands between dense bones, a body that is not 25 cm of water,
and the streaks of metal all come from this one sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse

from shared.phantom.solids.distance import Floats, floats

from .attenuation import REFERENCE_WATER, SUBSTANCES, TubeBeam

#: Pixels a side and angles, without and with metal.
COARSE: Final = (64, 48)
FINE: Final = (160, 200)
#: Share of the hardening by metal that is left after makers' corrections [U].
METAL_LEFT: Final = 0.55
#: Water that noise figures are given for, g/cm².
NOISE_WATER: Final = 24.0


class RayMesh:
    """Parallel rays through a square of pixels.

    Attributes
    ----------
    side, angles, bins : int
        Pixels a side, directions over 180°, and rays of each.
    weights : sparse array, shape (side², angles·bins)
        Share of each ray in a pixel, linear between two rays; a column sums to about `side` or
        less, in pixels.
    """

    def __init__(self, side: int, angles: int) -> None:
        self.side, self.angles = side, angles
        self.bins = int(side * 1.42) + 3
        middle = floats(np.arange(side) - (side - 1) / 2)
        x, y = np.tile(middle, side), np.repeat(middle, side)
        self.theta = (np.arange(angles) + 0.5) * np.pi / angles
        place = x[:, None] * np.cos(self.theta) + y[:, None] * np.sin(self.theta)
        place = place + (self.bins - 1) / 2  # (side², angles)
        low = place.astype(np.int32)
        share = floats(place - low)
        columns = low + np.arange(angles, dtype=np.int32) * self.bins
        data = np.stack([1 - share, share], axis=2)
        index = np.stack([columns, columns + 1], axis=2)
        starts = np.arange(side * side + 1, dtype=np.int32) * (2 * angles)
        self.weights = sparse.csr_array(
            (floats(data).reshape(-1), index.reshape(-1), starts),
            shape=(side * side, angles * self.bins),
        )
        # Ramp filter in space, for rays one pixel apart.
        n = np.arange(-self.bins + 1, self.bins)
        odd = (n % 2) / (np.pi * np.maximum(abs(n), 1)) ** 2
        ramp = np.where(n == 0, 0.25, 0.0) - odd
        self.length = fft.next_fast_len(3 * self.bins, real=True)
        padded = np.pad(ramp, (0, self.length - len(n)))
        self.ramp = fft.rfft(floats(np.roll(padded, 1 - self.bins)))

    def project(self, images: Floats, pixel_cm: float) -> Floats:
        """Line integrals of images (n, side, side): (n, angles, bins), times cm."""
        flat = images.reshape(len(images), -1)
        rays = [self.weights.T @ one for one in flat]
        return floats(rays).reshape(len(images), self.angles, self.bins) * np.float32(pixel_cm)

    def back(self, rays: Floats) -> Floats:
        """Mean over the angles of what rays (angles, bins) carry to each pixel: (side, side)."""
        found = self.weights @ floats(rays).reshape(-1)
        return floats(found.reshape(self.side, self.side) / self.angles)

    def filtered_back(self, rays: Floats, pixel_cm: float) -> Floats:
        """Image whose line integrals are the rays, per cm: (side, side)."""
        spectrum = fft.rfft(rays, self.length, axis=1) * self.ramp
        filtered = fft.irfft(spectrum, self.length, axis=1)[:, : self.bins]
        return floats(self.back(floats(filtered)) * np.float32(np.pi / pixel_cm))


@lru_cache(maxsize=4)
def ray_mesh(size: tuple[int, int]) -> RayMesh:
    """Make the rays of a number of pixels and angles."""
    return RayMesh(*size)


@lru_cache(maxsize=16)
def _corrected(key: tuple[bytes, bytes]) -> tuple[Floats, Floats]:
    """Attenuation (N,) of water of thickness (N,) g/cm², for a maker's correction."""
    weight, water = (np.frombuffer(part, np.float32) for part in key)
    thickness = floats(np.concatenate([np.linspace(0, 80, 400), [120, 200, 400]]))
    signal = np.exp(-thickness[:, None] * water) @ weight
    return floats(-np.log(np.maximum(signal, 1e-38))), thickness


@dataclass(frozen=True)
class Left:
    """What rays leave in a slice.

    Attributes
    ----------
    error : ndarray of float32, shape (side, side)
        HU to add.
    variance : ndarray of float32, shape (2, side, side)
        Of the noise, by rays from front to back and from side to side; together 1 in the
        middle of the noise's reference water.
    water : float
        What the most attenuating tenth of the rays crosses, as water, g/cm².
    """

    error: Floats
    variance: Floats
    water: float


@dataclass(frozen=True)
class Heavy:
    """Metal in a slice.

    Attributes
    ----------
    substance : str
        One of `attenuation.SUBSTANCES`.
    density : ndarray of float32, shape (FINE[0], FINE[0])
        g/cm³.
    starvation : float
        See `scanner.CtScannerProfile`.
    rng : numpy.random.Generator or None
        For the noise of starved rays; None leaves it out.
    """

    substance: str
    density: Floats
    starvation: float
    rng: np.random.Generator | None


def trace(
    beam: TubeBeam, field_cm: float, matter: Floats, hardening: float, heavy: Heavy | None = None
) -> Left:
    """Measure a slice with the whole spectrum.

    Parameters
    ----------
    beam : TubeBeam
        Spectrum.
    field_cm : float
        Side of the field.
    matter : ndarray of float32, shape (2, COARSE[0], COARSE[0])
        Density of what attenuates like water, and of mineral, g/cm³.
    hardening : float
        Share of the hardening by bone that is left, see `scanner.CtScannerProfile`.
    heavy : Heavy or None
        Metal; the errors are then in finer pixels.
    """
    mesh = ray_mesh(COARSE)
    pixel_cm = field_cm / mesh.side
    crossed = mesh.project(matter, pixel_cm)
    names = ["water", "hydroxyapatite"]
    through = crossed.reshape(2, -1).T
    seen = _water_of(beam, _summed(through, _by_bin(beam, names)))
    ideal = _summed(through, _ratios(beam, names)[:, None])[:, 0]
    error = (np.float32(hardening) * (seen - ideal)).reshape(mesh.angles, mesh.bins)
    seen = seen.reshape(mesh.angles, mesh.bins)
    if heavy is None:
        image = mesh.filtered_back(error, pixel_cm)
    else:
        image, seen = _with_metal(beam, field_cm, crossed, error, heavy)
    # Counted quanta fall as e^−μL: the noise of a ray is what is left of them.
    loss = floats(np.exp(np.minimum((seen - NOISE_WATER) * beam.effective("water"), 6.0)))
    front = floats(np.cos(mesh.theta) ** 2)[:, None]
    variance = np.stack([mesh.back(loss * front), mesh.back(loss * (1 - front))])
    return Left(floats(image * np.float32(1000)), variance, float(np.percentile(seen, 90)))


def _with_metal(
    beam: TubeBeam, field_cm: float, crossed: Floats, error: Floats, heavy: Heavy
) -> tuple[Floats, Floats]:
    """Image of the errors with metal, and what the coarse rays then see."""
    coarse, fine = ray_mesh(COARSE), ray_mesh(FINE)
    pixel_cm = field_cm / fine.side
    pixels = np.flatnonzero(heavy.density)
    metal = fine.weights[pixels].T @ heavy.density.reshape(-1)[pixels]
    metal = floats(metal).reshape(1, fine.angles, fine.bins) * np.float32(pixel_cm)
    finer = np.stack([_other_rays(one, coarse, fine) for one in crossed])
    through = np.concatenate([finer, metal]).reshape(3, -1).T
    names = ["water", "hydroxyapatite", heavy.substance]
    by_bin = _by_bin(beam, names)
    plain = _water_of(beam, _summed(through[:, :2], by_bin[:2]))
    seen = _water_of(beam, _summed(through, by_bin))
    more = np.float32(METAL_LEFT) * (seen - plain - through[:, 2] * _ratios(beam, names)[2])
    if heavy.rng is not None and heavy.starvation:
        more = more + _starved(seen, heavy.starvation, heavy.rng)
    shape = (fine.angles, fine.bins)
    whole = _other_rays(error, coarse, fine) + floats(more).reshape(shape)
    return fine.filtered_back(whole, pixel_cm), _other_rays(seen.reshape(shape), fine, coarse)


def _other_rays(values: Floats, given: RayMesh, wanted: RayMesh) -> Floats:
    """What other rays through the same field cross: (angles, bins) of theirs."""
    angle = (np.arange(wanted.angles) + 0.5) * given.angles / wanted.angles - 0.5
    offset = np.arange(wanted.bins) - (wanted.bins - 1) / 2
    place = offset * given.side / wanted.side + (given.bins - 1) / 2
    low = np.clip(np.floor(angle).astype(np.intp), 0, given.angles - 2)
    share = floats(np.clip(angle - low, 0, 1))[:, None]
    rows = values[low] * (1 - share) + values[low + 1] * share
    low = np.clip(np.floor(place).astype(np.intp), 0, given.bins - 2)
    share = floats(np.clip(place - low, 0, 1))[None, :]
    return floats(rows[:, low] * (1 - share) + rows[:, low + 1] * share)


def _summed(crossed: Floats, by_bin: Floats) -> Floats:
    """Depth of rays (N, substances) by bin: (N, bins)."""
    total = crossed[:, :1] * by_bin[0]
    for column in range(1, len(by_bin)):
        total += crossed[:, column : column + 1] * by_bin[column]
    return floats(total)


def _by_bin(beam: TubeBeam, names: list[str]) -> Floats:
    """Attenuation of substances by bin of the spectrum, cm²/g."""
    return np.stack([beam.attenuation[name] for name in names])


def _ratios(beam: TubeBeam, names: list[str]) -> Floats:
    """Effective attenuation over that of water."""
    return floats([beam.effective(name) / beam.effective("water") for name in names])


def _water_of(beam: TubeBeam, depths: Floats) -> Floats:
    """Water that would attenuate as rays do whose depth by bin is (N, bins): (N,) g/cm²."""
    signal = np.einsum("ij,j->i", np.exp(-depths), beam.weight)
    water, thickness = _corrected((beam.weight.tobytes(), beam.attenuation["water"].tobytes()))
    return floats(np.interp(-np.log(np.maximum(signal, 1e-30)), water, thickness))


def _starved(seen: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Noise of rays that hardly anything passes, as g/cm² of water."""
    excess = np.maximum(seen - np.float32(1.4 * REFERENCE_WATER), 0)
    spread = np.minimum(np.exp(excess * np.float32(0.1)) - 1, 12) * np.float32(0.22 * strength)
    return floats(spread * rng.standard_normal(len(seen), dtype=np.float32))


def metal_density(metal: str) -> float:
    """Density of a metal, g/cm³."""
    return SUBSTANCES[metal][0]


@lru_cache(maxsize=8)
def _upsampling(side: int, size: int, part: float) -> tuple[NDArray[np.intp], Floats]:
    """Pixel before each of `size` pixels over a part of `side`, and the share of the next."""
    place = ((np.arange(size) + 0.5) / size - 0.5) * part * side + (side - 1) / 2
    low = np.clip(np.floor(place).astype(np.intp), 0, side - 2)
    return low, floats(np.clip(place - low, 0, 1))


def spread(image: Floats, size: int, part: float = 1.0) -> Floats:
    """Bring an image (side, side), or its middle, to (size, size), linear in between.

    `part` is how much of a side is wanted. Not as a product of matrices: libraries put threads
    on those, which wait for each other on a busy machine.
    """
    low, share = _upsampling(image.shape[0], size, part)
    wide = image[:, low] + (image[:, low + 1] - image[:, low]) * share
    steps = wide[1:] - wide[:-1]
    tall = steps[low]
    tall *= share[:, None]
    tall += wide[low]
    return tall


def embed(image: Floats, part: float) -> Floats:
    """Shrink an image into the middle of one as large that stands for a field 1/`part` as wide."""
    if part == 1:
        return image
    matrix = _shrinking(image.shape[0], part)
    return floats(matrix @ image @ matrix.T)


@lru_cache(maxsize=4)
def _shrinking(side: int, part: float) -> Floats:
    """Share of each larger pixel that each smaller one covers, (side, side)."""
    edges = (np.arange(side + 1) - side / 2) * part + side / 2
    low = np.arange(side)[:, None]
    return floats(np.maximum(np.minimum(edges[1:], low + 1) - np.maximum(edges[:-1], low), 0))


def gather(image: Floats, side: int) -> Floats:
    """Bring an image (size, size) to the mean over (side, side) larger pixels."""
    size = image.shape[0]
    if size % side == 0:
        by = size // side
        blocks = image.reshape(side, by, side, by)
        return floats(blocks.sum(axis=3).sum(axis=1) / np.float32(by * by))
    return floats(_averaging(side, size) @ image @ _averaging(side, size).T)


@lru_cache(maxsize=8)
def _averaging(side: int, size: int) -> Floats:
    edges = np.linspace(0, size, side + 1)
    low = np.arange(size)
    overlap = np.minimum(edges[1:, None], low + 1) - np.maximum(edges[:-1, None], low)
    return floats(np.maximum(overlap, 0) * side / size)

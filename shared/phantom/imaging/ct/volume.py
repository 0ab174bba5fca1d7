"""A CT series, slice by slice: what the patient is made of, as a scanner shows it.

A slice is composed from tissues and bones, each averaged over the slice's thickness, blurred
by the kernel, and gets what rays leave in it (`rays`) and noise. Never more than a few slices
are held at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from shared.phantom.solids.distance import Floats, floats

from .attenuation import HYDROXYAPATITE_DENSITY, marrow_hu, substance_hu, tissue_hu, tube_beam
from .couch import couch_hu
from .kernel import NoiseFields, frequencies, transfer
from .planes import BonePlanes
from .rays import (
    COARSE,
    FINE,
    NOISE_WATER,
    Heavy,
    Left,
    embed,
    gather,
    metal_density,
    spread,
    trace,
)
from .scanner import CtScannerProfile
from .scene import AIR, CtScene
from .stack import SliceStack

#: What 12 bits hold with an intercept of −1024.
LOWEST_HU: Final = -1024
HIGHEST_HU: Final = 3071
#: Rays are followed this often along the table, mm; between, what they leave is interpolated.
TRACED_MM: Final = 12.0
#: A field smaller than this does not hold the body; rays are then followed through a wider one.
SMALL_FIELD_MM: Final = 320.0
AROUND_MM: Final = 440.0
#: Texture of tissue is alike over this way along the table, mm.
TEXTURE_LENGTH_MM: Final = 3.5
#: Tissues are looked at once per this much of a slice's thickness, mm.
LOOKED_MM: Final = 2.5


@dataclass(frozen=True)
class CtSlice:
    """One slice.

    Attributes
    ----------
    index : int
        From 0, head to feet.
    hu : ndarray of int16, shape (H, W)
        Hounsfield units.
    mas : float
        Tube current by time that the scanner's modulation chose.
    bones : ndarray of uint8, shape (H, W)
        The truth: number of the bone that fills at least half of a voxel, from 1 in the order
        of the scene's; 0 = none.
    """

    index: int
    hu: NDArray[np.int16]
    mas: float
    bones: NDArray[np.uint8]


@dataclass
class _Composed:
    """A slice before the scanner: HU, and densities of mineral and metals where there are any."""

    index: int
    hu: Floats
    mineral: Floats | None
    metals: dict[str, Floats]
    bones: NDArray[np.uint8]


def acquire(
    scene: CtScene,
    scanner: CtScannerProfile,
    stack: SliceStack,
    rng: np.random.Generator | None,
    *,
    ideal: bool = False,
) -> Iterator[CtSlice]:
    """Take a series.

    Parameters
    ----------
    scene : CtScene
        The patient.
    scanner : CtScannerProfile
        Kernels, noise, hardening, table.
    stack : SliceStack
        Slices, with the protocol.
    rng : numpy.random.Generator or None
        None leaves out noise and texture.
    ideal : bool
        Leave out blur, hardening and streaks too: the mean HU of what each voxel holds.

    Yields
    ------
    CtSlice
        From head to feet.
    """
    return _Acquisition(scene, scanner, stack, rng, ideal).slices()


class _Acquisition:
    """What stays the same from slice to slice."""

    def __init__(
        self,
        scene: CtScene,
        scanner: CtScannerProfile,
        stack: SliceStack,
        rng: np.random.Generator | None,
        ideal: bool,
    ) -> None:
        protocol = stack.protocol
        self.scene, self.scanner, self.stack, self.rng = scene, scanner, stack, rng
        self.ideal = ideal
        self.beam = tube_beam(protocol.kvp)
        self.kernel = scanner.kernels[protocol.kernel]
        self.look = self._look()
        self.marrow, self.slope = self._bone()
        self.bones = BonePlanes(scene.bones, scene, stack)
        materials = {part.material for part in scene.metals}
        self.metals = {
            material: BonePlanes(
                [part.solid for part in scene.metals if part.material == material], scene, stack
            )
            for material in sorted(materials)
        }
        wide = protocol.field_mm if protocol.field_mm >= SMALL_FIELD_MM else AROUND_MM
        self.part = protocol.field_mm / wide
        coarse = replace(protocol, field_mm=wide, matrix=COARSE[0])
        self.around = replace(stack, protocol=coarse)
        down, across = frequencies(stack.shape, protocol.spacing_mm)
        self.blur = transfer(np.sqrt(down**2 + across**2), self.kernel, scanner.mtf_blur_mm)
        steps = stack.steps()
        self.outside = outside_circle(stack)
        back = (scene.back_y - stack.centre[1]) * stack.sign
        self.couch = couch_hu(scanner.couch, steps, steps, back)
        rows = np.flatnonzero(self.couch.any(axis=1))
        self.couch_rows = slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
        self.fields: NoiseFields | None = None
        if rng is not None:
            self.fields = NoiseFields(self.kernel, stack.shape, protocol.spacing_mm, rng)
        self.kept: dict[str, Floats] = {}

    def _look(self) -> NDArray[np.complex64]:
        """Mean (real) and SD (imaginary) of HU by code: one look-up gives both."""
        looks, kvp = self.scene.tissues.looks, self.stack.protocol.kvp
        mean = tissue_hu(floats([look.hu for look in looks]), kvp)
        iodine = [self.scene.iodine(look.uptake) for look in looks]
        mean = mean + floats(iodine) * np.float32(self.scanner.iodine_hu(kvp))
        mean = mean + np.where(mean > -700, np.float32(self.scanner.offset_hu), 0)
        table = np.zeros(256, np.complex64)
        table.real[: len(looks)] = mean
        table.imag[: len(looks)] = [look.texture for look in looks]
        return table

    def _bone(self) -> tuple[float, float]:
        """HU of marrow without mineral, and what each g/cm³ of mineral adds."""
        kvp, fat = self.stack.protocol.kvp, self.scene.marrow_fat
        iodine = self.scene.marrow_iodine() * self.scanner.iodine_hu(kvp)
        marrow = marrow_hu(kvp, fat) + iodine + self.scanner.offset_hu
        return marrow, self.scanner.mineral_hu(kvp, fat)

    # --- composing ------------------------------------------------------------------------

    def _tissues(self, index: int) -> Floats:
        """HU of soft tissue and table of a slice."""
        protocol = self.stack.protocol
        looks = max(1, round(protocol.thickness_mm / LOOKED_MM))
        shift = self.scene.breath_at(index).organs
        found = np.zeros(self.stack.shape, np.complex64)
        air = np.ones(self.couch[self.couch_rows].shape, bool)
        for look in range(looks):
            place = (look + 0.5) / looks - 0.5
            plane = self.stack.plane(
                self.stack.z_of(index) + place * protocol.thickness_mm,
                shift,
                # A little aside each time, so that borders are no stairs.
                (place, place) if looks > 1 else (0.0, 0.0),
            )
            codes = self.scene.tissues.codes(plane)
            found += self.look.take(codes)
            air &= codes[self.couch_rows] == AIR
        hu = self._textured(found, looks)
        hu[self.couch_rows] += self.couch[self.couch_rows] * air
        return hu

    def _textured(self, found: NDArray[np.complex64], looks: int) -> Floats:
        """HU from sums of means and SD, with this slice's texture."""
        hu = np.ascontiguousarray(found.real)
        if self.fields is not None:
            alike = math.exp(-self.stack.protocol.increment_mm / TEXTURE_LENGTH_MM)
            hu += found.imag * self._field("texture", self.fields.texture, alike)
        if looks > 1:
            hu *= np.float32(1 / looks)
        return hu

    def _compose(self, index: int) -> _Composed:
        """HU and densities of a slice."""
        hu = self._tissues(index)
        mineral: Floats | None = None
        matter = self.bones.slice_of(index)
        numbers = np.zeros(self.stack.shape, np.uint8)
        if matter is not None:
            mineral = matter.mineral
            part = hu[self.bones.rows, self.bones.columns]
            part += matter.share * (np.float32(self.marrow) - part)
            part += mineral * np.float32(self.slope)
            numbers[self.bones.rows, self.bones.columns] = matter.number
        metals = {}
        for material, planes in self.metals.items():
            found = planes.slice_of(index)
            if found is not None and found.share.any():
                metals[material] = found.share
        return _Composed(index, hu, mineral, metals, numbers)

    # --- rays -----------------------------------------------------------------------------

    def _water(self, composed: _Composed) -> Floats:
        """Density of what attenuates like water, and of mineral: (2, side, side), coarse."""
        side = COARSE[0]
        mineral = np.zeros((side, side), np.float32)
        if composed.mineral is not None:
            whole = np.zeros(self.stack.shape, np.float32)
            whole[self.bones.rows, self.bones.columns] = composed.mineral
            mineral = gather(whole, side)
        if self.part < 1:
            # What lies outside of a small field is in the rays all the same.
            plane = self.around.plane(
                self.stack.z_of(composed.index), self.scene.breath_at(composed.index).organs
            )
            water = self.look.real.take(self.scene.tissues.codes(plane)) * np.float32(1e-3) + 1
            return np.stack([np.maximum(water, 0), embed(mineral, self.part)])
        # Mineral's own attenuation goes to the other image.
        lost = (self.marrow + 1000) / HYDROXYAPATITE_DENSITY
        water = gather(composed.hu, side) * np.float32(1e-3) + 1
        water -= mineral * np.float32((self.slope + lost) / 1000)
        return np.stack([np.maximum(water, 0), mineral])

    def _trace(self, composed: _Composed, heavy: Heavy | None = None) -> Left:
        """What rays leave in a slice."""
        field_cm = self.around.protocol.field_mm / 10
        return trace(self.beam, field_cm, self._water(composed), self.scanner.hardening, heavy)

    def _heavy(self, composed: _Composed) -> Heavy:
        """Metal of a slice; of several kinds the densest decides how all of it attenuates."""
        density = np.zeros(self.stack.shape, np.float32)
        for material, share in composed.metals.items():
            planes = self.metals[material]
            grams = np.float32(metal_density(material)) * share
            density[planes.rows, planes.columns] += grams
        densest = max(composed.metals, key=metal_density)
        coarser = embed(gather(density, FINE[0]), self.part)
        return Heavy(densest, coarser, self.scanner.starvation, self.rng)

    # --- the scanner ----------------------------------------------------------------------

    def slices(self) -> Iterator[CtSlice]:
        """From head to feet."""
        if self.ideal:
            for index in range(self.stack.count):
                composed = self._compose(index)
                self._put_metal(composed)
                hu = _whole(composed.hu)
                yield CtSlice(index, hu, self.stack.protocol.mas, composed.bones)
            return
        every = max(1, round(TRACED_MM / self.stack.protocol.increment_mm))
        first = self._compose(0)
        before, waiting = self._trace(first), [first]
        for start in range(0, self.stack.count, every):
            last = min(start + every, self.stack.count - 1)
            waiting += [self._compose(index) for index in range(start + 1, last + 1)]
            after = self._trace(waiting[-1]) if last > start else before
            done = waiting if last == self.stack.count - 1 else waiting[:-1]
            for composed in done:
                share = (composed.index - start) / max(last - start, 1)
                yield self._finish(composed, _between(before, after, share))
            if last == self.stack.count - 1:
                return
            before, waiting = after, waiting[-1:]

    def _finish(self, composed: _Composed, left: Left) -> CtSlice:
        """Blur, rays, noise and rounding of one slice."""
        size = self.stack.protocol.matrix
        if composed.metals:
            left = self._trace(composed, self._heavy(composed))
            self._put_metal(composed)
        spectrum = fft.rfft2(composed.hu)
        spectrum *= self.blur
        hu = fft.irfft2(spectrum, s=self.stack.shape, overwrite_x=True)
        hu += spread(left.error, size, self.part)
        excess = (left.water - NOISE_WATER) * self.beam.effective("water")
        more = math.exp(min(max(self.scanner.modulation * excess, -2.5), 1.8))
        if self.fields is not None:
            sd = self.stack.protocol.noise_hu(self.scanner) / math.sqrt(more)
            alike = 0.9 * max(
                0.0, 1 - self.stack.protocol.increment_mm / self.stack.protocol.thickness_mm
            )
            amplitude = np.sqrt(left.variance) * np.float32(sd)
            hu += spread(amplitude[0], size, self.part) * self._field(
                "x", self.fields.along_x, alike
            )
            hu += spread(amplitude[1], size, self.part) * self._field(
                "y", self.fields.along_y, alike
            )
        hu[self.outside] = LOWEST_HU
        mas = self.stack.protocol.mas * more
        return CtSlice(composed.index, _whole(hu), mas, composed.bones)

    def _put_metal(self, composed: _Composed) -> None:
        """Put metal into a slice; what is more than the scale holds is cut after the blur."""
        for material, share in composed.metals.items():
            planes = self.metals[material]
            part = composed.hu[planes.rows, planes.columns]
            value = min(substance_hu(material, self.stack.protocol.kvp), 2.5 * HIGHEST_HU)
            part += share * (np.float32(value) - part)

    def _field(self, name: str, field: Floats, alike: float) -> Floats:
        """Field of unit SD for this slice, correlated with the slice before by `alike`."""
        if self.fields is None or self.rng is None:
            raise RuntimeError("there is no noise to draw")
        new = self.fields.cut(field, self.rng)
        if alike < 0.02:
            return new
        kept = self.kept.get(name)
        if kept is None:
            kept = np.array(new)
        else:
            kept *= np.float32(alike)
            kept += new * np.float32(math.sqrt(1 - alike**2))
        self.kept[name] = kept
        return kept


def outside_circle(stack: SliceStack) -> NDArray[np.bool_]:
    """Pixels of a slice (H, W) that are not reconstructed: outside the circle that fits in."""
    square = stack.steps() ** 2
    return np.asarray(square[:, None] + square[None, :] > (stack.protocol.field_mm / 2) ** 2)


def _between(before: Left, after: Left, share: float) -> Left:
    """Interpolate what rays leave."""
    part = np.float32(share)
    return Left(
        before.error + (after.error - before.error) * part,
        before.variance + (after.variance - before.variance) * part,
        before.water + (after.water - before.water) * share,
    )


def _whole(hu: Floats) -> NDArray[np.int16]:
    """Round to whole HU within what is stored."""
    np.rint(hu, out=hu)
    np.clip(hu, LOWEST_HU, HIGHEST_HU, out=hu)
    return hu.astype(np.int16)

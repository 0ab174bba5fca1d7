"""Where the slices and pixels of a series lie, and as DICOM says it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from shared.phantom.solids.distance import Floats, floats
from shared.phantom.solids.lattice import Lattice

from .scanner import CtProtocol
from .scene import SlicePlane


@dataclass(frozen=True)
class SliceStack:
    """A series of slices.

    Attributes
    ----------
    protocol : CtProtocol
        Pixels, slices and tilt.
    top : float
        World z of the middle of slice 0, the one nearest to the head, on the table's axis, mm.
    count : int
        Slices.
    centre : (float, float)
        World x and y of the middle of the field, mm.
    """

    protocol: CtProtocol
    top: float
    count: int
    centre: tuple[float, float] = (0.0, 0.0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.protocol.matrix, self.protocol.matrix

    @property
    def sign(self) -> int:
        """Whether columns run to the patient's left and rows to the back, 1, or against, −1."""
        return -1 if self.protocol.position == "HFP" else 1

    def steps(self) -> Floats:
        """Offsets of pixel centres from the field's middle, mm, (matrix,)."""
        index = np.arange(self.protocol.matrix) - (self.protocol.matrix - 1) / 2
        return floats(index * self.protocol.spacing_mm)

    def z_of(self, index: float) -> float:
        """World z of a slice's middle on the table's axis, mm."""
        return self.top + index * self.protocol.increment_mm

    def plane(
        self,
        z: float,
        shift: tuple[float, float, float] = (0.0, 0.0, 0.0),
        jitter: tuple[float, float] = (0.0, 0.0),
    ) -> SlicePlane:
        """Pixel centres of a plane through z.

        Parameters
        ----------
        z : float
            World z where it crosses the table's axis, mm.
        shift : (float, float, float)
            How far what is looked at has moved, mm.
        jitter : (float, float)
            Shift of the pixels along rows and columns, in pixels.
        """
        angle = math.radians(self.protocol.tilt_degrees)
        steps, spacing = self.steps(), self.protocol.spacing_mm
        down = self.sign * (steps + np.float32(jitter[0] * spacing))
        across = self.sign * (steps + np.float32(jitter[1] * spacing))
        return SlicePlane(
            floats(self.centre[0] + across - shift[0]),
            floats(self.centre[1] + down * math.cos(angle) - shift[1]),
            floats(z + down * math.sin(angle) - shift[2]),
        )

    def lattice(
        self, zs: Floats, shifts: Floats, rows: slice, columns: slice, thick: float
    ) -> Lattice:
        """Samples of planes through `zs` (n,), each moved by `shifts` (n, 3): (n, rows, columns).

        `thick` is how much of the table's axis each plane stands for, mm.
        """
        plane = self.plane(0.0)
        x = plane.x[None, None, columns] - shifts[:, 0, None, None]
        y = plane.y[None, rows, None] - shifts[:, 1, None, None]
        z = plane.z[None, rows, None] + (zs - shifts[:, 2])[:, None, None]
        if not shifts.any():
            x, y = x[:1], y[:1]
        shape = (len(zs), y.shape[1], x.shape[2])
        spacing = self.protocol.spacing_mm
        # The last axis is x: the sides of a sample are turned by `lateral`.
        return Lattice(floats(x), floats(y), floats(z), shape, (thick, spacing, spacing), True)

    def extent(self) -> tuple[Floats, Floats]:
        """Lowest and highest world coordinates of all pixels, (3,) each."""
        first, last = self.plane(self.z_of(0)), self.plane(self.z_of(self.count - 1))
        low = [min(p.min(), q.min()) for p, q in zip(_axes(first), _axes(last), strict=True)]
        high = [max(p.max(), q.max()) for p, q in zip(_axes(first), _axes(last), strict=True)]
        return floats(low), floats(high)

    def position(self, index: int) -> tuple[float, float, float]:
        """ImagePositionPatient: centre of the first pixel in DICOM's frame, z to the head, mm."""
        plane = self.plane(self.z_of(index))
        return float(plane.x[0]), float(plane.y[0]), -float(plane.z[0])

    def orientation(self) -> tuple[float, float, float, float, float, float]:
        """ImageOrientationPatient: along a row, then down a column."""
        angle = math.radians(self.protocol.tilt_degrees)
        s = float(self.sign)
        return (s, 0.0, 0.0, 0.0, s * math.cos(angle), -s * math.sin(angle))

    def moved(self, top: float, count: int) -> SliceStack:
        """Other slices of the same kind."""
        return replace(self, top=top, count=count)


def _axes(plane: SlicePlane) -> tuple[Floats, Floats, Floats]:
    return plane.x, plane.y, plane.z

"""From mineral points in space to areal mineral on a pixel grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.phantom.anatomy.solid import Floats, floats
from shared.records import View

#: Axis across the image (columns) by view: x for PA views, y for the lateral one.
ACROSS = {View.SPINE_PA: 0, View.HIP_LEFT: 0, View.SPINE_LATERAL: 1, View.LUMBAR_AP: 0}


@dataclass(frozen=True)
class Frame:
    """Where the pixels of one image lie in the world.

    Attributes
    ----------
    view : View
        Projection; rows run along z, columns along x (PA) or y (lateral).
    top, left : float
        World position of the outer edge of row 0 and of column 0, mm.
    shape : (int, int)
        Rows, columns.
    spacing : (float, float)
        Row, column, mm.
    """

    view: View
    top: float
    left: float
    shape: tuple[int, int]
    spacing: tuple[float, float]

    @property
    def rows(self) -> Floats:
        """World z of the pixel centres of each row, mm."""
        return floats(self.top + (np.arange(self.shape[0]) + 0.5) * self.spacing[0])

    @property
    def columns(self) -> Floats:
        """World x (PA) or y (lateral) of the pixel centres of each column, mm."""
        return floats(self.left + (np.arange(self.shape[1]) + 0.5) * self.spacing[1])

    def pixel(self, points: Floats) -> tuple[Floats, Floats]:
        """Row and column of world points (N, 3); pixel centres are whole numbers."""
        row = (points[:, 2] - np.float32(self.top)) / np.float32(self.spacing[0]) - 0.5
        col = points[:, ACROSS[self.view]] - np.float32(self.left)
        return row, col / np.float32(self.spacing[1]) - 0.5


def project(frame: Frame, points: Floats, mass: Floats) -> Floats:
    """Areal mineral of points, g/cm², shape `frame.shape`.

    Each point is shared between its four nearest pixel centres, so that the mass
    inside the frame is exactly that of the points.

    Parameters
    ----------
    frame : Frame
        Pixel grid.
    points : ndarray of float32, shape (N, 3)
        World positions, mm.
    mass : ndarray of float32, shape (N,)
        Mineral, g.
    """
    height, width = frame.shape
    row, col = frame.pixel(points)
    inside = (row > -1) & (row < height) & (col > -1) & (col < width)
    if not inside.all():
        row, col, mass = row[inside], col[inside], mass[inside]
    row, col = row + 1, col + 1  # one pixel of margin on every side
    r0, c0 = row.astype(np.int32), col.astype(np.int32)
    fr, fc = row - r0, col - c0
    stride = width + 2
    corner = r0 * stride + c0
    lower, upper = mass * fr, mass * (1 - fr)
    size = (height + 2) * stride
    flat = np.bincount(corner, weights=upper * (1 - fc), minlength=size)
    flat += np.bincount(corner + 1, weights=upper * fc, minlength=size)
    flat += np.bincount(corner + stride, weights=lower * (1 - fc), minlength=size)
    flat += np.bincount(corner + (stride + 1), weights=lower * fc, minlength=size)
    area_cm2 = frame.spacing[0] * frame.spacing[1] / 100.0
    return np.asarray(flat.reshape(height + 2, stride)[1:-1, 1:-1] / area_cm2, dtype=np.float32)

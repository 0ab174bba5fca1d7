"""Region maps of a projection, drawn from placed bones the way scanners draw them.

L1–L4 between the middles of the discs and inside the outline of the bodies, with the posterior
elements that lie over them; the neck as a box across the neck's axis; trochanter and
intertrochanteric region beside it. A vertebra is asked for its sides, place and axes and a femur
for its landmarks, so that this serves every generator of bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.phantom.solids.distance import Floats, vector
from shared.regions import LUMBAR, REGION_CODES, VERTEBRAE

from .projection import Frame

Codes = NDArray[np.uint8]

#: Margin of a lumbar region beyond the body's edge, mm.
EDGE_MM: Final = 1.4
#: Bone of the femur is where its own projection exceeds this, g/cm².
FEMUR_EDGE: Final = 0.10
#: Box of the femoral neck along the neck, mm from the head's centre in the template.
NECK_BOX: Final = (24.5, 38.5)
#: End of the intertrochanteric region, template mm below the head's centre: a centimetre below
#: the lesser trochanter.
SHAFT_END: Final = 100.0
#: Half the length of a neck box, mm of the template.
NECK_HALF: Final = 24


class BodySides(Protocol):
    """Sides of a vertebral body, mm; `healthy` is its posterior height before a fracture."""

    @property
    def width(self) -> float:
        """From side to side."""

    @property
    def depth(self) -> float:
        """From front to back."""

    @property
    def anterior(self) -> float:
        """Height in front."""

    @property
    def posterior(self) -> float:
        """Height at the back."""

    @property
    def healthy(self) -> float:
        """Posterior height before a fracture."""


Shape = TypeVar("Shape", bound=BodySides, covariant=True)


class PlacedBody(Protocol[Shape]):
    """A vertebral body in the world."""

    @property
    def shape(self) -> Shape:
        """Its sides."""

    @property
    def centre(self) -> Floats:
        """Middle of the body, mm, shape (3,)."""

    @property
    def rotation(self) -> Floats:
        """Its axes (left, back, feet) as columns, shape (3, 3)."""

    @property
    def disc_below(self) -> float:
        """Height of the disc below, mm."""


#: Heights (z) of both end plates at places along the depth from -1 (front) to 1 (back), mm.
EndPlates = Callable[[Floats, Shape], tuple[Floats, Floats]]


@dataclass(frozen=True)
class FemurLandmarks:
    """What the regions of a hip are drawn by.

    Attributes
    ----------
    head : ndarray of float32, shape (3,)
        Centre of the head, mm.
    neck_axis, shaft_axis : ndarray of float32, shape (3,)
        Unit vectors in the world: from head to shaft, and down the shaft.
    size : float
        Of the femur; the lengths below are those of the template.
    neck_box : (float, float)
        Where the neck's box begins and ends, from the head's centre along the neck, mm.
    shaft_end : float
        End of the intertrochanteric region below the head's centre, mm.
    left : bool
        Side.
    """

    head: Floats
    neck_axis: Floats
    shaft_axis: Floats
    size: float
    neck_box: tuple[float, float]
    shaft_end: float
    left: bool = True


def local_coordinates(
    body: PlacedBody[BodySides], across: Floats, down: Floats, axes: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Coordinates along a vertebra's own axes as seen in a projection, from its centre, mm."""
    first, second = axes
    centre = body.centre
    u = vector(body.rotation[first, first], body.rotation[second, first])
    w = vector(body.rotation[first, second], body.rotation[second, second])
    u, w = u / np.linalg.norm(u), w / np.linalg.norm(w)
    da, dd = across - centre[first], down - centre[second]
    return da * u[0] + dd * u[1], da * w[0] + dd * w[1]


def spine_regions(
    bodies: Mapping[str, PlacedBody[BodySides]],
    frame: Frame,
    shifts: Sequence[float] | None = None,
    edges: Mapping[str, float] | None = None,
) -> Codes:
    """Region map of a PA spine.

    Parameters
    ----------
    bodies : mapping of str to PlacedBody
        T12 to L4, and L5 if there is one.
    frame : Frame
        Pixel grid.
    shifts : sequence of five floats, optional
        How far towards the feet an operator draws the lines above L1 to below L4, mm.
    edges : mapping of str to float, optional
        Margin beyond a body's edge by level, mm; `EDGE_MM` by default.
    """
    codes = np.zeros(frame.shape, np.uint8)
    x, z = frame.columns[None, :], frame.rows[:, None]
    names = ("T12", *LUMBAR, "L5")
    cuts = [_cut(bodies[upper], bodies.get(lower), x, z) for upper, lower in pairwise(names)]
    if shifts is not None:
        # a cut's values are twice the distance
        cuts = [cut - np.float32(2 * shift) for cut, shift in zip(cuts, shifts, strict=True)]
    for place, level in enumerate(LUMBAR):
        body = bodies[level]
        local_x, local_z = local_coordinates(body, x, z, (0, 2))
        half = body.shape.width / 2
        share = np.clip(np.abs(local_z) / (body.shape.healthy / 2), 0, 1)
        waist = 1 - 0.08 * (1 - share**2)
        inside = (cuts[place] > 0) & (cuts[place + 1] <= 0)
        inside &= np.abs(local_x) < half * waist + (edges or {}).get(level, EDGE_MM)
        codes[inside] = REGION_CODES[level]
    return codes


def _cut(
    upper: PlacedBody[BodySides], lower: PlacedBody[BodySides] | None, x: Floats, z: Floats
) -> Floats:
    """Positive below the middle of the disc between two vertebrae; over a sacrum by the upper."""
    axis_u = upper.rotation[:, 2]
    foot = upper.centre + axis_u * np.float32(upper.shape.posterior + upper.shape.anterior) / 4
    if lower is None:
        middle, axis_l = foot + axis_u * np.float32(upper.disc_below / 2), axis_u
    else:
        axis_l = lower.rotation[:, 2]
        head = lower.centre - axis_l * np.float32(lower.shape.posterior + lower.shape.anterior) / 4
        middle = (foot + head) / 2
    normal = (axis_u + axis_l)[[0, 2]]
    return (x - middle[0]) * normal[0] + (z - middle[2]) * normal[1]


def lateral_regions(
    bodies: Mapping[str, PlacedBody[Shape]], frame: Frame, end_plates: EndPlates[Shape]
) -> Codes:
    """Region map of a lateral spine: outlines of the bodies T4..L4."""
    codes = np.zeros(frame.shape, np.uint8)
    y, z = frame.columns, frame.rows
    for level in VERTEBRAE:
        body = bodies[level]
        reach = body.shape.depth * 0.75 + body.shape.healthy * 0.5
        rows = np.flatnonzero(np.abs(z - body.centre[2]) < reach)
        cols = np.flatnonzero(np.abs(y - body.centre[1]) < reach)
        if not len(rows) or not len(cols):
            continue
        box = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        local_y, local_z = local_coordinates(body, y[None, box[1]], z[box[0], None], (1, 2))
        half = body.shape.depth / 2
        upper, lower = end_plates(np.clip(local_y / half, -1, 1), body.shape)
        share = np.clip(np.abs(local_z) / (body.shape.healthy / 2), 0, 1)
        inside = (local_z > upper) & (local_z < lower)
        inside &= np.abs(local_y) < half * (1 - 0.10 * (1 - share**2))
        codes[box][inside] = REGION_CODES[level]
    return codes


def hip_regions(femur: FemurLandmarks, frame: Frame, own: Floats) -> Codes:
    """Region map of a hip; `own` is the femur's own areal mineral, (H, W), g/cm²."""
    from scipy.ndimage import binary_closing, binary_dilation

    bone = own > FEMUR_EDGE
    bone = binary_dilation(binary_closing(bone, iterations=2))
    x = frame.columns[None, :] - femur.head[0]
    z = frame.rows[:, None] - femur.head[2]
    axis = femur.neck_axis[[0, 2]]
    axis = axis / np.linalg.norm(axis)
    along = (x * axis[0] + z * axis[1]) / np.float32(femur.size)
    lift = (x * axis[1] - z * axis[0]) / np.float32(femur.size)  # positive above a left one's axis
    if not femur.left:
        lift = -lift
    down = femur.shaft_axis[[0, 2]]
    below = (x * down[0] + z * down[1]) / np.float32(femur.size)
    start, end = femur.neck_box
    codes = np.zeros(frame.shape, np.uint8)
    neck = bone & (along >= start) & (along < end) & (np.abs(lift) < NECK_HALF)
    rest = bone & (along >= end) & (below < femur.shaft_end)
    codes[neck] = REGION_CODES["femoral_neck"]
    codes[rest & (lift > 2)] = REGION_CODES["trochanter"]
    codes[rest & (lift <= 2)] = REGION_CODES["intertrochanteric"]
    return codes

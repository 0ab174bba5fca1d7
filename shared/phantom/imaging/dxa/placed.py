"""Region maps, landmarks and heights of the bones that a DXA view shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shared.phantom.imaging.outlines import (
    EDGE_MM,
    NECK_BOX,
    SHAFT_END,
    Codes,
    FemurLandmarks,
    hip_regions,
    lateral_regions,
    spine_regions,
)
from shared.phantom.imaging.projection import Frame
from shared.phantom.solids.bones.femur import NECK_AXIS, SHAFT_X, PlacedFemur, bend
from shared.phantom.solids.bones.vertebra import BodyShape
from shared.phantom.solids.distance import Floats, floats, vector
from shared.records import View
from shared.regions import LUMBAR, VERTEBRAE

from .fields import SeenBody

#: [U] SD of where an operator puts things, mm and radians: the lines between vertebrae and their
#: sides, the neck's box along and about its axis, the end of the shaft.
LINE_SD: Final = 0.7
EDGE_SD: Final = 0.35
BOX_SD: Final = 0.8
AXIS_SD: Final = 0.02
END_SD: Final = 1.5


@dataclass(frozen=True)
class OperatorHand:
    """How far off an operator draws the regions of one visit.

    Attributes
    ----------
    lines : tuple of five floats
        Lines above L1 to below L4 towards the feet, mm.
    edge : float
        Sides of the vertebrae outwards, mm.
    box, end : float
        Neck's box along the neck and end of the hip down the shaft, mm.
    axis : float
        Neck's axis, radians.
    """

    lines: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    edge: float = 0.0
    box: float = 0.0
    end: float = 0.0
    axis: float = 0.0


def draw_hand(rng: np.random.Generator) -> OperatorHand:
    """Draw how an operator draws."""
    lines = tuple(rng.normal(0, LINE_SD, 5).tolist())
    edge, box, end, axis = rng.normal(0, (EDGE_SD, BOX_SD, END_SD, AXIS_SD)).tolist()
    return OperatorHand(lines, edge, box, end, axis)


def landmarks_of(femur: PlacedFemur) -> FemurLandmarks:
    """Landmarks of a femur, where its own neck is as long as it is."""
    n = vector(*NECK_AXIS)
    marks = bend(
        femur.form, np.stack([n * NECK_BOX[0], n * NECK_BOX[1], vector(SHAFT_X, 0, SHAFT_END)])
    )
    start, end, below = floats(marks @ femur.bone.rotation.T) / np.float32(femur.form.size)
    flat = femur.neck_axis[[0, 2]] / np.linalg.norm(femur.neck_axis[[0, 2]])
    return FemurLandmarks(
        femur.head, femur.neck_axis, femur.shaft_axis, femur.form.size,
        (float(start[[0, 2]] @ flat), float(end[[0, 2]] @ flat)),
        float(below[[0, 2]] @ femur.shaft_axis[[0, 2]]), femur.left,
    )  # fmt: skip


def _by_hand(femur: FemurLandmarks, hand: OperatorHand) -> FemurLandmarks:
    """The same as an operator sees to it."""
    cos, sin = np.cos(hand.axis), np.sin(hand.axis)
    x, y, z = femur.neck_axis.tolist()
    start, end = (place + hand.box / femur.size for place in femur.neck_box)
    return replace(
        femur,
        neck_axis=vector(x * cos - z * sin, y, x * sin + z * cos),
        neck_box=(start, end),
        shaft_end=femur.shaft_end + hand.end / femur.size,
    )


def end_plates(u: Floats, shape: BodyShape) -> tuple[Floats, Floats]:
    """Place (z) of the rims of both end plates along the depth, mm."""
    return shape.end_plates(u)


def regions_in(
    frame: Frame,
    bodies: Mapping[str, SeenBody],
    femur: PlacedFemur,
    own: Floats | None = None,
    hand: OperatorHand | None = None,
) -> Codes:
    """Region map of a view.

    Parameters
    ----------
    frame : Frame
        Pixel grid.
    bodies : mapping of str to SeenBody
        Vertebrae as the view sees them.
    femur : PlacedFemur
        Of the side that a hip's view shows.
    own : ndarray of float32, shape (H, W), optional
        The femur's own areal mineral, g/cm²; a hip needs it.
    hand : OperatorHand, optional
        Draws the true regions if there is none.
    """
    hand = hand or OperatorHand()
    if frame.view is View.SPINE_LATERAL:
        return lateral_regions(bodies, frame, end_plates)
    if frame.view is View.SPINE_PA:
        return spine_regions(bodies, frame, hand.lines, _edges(bodies, hand.edge))
    if own is None:
        raise ValueError("regions of a hip need the femur's own mineral")
    return hip_regions(_by_hand(landmarks_of(femur), hand), frame, own)


def _edges(bodies: Mapping[str, SeenBody], more: float) -> dict[str, float]:
    """Margin beyond each body, mm: half of what osteophytes widen the rims by is taken in."""
    shapes = {level: bodies[level].shape for level in LUMBAR}
    return {level: EDGE_MM + more + sum(one.flare) / 8 * one.width for level, one in shapes.items()}


def heights_of(bodies: Mapping[str, SeenBody]) -> dict[str, tuple[float, float, float]]:
    """Anterior, middle and posterior height of T4 to L4, mm."""
    found = {}
    for level in VERTEBRAE:
        shape = bodies[level].shape
        found[level] = (float(shape.anterior), float(shape.middle), float(shape.posterior))
    return found


def six_points(bodies: Mapping[str, SeenBody], frame: Frame) -> dict[str, Floats]:
    """Six points of each vertebra of a lateral view as an operator marks them for morphometry.

    Returns
    -------
    dict of str to ndarray of float32, shape (6, 2)
        By level: rows and columns of the upper and lower end plate's front, middle and back, in
        this order, in pixels; pixel centres are whole numbers.
    """
    found = {}
    for level in VERTEBRAE:
        body = bodies[level]
        u = floats([-1, 0, 1])
        upper, lower = body.shape.end_plates(u)
        half = np.float32(body.shape.depth / 2)
        own = np.zeros((6, 3), np.float32)
        own[:, 1] = np.tile(u, 2) * half
        own[:, 2] = np.concatenate([upper, lower])
        world = body.centre + own @ body.rotation.T
        found[level] = floats(np.stack(frame.pixel(floats(world)), axis=1))
    return found

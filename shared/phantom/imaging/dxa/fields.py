"""Fields of a DXA visit: where the pixels of each view lie, and their rays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shared.phantom.imaging.crossing import (
    BONE_RAYS,
    BONE_STEP,
    CHEST_RAYS,
    TISSUE_STEP,
    RayGrid,
)
from shared.phantom.imaging.grids import between, even
from shared.phantom.imaging.projection import Frame
from shared.phantom.solids.bones.vertebra import BodyShape
from shared.phantom.solids.distance import Floats, floats
from shared.phantom.solids.lattice import Lattice, straight
from shared.phantom.solids.skeleton import Skeleton
from shared.phantom.solids.spine import SpineBody
from shared.phantom.solids.tissues.slab import Box
from shared.records import View
from shared.regions import LUMBAR, VERTEBRAE

#: Rows and columns of each field, mm; a spine's length follows the patient's.
FIELD: Final = {
    View.SPINE_PA: (200.0, 180.0),
    View.HIP_LEFT: (160.0, 150.0),
    View.SPINE_LATERAL: (440.0, 200.0),
}
#: First level that a spine's field holds, and how much more than from its middle to that of the
#: last lumbar one, mm.
SPINE_FIELDS: Final = {View.SPINE_PA: ("T12", 45.0), View.SPINE_LATERAL: ("T4", 85.0)}
#: Spread of a field's place along and across the patient, mm (SD) [U].
OFF_CENTRE: Final = {
    View.SPINE_PA: (4.0, 7.0), View.HIP_LEFT: (4.0, 5.0), View.SPINE_LATERAL: (4.0, 5.0)
}  # fmt: skip


@dataclass(frozen=True)
class SeenBody:
    """A vertebral body as a turned view sees it; attributes as `SpineBody`'s."""

    shape: BodyShape
    centre: Floats
    rotation: Floats
    disc_below: float


def seen_from(bodies: Mapping[str, SpineBody], roll_degrees: float) -> dict[str, SeenBody]:
    """Bodies in the frame of a view whose patient is turned about the long axis."""
    angle = math.radians(roll_degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = floats([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return {
        level: SeenBody(one.shape, turn @ one.centre, turn @ one.rotation, one.disc_below)
        for level, one in bodies.items()
    }


def field_of(
    skeleton: Skeleton,
    bodies: Mapping[str, SeenBody],
    view: View,
    spacing: tuple[float, float],
    off: tuple[float, float] = (0.0, 0.0),
    *,
    left: bool = True,
) -> Frame:
    """Field of a view.

    Parameters
    ----------
    skeleton : Skeleton
        For the femora.
    bodies : mapping of str to SeenBody
        Vertebrae as the view sees them.
    view : View
        Of a DXA visit.
    spacing : (float, float)
        Row, column, mm.
    off : (float, float)
        How far the field lies from where it belongs, down and across, in SD.
    left : bool
        Which hip; the right one's picture has its lateral side first.
    """
    height, width = FIELD[view]
    down, across = (sd * share for sd, share in zip(OFF_CENTRE[view], off, strict=True))
    last = bodies[list(bodies)[-1]]
    if view in SPINE_FIELDS:
        # the technologist ends the scan by the patient's length, in steps of 10 mm
        first, more = SPINE_FIELDS[view]
        length = float(last.centre[2] - bodies[first].centre[2]) + more
        height = float(np.clip(10 * round(length / 10), 0.85 * height, 1.15 * height))
    shape = (round(height / spacing[0]), round(width / spacing[1]))
    if view is View.SPINE_PA:
        middle = float(np.mean([bodies[level].centre[0] for level in LUMBAR]))
        top, begin = float(bodies["T12"].centre[2]) - 3, middle - width / 2
    elif view is View.HIP_LEFT:
        head = skeleton.femora["left" if left else "right"].head
        begin = float(head[0]) - 58 if left else float(head[0]) + 58 - width
        top = float(head[2]) - 48
    else:
        ys = [bodies[level].centre[1] for level in VERTEBRAE]
        top = float(bodies["T4"].centre[2]) - 22
        begin = (float(min(ys)) + float(max(ys))) / 2 - 118
    return Frame(view, top + down, begin + across, shape, spacing)


def cut_off(frame: Frame, bodies: Mapping[str, SeenBody], *, low: bool) -> Frame:
    """A field that lies too low and begins within L1, or too high and ends within L4."""
    if low:
        return replace(frame, top=float(bodies["L1"].centre[2]))
    length = frame.shape[0] * frame.spacing[0]
    return replace(frame, top=float(bodies["L4"].centre[2]) - length)


def rays_of(frame: Frame, box: Box, roll_degrees: float = 0.0) -> RayGrid:
    """Parallel rays through the pixels of a frame.

    Parameters
    ----------
    frame : Frame
        Pixels.
    box : Box
        Corners of a box around the patient, mm.
    roll_degrees : float
        How far the patient is turned about the long axis for this view.
    """
    lateral = frame.view is View.SPINE_LATERAL
    depth = 0 if lateral else 1
    low, high = float(box[0][depth]) - 2, float(box[1][depth]) + 2
    if roll_degrees:
        low, high = low - 12, high + 12
    ways = even(low, high, BONE_STEP)
    own = tuple(max(side, BONE_RAYS) for side in frame.spacing)
    rows, columns, pixels = between(frame, (own[0], own[1]), 0)
    bones = straight(rows, columns, ways, lateral=lateral)
    rows, columns, places = between(frame, (TISSUE_STEP, TISSUE_STEP), 2)
    tissue = straight(rows, columns, even(low, high, TISSUE_STEP), lateral=lateral)
    chest = None
    if lateral:
        rows, columns, wider = between(frame, (CHEST_RAYS, CHEST_RAYS), 0.5)
        wide = turned(straight(rows, columns, ways, lateral=True), roll_degrees)
        chest = (wide, wider)
    return RayGrid(
        turned(bones, roll_degrees), turned(tissue, roll_degrees), *places, floats(1.0), chest,
        pixels,
    )  # fmt: skip


def turned(lattice: Lattice, roll_degrees: float) -> Lattice:
    """Lattice as a patient sees it who is turned about the long axis."""
    if not roll_degrees:
        return lattice
    angle = math.radians(roll_degrees)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    x = lattice.x * cos + lattice.y * sin
    y = lattice.y * cos - lattice.x * sin
    return replace(lattice, x=floats(x), y=floats(y))

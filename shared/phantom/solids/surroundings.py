"""What soft tissue must know of a placed skeleton: the course of the spine and the ring of ribs.

World frame, mm: x to the patient's left, y to the back, z to the feet; the origin is the centre
of the body of L3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from .bone import Bone
from .bones.chest import MANUBRIUM, SLANT, STERNUM, scapula_template, sternum_template
from .bones.femur import LENGTH, SHAFT_X, PlacedFemur, bend
from .bones.hip_bone import hip_bone_template
from .bones.sacrum import sacrum_template
from .distance import Floats, floats, vector
from .skeleton import Skeleton
from .template import SampledOutline
from .thorax import CORNERS, along
from .tissues.course import RibCage, Shoulder, SpineCourse, SpineLevel, cage_around

#: From a lumbar body's centre to the tip of its spinous process, mm, men [U].
SPINOUS_TIP: Final = 74.0
#: Heights of the ring of ribs, mm apart; half of a rib's thickness with its pleura, mm, men [U].
STEP: Final = 6.0
RIB_HALF: Final = 4.3
#: Powers of the superellipse that the ring's front may be, and how much deeper than the ends of
#: the ribs it is in the middle where there is no sternum.
POWERS: Final = (2.1, 3.3)
FLATTER: Final = 1.12
#: Templates of bones that may lie under the skin, by the first word of their names, and whether
#: they are halves; points of each that are looked at.
TEMPLATES: Final[dict[str, tuple[Callable[[], SampledOutline], bool]]] = {
    "sacrum": (sacrum_template, True), "hip": (hip_bone_template, False),
    "sternum": (sternum_template, True), "scapula": (scapula_template, False),
}  # fmt: skip
MOST_POINTS: Final = 250
#: The outermost and the hindmost point of the greater trochanter, in the femur's template, mm.
TROCHANTER: Final = floats([[SHAFT_X + 21, 4, 26], [SHAFT_X + 9, 20, 26]])


def course_of(skeleton: Skeleton) -> SpineCourse:
    """The spine and the pelvis as soft tissue follows them."""
    levels = [
        SpineLevel(
            name, one.centre, one.rotation, one.shape.width / 2, one.shape.depth / 2,
            one.shape.middle, one.disc_below,
        )
        for name, one in skeleton.spine.items()
    ]  # fmt: skip
    sacrum = skeleton.bone("sacrum")
    if "L5" not in skeleton.spine:
        levels.append(_first_sacral(sacrum, levels[-1]))
    sacral = _surface_points("sacrum") * np.float32(skeleton.size) @ sacrum.rotation.T
    back = float(sacral[:, 1].max())
    return SpineCourse(
        tuple(levels), skeleton.hips, float(sacrum.centre[1]) + back, skeleton.size,
        SPINOUS_TIP * skeleton.size, (_shoulder(skeleton, "left"), _shoulder(skeleton, "right")),
        floats(np.stack([_shaft(one) for one in skeleton.femora.values()])),
    )  # fmt: skip


def _shaft(femur: PlacedFemur) -> Floats:
    """A point in a femur's shaft near its lower end, world, mm."""
    inside = bend(femur.form, floats([[SHAFT_X, 0, LENGTH - 5]]))[0]
    return floats(femur.head + femur.bone.rotation @ inside)


def _shoulder(skeleton: Skeleton, side: str) -> Shoulder:
    """Landmarks of one side's humerus and scapula."""
    head, elbow = along(skeleton.bone(f"humerus_{side}"))[[0, -1]]
    scapula = skeleton.bone(f"scapula_{side}")
    corners = floats([*CORNERS, (0, 0, 0)]) * np.float32(skeleton.size)
    return Shoulder(head, elbow, floats(corners @ scapula.rotation.T + scapula.centre))


def _first_sacral(sacrum: Bone, above: SpineLevel) -> SpineLevel:
    """The first piece of the sacrum in the place of L5, in whom it is the next below L4."""
    height = above.height
    centre = floats(sacrum.centre + sacrum.rotation[:, 2] * np.float32(height / 2))
    return SpineLevel(
        "L5", centre, sacrum.rotation, above.half_width, above.half_depth, height, 0.0
    )  # fmt: skip


def bony_points(skeleton: Skeleton) -> Floats:
    """Points on bones of the trunk that may lie just under the skin, mm, shape (N, 3)."""
    found = [_spinous_tip(body.bone)[None] for body in skeleton.spine.values()]
    for bone in skeleton.others:
        kind = bone.name.split("_")[0]
        if kind in TEMPLATES:
            placed = _surface_points(kind) * np.float32(skeleton.size) @ bone.rotation.T
            found.append(floats(placed + bone.centre))
        elif kind in ("rib", "clavicle"):
            found.append(along(bone)[::2])
    for femur in skeleton.femora.values():
        trochanter = bend(femur.form, TROCHANTER) @ femur.bone.rotation.T + femur.head
        found.append(floats(trochanter))
    return floats(np.concatenate(found))


@lru_cache(maxsize=8)
def _surface_points(kind: str) -> Floats:
    """Points on the surface of a bone of average size, its frame, mm, shape (N, 3)."""
    make, is_half = TEMPLATES[kind]
    template = make()
    near = np.flatnonzero(np.abs(template.table[:, 0]) < template.spacing / 2)
    near = near[:: max(len(near) // MOST_POINTS, 1)]
    nodes = np.stack(np.unravel_index(near, template.shape), axis=1)
    points = floats(template.low + nodes * np.float32(template.spacing))
    return np.concatenate([points, points * vector(-1, 1, 1)]) if is_half else points


def _spinous_tip(bone: Bone) -> Floats:
    """The most dorsal point of a vertebra in its middle, world, mm, shape (3,)."""
    y, z = (
        v.reshape(-1)
        for v in np.meshgrid(floats(np.arange(26, 90, 1.5)), floats(np.arange(-6, 34, 3)))
    )
    inside = bone.looked_up(np.zeros_like(y), y, z)[:, 0] < 0
    last = np.argmax(np.where(inside, y, -1))
    return floats(bone.centre + bone.rotation @ vector(0, y[last], z[last]))


def cage_of(skeleton: Skeleton, course: SpineCourse) -> RibCage:
    """The ring of ribs by height, as ribs and sternum cross each height.

    Above the first rib and below the last one it goes on as an average one does.
    """
    average, size = cage_around(course), skeleton.size
    z = floats(np.arange(average.z[0], average.z[-1] + 24, STEP))
    x, y = course.centre_at(z)
    wide, front, back, middle = (
        floats(base + np.interp(z, average.z, values))
        for base, values in (
            (0, average.half_width), *(
                (y, sheet - course.centre_at(average.z)[1])
                for sheet in (average.front, average.back, average.middle)
            )
        )
    )  # fmt: skip
    ribs = [along(bone) for bone in skeleton.others if bone.name.startswith("rib_")]
    aside, deep = np.moveaxis(np.stack([_crossed(rib, z) for rib in ribs]), -1, 0)
    aside = np.abs(aside - x)
    rows = np.flatnonzero(np.isfinite(aside).any(axis=0))
    aside, deep, half = aside[:, rows], deep[:, rows], np.float32(RIB_HALF * size)
    widest = np.nanargmax(aside, axis=0)
    middle[rows] = np.take_along_axis(deep, widest[None], axis=0)[0]
    middle = floats(gaussian_filter1d(middle, 25 / STEP, mode="nearest"))
    wide[rows] = np.nanmax(aside, axis=0) + half
    back[rows] = np.nanmax(deep, axis=0) + half
    sternal = _sternal_front(skeleton.bone("sternum"), z, size)
    power = np.full_like(z, POWERS[0])
    power[rows], front[rows] = _front(
        aside / wide[rows], middle[rows] - deep + half, middle[rows] - sternal[rows]
    )
    front[rows] = middle[rows] - front[rows]
    return RibCage(
        z, _hull(wide, -1), _hull(np.minimum(front, sternal), 1), _hull(back, -1), middle,
        floats(gaussian_filter1d(power, 20 / STEP, mode="nearest")), 2 * float(half),
    )  # fmt: skip


def _front(aside: Floats, deep: Floats, sternal: Floats) -> tuple[Floats, Floats]:
    """Power and depth by height of the flattest front around the ends of ribs and the sternum.

    Parameters
    ----------
    aside, deep : ndarray, shape (ribs, N)
        Where ribs cross heights: as a share of the half width, and how far before the middle,
        mm; nan where they do not.
    sternal : ndarray, shape (N,)
        How far the sternum's front is before the middle, mm; not finite where it is not.
    """
    aside, ahead = np.clip(aside, 0, 0.97), np.nanmax(deep, axis=0)
    powers = floats(np.linspace(*POWERS, 13))[:, None, None]
    # Beside the middle a superellipse is less deep: how deep each power would have to be.
    needed = np.maximum(deep, 0) / (1 - aside**powers) ** (1 / powers)
    needed = np.nanmax(np.where(aside < 0.9, needed, 0), axis=1)
    wanted = np.where(np.isfinite(sternal), np.maximum(sternal, ahead), ahead * FLATTER)
    choice = np.argmax(needed <= np.maximum(wanted, needed[-1]), axis=0)
    depth = np.take_along_axis(needed, choice[None], axis=0)[0]
    return floats(powers[choice, 0, 0]), floats(np.maximum(depth, ahead))


def _crossed(curve: Floats, z: Floats) -> Floats:
    """Where a curve (V, 3) that falls all the way crosses heights: x and y, (N, 2), or nan."""
    found = [np.interp(z, curve[:, 2], curve[:, k], np.nan, np.nan) for k in (0, 1)]
    return floats(np.stack(found, axis=-1))


def _sternal_front(sternum: Bone, z: Floats, size: float) -> Floats:
    """Depth of the front of the sternum at heights, mm; infinite above and below it."""
    back = np.array([0, 0, SLANT * (STERNUM - MANUBRIUM)])
    ends = np.stack([0 * back, back - 6.0, [0, MANUBRIUM, STERNUM]], axis=1) * size
    line = floats(ends @ sternum.rotation.T + sternum.centre)
    return floats(np.interp(z, line[:, 2], line[:, 1], np.inf, np.inf))


def _hull(values: Floats, sign: int) -> Floats:
    """Smooth over heights, and no less than the values: `sign` is 1 for minima, -1 for maxima."""
    reach = 2 * round(9 / STEP) + 1
    held = -sign * maximum_filter1d(-sign * values, reach, mode="nearest")
    return floats(gaussian_filter1d(held, 9 / STEP, mode="nearest"))

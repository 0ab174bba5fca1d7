"""Thighs, shoulders and arms: round limbs around their bones."""

from __future__ import annotations

from typing import Final

import numpy as np

from .course import Physique, SpineCourse
from .slab import Slab
from .slab_shapes import ball, tube
from .trunk import Trunk

SIDES: Final = (1.0, -1.0)
#: What covers the shaft of a femur at its side, with half of the shaft, mm, men [U].
AROUND_SHAFT: Final = 36.0
#: Half axes of a shoulder around the head of the humerus, mm, men [U].
SHOULDER: Final = (56.0, 58.0, 66.0)
#: Half width of an arm from the shoulder to the wrist, mm, men [U].
ARM: Final = (46.0, 45.0, 42.0, 38.0, 37.0, 27.0)


def thigh_tubes(course: SpineCourse, trunk: Trunk, inset: float) -> tuple[Slab, Slab]:
    """Both thighs, `inset` mm inside of their skin."""
    start = trunk.crotch - 70 * course.size
    at = trunk.skin.at(trunk.crotch)
    z = np.linspace(start, trunk.bottom, 24)
    grow = np.clip((z - trunk.crotch) / (trunk.bottom - trunk.crotch), 0, 1)
    begun = np.clip(0.55 + 0.45 * (z - start) / (trunk.crotch - start), 0, 1)
    wide = (at["wide"] / 2 - 0.5) * (1 - 0.12 * grow) * begun
    deep = (at["front"] + at["back"]) / 2 * (1 - 0.08 * grow) * begun
    y = at["y"] + (at["back"] - at["front"]) / 2
    gap = 0.5 + 3 * grow
    # A leg that stands out takes its thigh with it.
    reach = wide[-1] * (2 - 0.12) + gap[-1]
    out = np.abs(course.shafts[:, 0] - at["x"]) + AROUND_SHAFT * course.size - reach
    tubes = [
        tube(
            z, at["x"] + side * (at["wide"] / 2 * (1 - 0.12 * grow) + gap + max(more, 0) * grow),
            np.full(24, y), wide - inset, deep - inset, spacing=(3.0, 6.0),
        )
        for side, more in zip((1, -1), out, strict=True)
    ]  # fmt: skip
    return tubes[0], tubes[1]


def shoulder_solids(
    course: SpineCourse, trunk: Trunk, inset: float, share: float = 1.0
) -> list[Slab]:
    """Both shoulders around the heads of the humeri, as `arm_tubes`."""
    size, plump = course.size, 0.35 * trunk.fat[1]
    radii = (np.array(SHOULDER) * size + plump - inset) * share
    return [
        ball(shoulder.head + np.array([side * 2, 3, 2]) * size, radii)
        for side, shoulder in zip(SIDES, course.shoulders, strict=True)
    ]


def arm_tubes(
    course: SpineCourse, trunk: Trunk, physique: Physique, inset: float, share: float = 1.0
) -> list[Slab]:
    """Both arms around the humeri, `inset` mm inside of their skin.

    Arms beside the trunk go on to the wrist; raised ones end with the trunk. `share` scales what
    is left, as muscle has a part of an arm's section.
    """
    size, plump = course.size, 0.45 * trunk.fat[1]
    found = []
    for side, one in zip(SIDES, course.shoulders, strict=True):
        shoulder, elbow = one.head, one.elbow
        if physique.arms == "beside":
            wrist = elbow + np.array([0, -20, 240]) * size
            line = np.stack([
                shoulder, 0.7 * shoulder + 0.3 * elbow, 0.4 * shoulder + 0.6 * elbow, elbow,
                0.75 * elbow + 0.25 * wrist, wrist,
            ])  # fmt: skip
            radius = np.array(ARM)
        else:
            line = np.stack([shoulder + 0.45 * (elbow - shoulder), shoulder])
            radius = np.array([ARM[1], ARM[0]])
        x, y, z = line.T
        radius = (radius * size + plump - inset) * share
        found.append(tube(z, x + side * 3 * size, y, radius, radius * 1.02, spacing=(3.0, 6.0)))
    return found


def blade_muscles(course: SpineCourse, amount: float) -> list[Slab]:
    """What lies before and behind the blade of each scapula, mm; `amount` is a factor on it."""
    found = []
    for shoulder in course.shoulders:
        upper, lower, socket = shoulder.blade.astype(float)
        down = lower - upper
        long = float(np.linalg.norm(down))
        down /= long
        out = socket - upper - ((socket - upper) @ down) * down
        wide = float(np.linalg.norm(out))
        out /= wide
        axes = np.stack([out, np.cross(down, out), down], axis=1)
        centre = 0.46 * upper + 0.30 * lower + 0.24 * socket
        radii = (0.62 * wide, 17.0 * course.size * amount**0.5, 0.60 * long)
        found.append(ball(centre, radii, axes))
    return found

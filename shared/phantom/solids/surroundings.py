"""What soft tissue must know of a placed skeleton: the course of the spine and the ring of ribs.

World frame, mm: x to the patient's left, y to the back, z to the feet; the origin is the centre
of the body of L3.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from .bone import Bone
from .bones.sacrum import sacrum_template
from .curve import OvalCurve
from .distance import Floats, floats
from .skeleton import Skeleton
from .tissues.course import RibCage, SpineCourse, SpineLevel, cage_around

#: From a lumbar body's centre to the tip of its spinous process, mm, men [U].
SPINOUS_TIP: Final = 74.0


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
    back = float((_sacral_points() * np.float32(skeleton.size) @ sacrum.rotation.T)[:, 1].max())
    return SpineCourse(
        tuple(levels), skeleton.hips, float(sacrum.centre[1]) + back, skeleton.size,
        SPINOUS_TIP * skeleton.size,
    )  # fmt: skip


def _first_sacral(sacrum: Bone, above: SpineLevel) -> SpineLevel:
    """The first piece of the sacrum in the place of L5, in whom it is the next below L4."""
    height = above.height
    centre = floats(sacrum.centre + sacrum.rotation[:, 2] * np.float32(height / 2))
    return SpineLevel(
        "L5", centre, sacrum.rotation, above.half_width, above.half_depth, height, 0.0
    )  # fmt: skip


@lru_cache(maxsize=1)
def _sacral_points() -> Floats:
    """Points in the sacrum's template, its frame, mm, shape (N, 3)."""
    template = sacrum_template()
    inside = np.flatnonzero(template.table[:, 0] < 0)
    nodes = np.stack(np.unravel_index(inside, template.shape), axis=1)
    return floats(template.low + nodes * np.float32(template.spacing))


def cage_of(skeleton: Skeleton, course: SpineCourse) -> RibCage:
    """The outer border of the ribs by height; an average one's where no rib is."""
    average = cage_around(course)
    ribs = [bone for bone in skeleton.others if bone.name.startswith("rib_")]
    if not ribs:
        return average
    points = np.concatenate([_along(bone) for bone in ribs])
    half = 4.0 * skeleton.size
    middle_x, _ = course.centre_at(average.z)
    wide, front, back = [], [], []
    for place, z in enumerate(average.z):
        near = points[np.abs(points[:, 2] - z) < 12 * skeleton.size]
        aside = float(np.abs(near[:, 0] - middle_x[place]).max(initial=0.0)) + half
        ahead = float(near[:, 1].min(initial=np.inf)) - half
        behind = float(near[:, 1].max(initial=-np.inf)) + half
        wide.append(max(aside, float(average.half_width[place])))
        front.append(min(ahead, float(average.front[place])))
        back.append(max(behind, float(average.back[place])))
    return RibCage(average.z, floats(wide), floats(front), floats(back), average.thickness)


def _along(bone: Bone) -> Floats:
    """Middle of a curved bone in the world, mm, shape (V, 3)."""
    if not isinstance(bone.template, OvalCurve):
        raise TypeError(f"{bone.name} is no curve")
    return floats(bone.template.vertices @ bone.rotation.T + bone.centre)

"""Spines and soft tissue to test with; the vertebrae are those of the first generator."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from shared.phantom.anatomy.body import PointAnatomy, build_anatomy
from shared.phantom.population import POPULATIONS, draw_patient
from shared.phantom.solids.distance import floats
from shared.phantom.solids.surroundings import SPINOUS_TIP
from shared.phantom.solids.tissue import Tissue
from shared.phantom.solids.tissues.body import build_tissues
from shared.phantom.solids.tissues.course import Physique, Shoulder, SpineCourse, SpineLevel
from shared.seeds import numpy_generator

HEIGHT = {"F": 158.0, "M": 172.0}


@lru_cache(maxsize=4)
def spine(sex: str) -> SpineCourse:
    """Spine of the first straight patient of a sex without a fracture."""
    for number in range(200):
        patient = draw_patient(number, 1, POPULATIONS["generic"])
        if patient.sex == sex and not patient.findings and abs(patient.scoliosis) < 5:
            return course_of(build_anatomy(patient))
    raise LookupError(f"no straight patient of sex {sex} among 200")


def course_of(anatomy: PointAnatomy) -> SpineCourse:
    """Course of a spine of T4 to L5, with C7 to T3 put on top of it."""
    size = anatomy.vertebrae["L3"].shape.healthy / 24.5
    levels = [
        SpineLevel(
            name, one.centre, one.rotation, one.shape.width / 2, one.shape.depth / 2,
            one.shape.middle, one.disc_below,
        )
        for name, one in anatomy.vertebrae.items()
    ]  # fmt: skip
    for place, name in enumerate(("T3", "T2", "T1", "C7")):
        lean = math.radians(18 + 3 * place)
        cos, sin = math.cos(lean), math.sin(lean)
        below = levels[0]
        centre = below.centre - floats([0, 21 * size * sin, 21 * size * cos])
        axes = floats(np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]]))
        levels.insert(
            0,
            SpineLevel(
                name, centre, axes, below.half_width, below.half_depth, 17 * size, 4 * size
            ),
        )  # fmt: skip
    hip = anatomy.rest["hip_left"].points[:, 1]
    y, z = float(hip.min() + hip.max()) / 2 + 8, anatomy.soft_tissue.hips_z
    hips = floats(np.array([[88 * size, y, z], [-88 * size, y, z]]))
    back = float(anatomy.rest["sacrum"].points[:, 1].max())
    shoulders = [_shoulder(levels, size, side) for side in (1, -1)]
    return SpineCourse(
        tuple(levels), hips, back, size, SPINOUS_TIP * size, (shoulders[0], shoulders[1]),
        hips + floats([[42, 0, 170], [-42, 0, 170]]) * np.float32(size),
    )  # fmt: skip


def _shoulder(levels: list[SpineLevel], size: float, side: int) -> Shoulder:
    """A shoulder beside T3, its arm raised."""
    t3 = next(one for one in levels if one.name == "T3").centre
    head = t3 + floats([side * 165, -6, -30]) * np.float32(size)
    corners = floats([[side * 84, 46, -50], [side * 80, 56, 95], [side * 145, -4, -30]])
    elbow = head + floats([-side * 35, -20, -280]) * np.float32(size)
    return Shoulder(floats(head), floats(elbow), floats(t3 + corners * np.float32(size)))


@lru_cache(maxsize=24)
def person(sex: str, bmi: float, seed: int = 1, calcium: float = 0.0) -> tuple[Tissue, ...]:
    """Soft tissue of a person of average build; `calcium` in g in front of each of L1 to L4."""
    plaques = {f"L{number}": calcium for number in range(1, 5)}
    return tissues_of(Physique(sex, HEIGHT[sex], bmi, aortic_calcium=plaques), seed)


def tissues_of(physique: Physique, seed: int = 1) -> tuple[Tissue, ...]:
    """Soft tissue by numbers."""
    return build_tissues(spine(physique.sex), physique, numpy_generator(seed, "tissue"))


def evenly(low: float, high: float, step: float) -> np.ndarray:
    """Places from `low` to `high`, mm."""
    return floats(np.arange(low, high, step))

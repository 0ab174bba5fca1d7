"""All soft tissue of a patient, in the order in which it is laid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..distance import Floats
from ..tissue import SKELETAL, SUBSTANCES, Tissue, tissue
from .chest import build_chest, build_rooms
from .course import Physique, RibCage, SpineCourse, cage_around
from .limbs import arm_tubes, shoulder_solids, thigh_tubes
from .muscles import build_deep_muscles, build_muscles
from .organs import build_belly
from .slab import Slab
from .trunk import SKIN, Trunk, breast_solids, build_trunk, trunk_solid
from .vessels import build_spine_filling, build_vessels


def build_tissues(
    course: SpineCourse,
    physique: Physique,
    rng: np.random.Generator,
    cage: RibCage | None = None,
    bony: Floats | None = None,
) -> tuple[Tissue, ...]:
    """Soft tissue of a patient, from the skin inwards; of two, the later is there.

    Parameters
    ----------
    course : SpineCourse
        Spine and pelvis.
    physique : Physique
        The person's numbers.
    rng : numpy.random.Generator
        For bowel, branches of vessels, plaques and small differences of organs
        (`shared.seeds.numpy_generator`).
    cage : RibCage, optional
        The ring of ribs; an average one if there is none.
    bony : ndarray of float32, shape (N, 3), optional
        Points on bones, which the skin of the trunk covers, mm.

    Returns
    -------
    tuple of Tissue
        World frame, mm. The first ones are the skin and what fills it.
    """
    trunk = build_trunk(course, cage or cage_around(course), physique, bony)
    under = trunk_solid(trunk.skin.grown(-SKIN, -SKIN, -SKIN), trunk, SKIN)
    tissues = _shell(course, trunk, physique, under)
    tissues += build_muscles(course, trunk, physique, under)
    rooms = build_rooms(course, trunk, physique)
    tissues += build_chest(course, trunk, rooms, rng)
    tissues += build_belly(course, trunk, rooms, physique, rng)
    tissues += build_deep_muscles(course, trunk, physique, under)
    tissues += build_vessels(course, physique, rng)
    tissues += build_spine_filling(course)
    return tuple(_with_fibres(one, physique.lean_hu) for one in tissues)


def _with_fibres(one: Tissue, lean_hu: float) -> Tissue:
    """A tissue; if it is muscle, its fibres this much denser, in HU."""
    if one.code not in SKELETAL and one.name != "arm_muscle":
        return one
    fat = SUBSTANCES["subcutaneous_fat"].hounsfield
    lean = (one.substance.hounsfield - fat) / (SUBSTANCES[one.name].hounsfield - fat)
    hounsfield = one.substance.hounsfield + lean_hu * lean
    return replace(one, substance=replace(one.substance, hounsfield=hounsfield))


def _shell(course: SpineCourse, trunk: Trunk, physique: Physique, under: Slab) -> list[Tissue]:
    """Skin and the fat under it, of trunk, thighs, breasts and arms."""
    skins, fats = [trunk_solid(trunk.skin, trunk)], [under]
    for solids, inset in ((skins, 0.0), (fats, SKIN)):
        solids += thigh_tubes(course, trunk, inset)
        solids += shoulder_solids(course, trunk, inset)
        solids += arm_tubes(course, trunk, physique, inset)
    breasts: list[Slab] = []
    if physique.is_woman:
        skins += breast_solids(course, trunk, physique, 0.0)
        breasts += breast_solids(course, trunk, physique, SKIN)
    found = [tissue("skin", *skins), tissue("subcutaneous_fat", *fats)]
    if breasts:
        found.insert(1, tissue("breast", *breasts))
    return found

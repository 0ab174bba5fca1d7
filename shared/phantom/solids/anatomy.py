"""The whole anatomy of a person: bones, implants and soft tissue, placed in one world.

Every picture asks it what is at a point. World frame, mm: x to the patient's left, y to the
back, z to the feet; the origin is the centre of the body of L3.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.phantom.person.person import Person
from shared.seeds import numpy_generator

from .physique import physique_of
from .skeleton import Lie, Skeleton, build_skeleton
from .surroundings import bony_points, cage_of, course_of
from .tissue import Tissue
from .tissues.body import build_tissues


@dataclass(frozen=True)
class Anatomy:
    """One person, lying somehow.

    Attributes
    ----------
    person : Person
        The numbers that it was built from.
    lie : Lie
        How the person lies.
    skeleton : Skeleton
        Bones and implants.
    tissues : tuple of Tissue
        Soft tissue from the skin inwards: of two, the later is there; bones are laid over all.
    """

    person: Person
    lie: Lie
    skeleton: Skeleton
    tissues: tuple[Tissue, ...]


def build_anatomy(person: Person, lie: Lie | None = None) -> Anatomy:
    """Build the anatomy of a person; the same person and lie always give the same one.

    Parameters
    ----------
    person : Person
        Whose.
    lie : Lie, optional
        How the person lies; straight, arms above the head, by default.
    """
    lie = lie or Lie()
    skeleton = build_skeleton(person, lie)
    course = course_of(skeleton)
    rng = numpy_generator(
        person.seed, "soft tissue", person.generator, person.profile, person.number
    )
    physique = physique_of(person, lie.arms, lie.inspiration)
    tissues = build_tissues(course, physique, rng, cage_of(skeleton, course), bony_points(skeleton))
    return Anatomy(person, lie, skeleton, tissues)

"""Solid anatomies to take pictures of, and a visit on which nothing goes wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from shared.phantom.imaging.dxa.placed import OperatorHand
from shared.phantom.imaging.dxa.visit import DxaVisit
from shared.phantom.person.generator import NEAR_TO_LIFE
from shared.phantom.person.person import Person, draw_person
from shared.phantom.population import POPULATIONS
from shared.phantom.solids.anatomy import Anatomy, build_anatomy
from shared.phantom.solids.bone import Bone
from shared.phantom.solids.distance import Floats, floats
from shared.phantom.solids.skeleton import Lie
from shared.phantom.solids.spine import SpineBody
from shared.records import DXA_VIEWS

#: Straight, in the middle, still, and drawn without error.
CAREFUL = DxaVisit(
    lie=Lie(),
    lateral_roll=0.0,
    facing="left",
    off=dict.fromkeys(DXA_VIEWS, (0.0, 0.0)),
    cut_off=None,
    moving=frozenset(),
    objects=(),
    hand=OperatorHand(),
)


@lru_cache(maxsize=4)
def person(number: int) -> Person:
    """A person without fractures, metal or marked degeneration; the numbers are in order."""
    found = -1
    for candidate in range(400):
        one = draw_person(candidate, 1, POPULATIONS["urban"], NEAR_TO_LIFE)
        plain = not (one.findings.vertebrae or one.findings.metal or one.findings.fused)
        plain &= one.variants.is_usual and abs(one.variants.curves.scoliosis) < 5
        plain &= max(wear.severity for wear in one.wear.levels.values()) < 0.1
        found += plain
        if found == number:
            return one
    raise LookupError(f"fewer than {number + 1} persons of 400 have nothing")


@lru_cache(maxsize=4)
def anatomy(number: int) -> Anatomy:
    """Anatomy of `person`."""
    return build_anatomy(person(number))


def share_in(body: SpineBody, bone: Bone, along: Floats) -> Floats:
    """Share of bone around a vertebral body, at 0.25 mm down, (across, along, down).

    `along` are places along its depth, from -1 (front) to 1 (back).
    """
    half = body.shape.width / 2
    own = np.stack(
        np.meshgrid(
            np.arange(-half, half, 0.5), along * (body.shape.depth / 2),
            np.arange(-25, 25, 0.25), indexing="ij",
        ),
        axis=-1,
    )  # fmt: skip
    x, y, z = (body.centre + floats(own).reshape(-1, 3) @ body.rotation.T).T
    return bone.matter(x, y, z, (0.25, 0.25, 0.25)).bone.reshape(own.shape[:3])


@lru_cache(maxsize=2)
def operated() -> Anatomy:
    """The first person with an artificial left hip and screws in L3 and L4."""
    one = person(0)
    findings = replace(one.findings, hip_implant=("left",), screws=("L3", "L4"))
    return build_anatomy(replace(one, findings=findings))

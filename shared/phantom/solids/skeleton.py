"""The skeleton of a person: every bone and implant where it is.

World frame, mm: x to the patient's left, y to the back, z to the feet; the origin is the centre
of the body of L3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from shared.phantom.person.person import Person
from shared.seeds import numpy_generator

from .bone import Bone
from .bones.bridge import place_bridge
from .bones.femur import FemurForm, FemurMineral, PlacedFemur, place_femur
from .bones.hip_bone import place_hip_bone
from .bones.osteophytes import osteophytes
from .bones.sacrum import SLOPE, hip_joint, place_sacrum
from .bones.vertebra import BodyMineral, BodyShape, body_size
from .distance import Floats, floats, vector
from .implants import Implant, Operated, cement, fixation, hip_prosthesis
from .spine import PROCESS_LENGTH, SpineBody, SpineForm, stack_spine, taper_of
from .texture import Texture, draw_texture, moved
from .thorax import place_thorax

#: Curves at which the mean angles of the spine are those of `spine.SAGITTAL_DEGREES`, degrees.
MEAN_KYPHOSIS: Final = 41.0
MEAN_LORDOSIS: Final = 44.0
#: How far the slope of the sacrum may differ from the hip bones' before their joint closes.
MOST_TURN: Final = 0.09
#: Where a transitional vertebra's bridge meets the sacrum, in its frame, mm, men; the share of the
#: usual height that the disc below such a vertebra has [U].
WING: Final = (40.0, 9.0, 17.0)
RUDIMENTARY: Final = 0.5
SIDES: Final = ("left", "right")


@dataclass(frozen=True)
class Lie:
    """How somebody lies on the table: what a technologist sees to, and sometimes does not.

    `roll_degrees` turns the trunk about its long axis; `legs` holds by side how far each leg is
    turned away from the position that lays the neck in the image plane, and how far its shaft
    leans outwards, degrees. `arms` are above the head or beside the trunk; `inspiration` goes
    from 0 (breathed out) to 1 (in).
    """

    roll_degrees: float = 0.0
    legs: Mapping[str, tuple[float, float]] | None = None
    arms: Literal["above", "beside"] = "above"
    inspiration: float = 0.7

    def leg(self, side: str) -> tuple[float, float]:
        """Turn and lean of a leg, degrees."""
        return (self.legs or {}).get(side, (0.0, 0.0))


@dataclass(frozen=True)
class Skeleton:
    """Bones and implants of one person, placed.

    Attributes
    ----------
    spine : mapping of str to SpineBody
        From above to below.
    femora : mapping of str to PlacedFemur
        ``left`` and ``right``.
    others : tuple of Bone
        Sacrum, what joins a transitional vertebra to it, hip bones, ribs, sternum, scapulae,
        clavicles, humeri.
    implants : tuple of Implant
        Screws, rods, hips, cement.
    hips : ndarray of float32, shape (2, 3)
        Centres of the left and right hip joint, mm.
    size : float
        Of the skeleton; 1 is an average man's.
    """

    spine: Mapping[str, SpineBody]
    femora: Mapping[str, PlacedFemur]
    others: tuple[Bone, ...]
    implants: tuple[Implant, ...]
    hips: Floats
    size: float

    @property
    def bones(self) -> tuple[Bone, ...]:
        """All bones."""
        vertebrae = (body.bone for body in self.spine.values())
        return (*vertebrae, *(femur.bone for femur in self.femora.values()), *self.others)

    def bone(self, name: str) -> Bone:
        """A bone by its name.

        Raises
        ------
        KeyError
            If there is none of that name.
        """
        for one in self.bones:
            if one.name == name:
                return one
        raise KeyError(f"no bone {name}; there are {', '.join(b.name for b in self.bones)}")


def build_skeleton(person: Person, lie: Lie | None = None) -> Skeleton:
    """Place the bones of a person; the same person and lie always have the same skeleton.

    Parameters
    ----------
    person : Person
        Whose.
    lie : Lie, optional
        How the person lies; straight by default.
    """
    lie = lie or Lie()
    own = person.texture
    grain = draw_texture(numpy_generator(own.seed, "grain"), own.strength, own.size, own.length)
    levels = person.variants.levels
    spine = stack_spine(
        {level: shape_of(person, level) for level in levels},
        {level: mineral_at(person, level) for level in levels},
        form_of(person, lie),
        grain,
        lesions_of(person),
    )
    sacrum, slope, tilt = _sacrum(person, spine, moved(grain, (5.0, 61.0, 0.0)))
    offset = hip_joint(slope, tilt, person.sizes.overall)
    joints = [floats(sacrum.centre + offset * vector(side, 1, 1)) for side in (1, -1)]
    femora = {
        side: _femur(person, side, joint, lie, moved(grain, (11.0, 0.0, 43.0)))
        for side, joint in zip(SIDES, joints, strict=True)
    }
    hip_bones = [
        place_hip_bone(
            joint, person.sizes.overall, left=side == "left", tilt=tilt,
            cortex=person.bones["hip_bones"].cortex, core=person.bones["hip_bones"].core,
            texture=grain,
        )
        for side, joint in zip(SIDES, joints, strict=True)
    ]  # fmt: skip
    thorax = place_thorax(person, spine, grain, raised=lie.arms == "above")
    others = (sacrum, *_bridges(person, spine, sacrum, grain), *hip_bones, *thorax)
    return Skeleton(
        spine, femora, others, tuple(_implants(person, spine, femora)), floats(np.stack(joints)),
        person.sizes.overall,
    )  # fmt: skip


def shape_of(person: Person, level: str) -> BodyShape:
    """Form of a vertebra, after fractures and with its degeneration."""
    size, wear = person.sizes.levels[level], person.worn(level)
    width, depth, height, _ = body_size(level)
    healthy = height * size.height
    taper = taper_of(level) * size.taper
    loss = person.findings.vertebrae.get(level)
    front, middle, back = (loss.anterior, loss.middle, loss.posterior) if loss else (0.0,) * 3
    shape = BodyShape(
        level=level,
        width=width * size.width,
        depth=depth * size.depth,
        anterior=healthy * taper * (1 - front),
        middle=healthy * (0.5 + 0.5 * taper) * (1 - middle),
        posterior=healthy * (1 - back),
        healthy=healthy,
        collapse=0.72 if loss is not None and loss.grade else 0.5,
        lean=size.lean,
        process=size.process * PROCESS_LENGTH.get(level, 1.0),
    )
    return replace(shape, flare=osteophytes(shape, wear.osteophytes_g, wear.right)[0])


def mineral_at(person: Person, level: str) -> BodyMineral:
    """Densities of a vertebra; degeneration adds to rims, plates and arch, never to the core."""
    given, wear = person.levels[level], person.worn(level)
    _, spur = osteophytes(shape_of(person, level), wear.osteophytes_g, wear.right)
    return BodyMineral(
        given.core, given.wall, given.plate + wear.sclerosis, given.arch + wear.facets, spur
    )


def lesions_of(person: Person) -> dict[str, list[tuple[Floats, float, float]]]:
    """Focal lesions by level: place in the vertebra's frame and radius, mm, factor on the core."""
    found: dict[str, list[tuple[Floats, float, float]]] = {}
    for lesion in person.findings.lesions:
        shape = shape_of(person, lesion.level)
        half = vector(shape.width / 2, shape.depth / 2, shape.middle / 2)
        entry = (floats(vector(*lesion.place) * half), lesion.radius, lesion.core)
        found.setdefault(lesion.level, []).append(entry)
    return found


def form_of(person: Person, lie: Lie) -> SpineForm:
    """Curves of the spine, and the discs that are left."""
    curves = person.variants.curves
    discs = {
        level: person.sizes.levels[level].disc
        / person.sizes.levels[level].height
        * (1 - person.worn(level).disc_loss)
        for level in person.variants.levels
    }
    discs |= dict.fromkeys(person.findings.fused, 0.0)
    if person.variants.transitional is not None:
        discs[person.variants.transitional] *= RUDIMENTARY
    return SpineForm(
        lordosis=curves.lordosis / MEAN_LORDOSIS,
        kyphosis=curves.kyphosis / MEAN_KYPHOSIS,
        scoliosis_degrees=curves.scoliosis,
        apex=curves.apex,
        roll_degrees=lie.roll_degrees,
        discs=discs,
    )


def _sacrum(
    person: Person, spine: Mapping[str, SpineBody], grain: Texture
) -> tuple[Bone, float, float]:
    """The sacrum under the last disc, its slope and the turn of the pelvis, radians."""
    last = spine[person.variants.levels[-1]]
    slope = math.radians(person.variants.curves.sacral_slope)
    # The whole pelvis turns with the sacrum but for what the joint between them gives.
    tilt = float(np.clip(SLOPE - slope, -MOST_TURN, MOST_TURN)) - (SLOPE - slope)
    down = np.float32(last.shape.middle / 2 + last.disc_below)
    top = floats(last.centre + last.rotation[:, 2] * down)
    own = person.bones["sacrum"]
    sacrum = place_sacrum(
        top, slope, person.sizes.overall, cortex=own.cortex, core=own.core, texture=grain
    )
    return sacrum, slope, tilt


def _bridges(
    person: Person, spine: Mapping[str, SpineBody], sacrum: Bone, grain: Texture
) -> list[Bone]:
    """What joins a transitional vertebra to the sacrum."""
    level, own = person.variants.transitional, person.bones["sacrum"]
    if level is None:
        return []
    body, size = spine[level], person.sizes.overall
    found = []
    for side in person.variants.joined:
        mirror = vector(1 if side == "left" else -1, 1, 1)
        process = vector(0.58 * body.shape.width, body.shape.depth / 2 + 11 * size, -2)
        start = body.centre + body.rotation @ (process * mirror)
        wing = vector(*WING) * np.float32(size)
        end = sacrum.centre + sacrum.rotation @ (wing * mirror)
        found.append(
            place_bridge(
                floats(start), floats(end), left=side == "left", size=size, cortex=own.cortex,
                core=own.core, texture=grain,
            )
        )  # fmt: skip
    return found


def _femur(person: Person, side: str, joint: Floats, lie: Lie, grain: Texture) -> PlacedFemur:
    size, own = person.sizes.femur, person.femora[side]
    turn, lean = lie.leg(side)
    form = FemurForm(
        size=size.size, neck=size.neck_length, angle=math.radians(size.neck_angle),
        turn=math.radians(turn), tilt=math.radians(lean),
    )  # fmt: skip
    return place_femur(
        form, joint, left=side == "left", resected=side in person.findings.hip_implant,
        mineral=FemurMineral(
            own.head_core, own.neck_core, own.trochanter_core, own.neck_cortex, own.cortex
        ),
        texture=grain,
    )  # fmt: skip


def _implants(
    person: Person, spine: Mapping[str, SpineBody], femora: Mapping[str, PlacedFemur]
) -> list[Implant]:
    rng = numpy_generator(person.seed, "implants", person.number)
    found: list[Implant] = []
    screwed = [_operated(spine[level]) for level in person.findings.screws if level in spine]
    if len(screwed) > 1:
        found += fixation(screwed)
    for level, millilitres in person.findings.cement.items():
        if level in spine:
            found.append(cement(_operated(spine[level]), millilitres, rng))
    for side in person.findings.hip_implant:
        found += hip_prosthesis(femora[side])
    return found


def _operated(body: SpineBody) -> Operated:
    shape = body.shape
    return Operated(shape.level, body.centre, body.rotation, shape.width, shape.depth, shape.middle)

"""The spine of one patient: vertebrae stacked from the last lumbar one up to C7.

World frame, mm: x to the patient's left, y to the back, z to the feet; the origin is the
centre of the body of L3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from .bones.vertebra import (
    SPINE_LEVELS,
    TAPER,
    THORACIC_TAPER,
    BodyMineral,
    BodyShape,
    VertebraBone,
    body_size,
    make_vertebra,
)
from .distance import Floats, floats, vector
from .texture import Texture, moved, with_lesions

#: Sagittal tilt of the bodies, degrees, in the mean (positive = the top leans forward). Cobb
#: angles follow: kyphosis T4–T12 about 38°, lordosis L1–S1 about 45° (design/anatomy.md [U]),
#: less when lying.
SAGITTAL_DEGREES: Final = {
    "C7": 22, "T1": 26, "T2": 26, "T3": 24,
    "T4": 21, "T5": 17, "T6": 12, "T7": 7, "T8": 2, "T9": -3, "T10": -8, "T11": -12, "T12": -14,
    "L1": -13, "L2": -8, "L3": -1, "L4": 8, "L5": 20, "L6": 29,
}  # fmt: skip
#: Length of the processes over the template's [U].
PROCESS_LENGTH: Final = {
    "T11": 0.5, "T12": 0.4, "L1": 0.7, "L2": 0.9, "L3": 1.1, "L4": 0.8, "L5": 0.85, "L6": 0.85,
}  # fmt: skip
#: Share of a wedge's angle that the spine above it leans by: the rest is made up for.
LEAN_OF_A_WEDGE: Final = 0.55


@dataclass(frozen=True)
class SpineForm:
    """How a spine is bent.

    `lordosis` and `kyphosis` are factors on the mean angles; `scoliosis_degrees` is the Cobb
    angle, positive to the left, with its middle at `apex`; `roll_degrees` the turn of the whole
    patient about the long axis. `discs` are factors on the height of discs by the level above
    them; 0 joins two bodies.
    """

    lordosis: float = 0.92
    kyphosis: float = 0.9
    scoliosis_degrees: float = 0.0
    apex: str = "L2"
    roll_degrees: float = 0.0
    discs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SpineBody:
    """A vertebra where it is: shape, solid, and the disc below, mm."""

    shape: BodyShape
    bone: VertebraBone
    disc_below: float

    @property
    def centre(self) -> Floats:
        """Centre of the body in the world, mm, shape (3,)."""
        return self.bone.centre

    @property
    def rotation(self) -> Floats:
        """Its axes in the world as columns, shape (3, 3)."""
        return self.bone.rotation


def taper_of(level: str) -> float:
    """Anterior over posterior height of a healthy body."""
    return TAPER.get(level, THORACIC_TAPER)


def stack_spine(
    shapes: Mapping[str, BodyShape],
    minerals: Mapping[str, BodyMineral],
    form: SpineForm,
    texture: Texture | None = None,
    lesions: Mapping[str, Sequence[tuple[Floats, float, float]]] | None = None,
) -> dict[str, SpineBody]:
    """Place the vertebrae.

    Parameters
    ----------
    shapes : mapping of str to BodyShape
        From C7 to the last lumbar level; who has four lumbar vertebrae has no L5.
    minerals : mapping of str to BodyMineral
        Densities of each.
    form : SpineForm
        The curves.
    texture : callable, optional
        The patient's; each bone has its own part of it.
    lesions : mapping of str to sequence of (ndarray, float, float), optional
        Focal lesions by level, as `texture.with_lesions` takes them.

    Returns
    -------
    dict of str to SpineBody
        From above to below.
    """
    levels = [level for level in SPINE_LEVELS if level in shapes]
    tilts = _tilts(levels, shapes, form)
    places: dict[str, tuple[Floats, Floats, float]] = {}
    below: str | None = None
    for level in reversed(levels):
        rotation = axes_of(*tilts[level])
        disc = body_size(level)[3] * shapes[level].healthy / body_size(level)[2]
        disc *= form.discs.get(level, 1.0)
        if below is None:
            centre = vector(0, 0, 0)
        else:
            under, turned, _ = places[below]
            lower = _half_height(shapes[below]) + disc / 2
            upper = _half_height(shapes[level]) + disc / 2
            centre = under - turned[:, 2] * np.float32(lower) - rotation[:, 2] * np.float32(upper)
        places[level] = floats(centre), rotation, disc
        below = level
    origin = places["L3"][0]
    placed = {}
    for number, level in enumerate(levels):
        centre, rotation, disc = places[level]
        own = None if texture is None else moved(texture, (31.0 * number, 17.0 * number, 0.0))
        if lesions and level in lesions:
            own = with_lesions(own, lesions[level])
        bone = make_vertebra(shapes[level], minerals[level], centre - origin, rotation, own)
        placed[level] = SpineBody(shapes[level], bone, disc)
    return placed


def _half_height(shape: BodyShape) -> float:
    return (shape.anterior + shape.posterior) / 4


def _tilts(
    levels: list[str], shapes: Mapping[str, BodyShape], form: SpineForm
) -> dict[str, tuple[float, float, float]]:
    """Sagittal, coronal and axial angle of each level, radians."""
    middle = SPINE_LEVELS.index(form.apex)
    found, leaning = {}, 0.0
    for level in reversed(levels):
        shape = shapes[level]
        wedge = (shape.posterior - shape.anterior) / shape.depth
        natural = shape.healthy * (1 - taper_of(level)) / shape.depth
        leaning += LEAN_OF_A_WEDGE * max(wedge - natural, 0.0)
        factor = form.lordosis if level.startswith("L") else form.kyphosis
        sagittal = math.radians(SAGITTAL_DEGREES[level] * factor) + leaning
        away = SPINE_LEVELS.index(level) - middle
        coronal = math.radians(form.scoliosis_degrees / 2) * math.sin(away / 5 * math.pi / 2)
        coronal *= math.exp(-((away / 6) ** 2)) * 1.4
        turn = form.roll_degrees + 0.5 * form.scoliosis_degrees * math.exp(-((away / 3) ** 2))
        found[level] = sagittal, coronal, math.radians(turn)
    return found


def axes_of(sagittal: float, coronal: float, axial: float) -> Floats:
    """Axes of a vertebra as columns, shape (3, 3); angles in radians.

    A positive sagittal angle leans its top forward.
    """
    cs, ss = math.cos(sagittal), math.sin(sagittal)
    cc, sc = math.cos(coronal), math.sin(coronal)
    ca, sa = math.cos(axial), math.sin(axial)
    about_x = np.array([[1, 0, 0], [0, cs, ss], [0, -ss, cs]])
    about_y = np.array([[cc, 0, sc], [0, 1, 0], [-sc, 0, cc]])
    about_z = np.array([[ca, -sa, 0], [sa, ca, 0], [0, 0, 1]])
    return floats(about_y @ about_x @ about_z)

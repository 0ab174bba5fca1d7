"""The proximal femur: head, neck, trochanters and the upper shaft.

Frame of the left one, mm: origin at the centre of the head, x to the patient's left (lateral),
y to the back, z to the feet, the neck in the plane of x and z. The right one is its mirror image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from shared.phantom.solids.bone import Bone, Unbend
from shared.phantom.solids.distance import (
    Floats,
    blend,
    capsule,
    ellipsoid,
    floats,
    length,
    smoothstep,
    vector,
)
from shared.phantom.solids.template import SampledOutline, sample_near

#: Template: head radius, neck-shaft angle (degrees), head centre to shaft axis along the neck.
HEAD_RADIUS: Final = 23.5
NECK_SHAFT_DEGREES: Final = 128.0
NECK_TO_SHAFT: Final = 52.0
_ANGLE = math.radians(NECK_SHAFT_DEGREES)
#: Unit vector along the template's neck, from head to shaft.
NECK_AXIS: Final = (math.sin(_ANGLE), 0.0, -math.cos(_ANGLE))
SHAFT_X: Final = NECK_TO_SHAFT * NECK_AXIS[0]
SHAFT_TOP: Final = NECK_TO_SHAFT * NECK_AXIS[2]
#: The shaft is cut this far below the head's centre, below what any picture shows.
LENGTH: Final = 178.0
#: Where head, neck and the rest meet, mm from the head's centre along the neck, and over how
#: much they go into one another (`tests.verify.calibration.femur` has the same borders).
HEAD_END: Final = 18.0
NECK_END: Final = 42.0
_BORDER: Final = 8.0
#: Mean trabecular mineral of head, neck and the rest down to the metaphysis as the formulas of
#: `_trabecular` give it, g/cm³.
_MEANS: Final = (0.2695, 0.1913, 0.1481)
#: Along the neck: where it lengthens, where it begins to bend, about which point.
_LENGTHENS: Final = (12.0, 44.0)
_BENDS: Final = (15.0, 50.0)
_PIVOT: Final = 30.0


@dataclass(frozen=True)
class FemurForm:
    """What makes one femur differ from the template.

    Attributes
    ----------
    size : float
        Scales everything.
    neck : float
        Scales the neck's length.
    angle : float
        Added to the neck-shaft angle, radians.
    turn : float
        Rotation of the leg away from the one that lays the neck in the image plane, radians;
        standing or with the foot not held it is the anteversion.
    tilt : float
        Of the shaft in the frontal plane, radians; positive moves the foot outwards.
    """

    size: float = 1.0
    neck: float = 1.0
    angle: float = 0.0
    turn: float = 0.0
    tilt: float = 0.0


@dataclass(frozen=True)
class FemurMineral:
    """Densities of one femur: mean cores of its parts in g/cm³, and factors on its cortices.

    `trochanter_core` is that of all below the neck, `cortex` that of all but the neck.
    """

    head_core: float = _MEANS[0]
    neck_core: float = _MEANS[1]
    trochanter_core: float = _MEANS[2]
    neck_cortex: float = 1.0
    cortex: float = 1.0


@dataclass(frozen=True)
class FemurBone(Bone):
    """A placed femur: `mineral` takes the place of the factors of a plain bone."""

    mineral: FemurMineral = FemurMineral()

    def cortex_and_core(self, rows: Floats) -> tuple[Floats, Floats]:
        """Cortex in mm and core in g/cm³ of rows of the template."""
        given = self.mineral
        cortex = rows[:, 4:6] @ floats([given.neck_cortex, given.cortex])
        return cortex, rows[:, 6:9] @ floats(
            [given.head_core, given.neck_core, given.trochanter_core]
        )


@dataclass(frozen=True)
class PlacedFemur:
    """A femur in the world, with the landmarks that region maps need.

    Attributes
    ----------
    bone : Bone
        ``femur_left`` or ``femur_right``.
    form : FemurForm
        Its shape.
    left : bool
        Side.
    head : ndarray of float32, shape (3,)
        Centre of the head, mm.
    neck_axis, shaft_axis : ndarray of float32, shape (3,)
        Unit vectors in the world: from head to shaft, and down the shaft.
    """

    bone: Bone
    form: FemurForm
    left: bool
    head: Floats
    neck_axis: Floats
    shaft_axis: Floats


def femur_distance(points: Floats) -> Floats:
    """Signed distance of the template femur at points (N, 3), mm."""
    p = points
    n = vector(*NECK_AXIS)
    head = length(p) - np.float32(HEAD_RADIUS)
    squeezed = p * vector(1, 1.22, 1)
    neck = capsule(squeezed, n * 6, n * 26, 17.5, 15.2)
    neck = blend(neck, capsule(squeezed, n * 26, n * 52, 15.2, 19.5), 6)
    shaft = capsule(p, vector(SHAFT_X, 0, SHAFT_TOP + 10), vector(SHAFT_X, 0, 95), 17.5, 14.6)
    long_shaft = capsule(p, vector(SHAFT_X, 0, 95), vector(SHAFT_X, 0, 230), 14.6, 14.2)
    shaft = blend(shaft, long_shaft, 8)
    greater = ellipsoid(p, vector(SHAFT_X + 8, 4, 24), vector(13.5, 17, 25))
    greater = blend(greater, ellipsoid(p, vector(SHAFT_X + 3, 9, 9), vector(9.5, 11, 13)), 10)
    lesser = ellipsoid(p, vector(SHAFT_X - 15, 10, 74), vector(8.5, 8.5, 14))
    solid = blend(blend(head, neck, 7), shaft, 12)
    solid = blend(blend(solid, greater, 10), lesser, 8)
    return np.maximum(solid, p[:, 2] - np.float32(LENGTH))


def _traits(points: Floats, distance: Floats) -> Floats:
    """Cortex of neck and of the rest in mm; cores of head, neck and the rest as shares."""
    along = points @ vector(*NECK_AXIS)
    after_head, after_neck = (
        smoothstep(along, end - _BORDER / 2, end + _BORDER / 2) for end in (HEAD_END, NECK_END)
    )
    parts = (1 - after_head, after_head - after_neck, after_neck)
    cortex, core = _cortex(points), _trabecular(points)
    cores = [core * part / np.float32(mean) for part, mean in zip(parts, _MEANS, strict=True)]
    return floats(np.stack([cortex * parts[1], cortex * (1 - parts[1]), *cores], axis=1))


def _cortex(points: Floats) -> Floats:
    """Thin on head and trochanters, thick below the neck and in the shaft, mm."""
    x, _, z = points.T
    n = vector(*NECK_AXIS)
    along = points @ n
    on_shaft = smoothstep(z, 50, 110)
    on_neck = smoothstep(along, 14, 24) * (1 - smoothstep(along, 48, 62))
    downward = smoothstep(points @ vector(-n[2], 0, n[0]), 0, 14)
    medial = smoothstep(SHAFT_X - x, 1.5, 13) * smoothstep(z, 38, 60)
    lateral = smoothstep(x, SHAFT_X + 6, SHAFT_X + 14) * smoothstep(z, 30, 60)
    thick = 0.7 + on_neck * (0.5 + 2.0 * downward) + on_shaft * 4.4 + medial * 1.6
    thick += 1.0 * lateral * (1 - on_shaft)
    # The lesser trochanter is a knob of trabecular bone on the cortex.
    lesser = ellipsoid(points, vector(SHAFT_X - 15, 10, 74), vector(8.5, 8.5, 14))
    thick -= np.maximum(thick - 1.8, 0) * (1 - smoothstep(lesser, -6, 5))
    # The cut is open: it is not a face of the bone.
    return floats(thick * (1 - 0.95 * smoothstep(z, LENGTH - 10, LENGTH - 7)))


def _trabecular(points: Floats) -> Floats:
    """Trabecular mineral, g/cm³: compressive and tensile groups, Ward's triangle, empty shaft."""
    n = vector(*NECK_AXIS)
    along = points @ n
    radius = length(points)
    head = 1 - smoothstep(radius, 15, 27)
    # The compressive group fans from the calcar to the top of the head.
    start, end = vector(SHAFT_X - 14, 0, 50), vector(-3, 0, -20)
    axis = (end - start) / np.linalg.norm(end - start)
    offset = points - start
    away = offset - (offset @ axis)[:, None] * axis
    fan = np.exp(-(away[:, 0] ** 2 + away[:, 2] ** 2) / np.float32(2 * 8.5**2))
    # The tensile group arches from the lateral cortex under the top of the neck.
    lift = points @ vector(-n[2], 0, n[0])  # positive below the neck's axis
    arch = np.exp(-((lift + 9) ** 2) / np.float32(2 * 5.0**2)) * smoothstep(along, 0, 15)
    arch *= 1 - smoothstep(along, 55, 70)
    base = 0.085 + 0.10 * head + 0.16 * fan + 0.07 * arch
    marrow = 1 - smoothstep(points[:, 2], 50, 92)
    edge = 0.06 * smoothstep(points[:, 0], SHAFT_X + 2, SHAFT_X + 18) * marrow
    return floats(base * marrow + edge + 0.012)


@lru_cache(maxsize=1)
def femur_template() -> SampledOutline:
    """The left femur, sampled."""
    low, high = (-27.0, -26.0, -27.0), (66.0, 27.0, LENGTH + 3)
    return sample_near(femur_distance, low, high, _traits, 1.4)


@dataclass(frozen=True)
class ResectedOutline:
    """The femur without head and neck, as a hip prosthesis leaves it."""

    whole: SampledOutline

    def at(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Rows (N, 9) for points, as the whole femur's below the cut."""
        rows = self.whole.at(x, y, z)
        # From the saddle beside the greater trochanter down to above the lesser one.
        normal = vector(-0.70, 0, -0.71)
        beyond = (x - np.float32(27)) * normal[0] + (z - np.float32(31)) * normal[2]
        # The greater trochanter stays.
        beyond = np.where(x > np.float32(SHAFT_X - 8), np.float32(-99), beyond)
        cut = beyond > rows[:, 0]
        rows[cut, 0] = beyond[cut]
        rows[cut, 1:4] = normal
        return rows


def _unbent(form: FemurForm) -> Unbend:
    """From a femur's frame to the template's."""
    nx, _, nz = (np.float32(v) for v in NECK_AXIS)
    first, last = _LENGTHENS
    longer = np.float32((last - first) * (form.neck - 1))
    shrink = np.float32(1 / form.size)
    size = floats(form.size)
    pivot = np.float32(_PIVOT)

    def unbend(
        x: Floats, y: Floats, z: Floats
    ) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
        u, v, w = x * shrink, y * shrink, z * shrink
        if form.angle:
            # Beyond the neck the shaft is turned about the y axis, as a whole.
            share = smoothstep(u * nx + w * nz, *_BENDS) * np.float32(form.angle)
            cos, sin = np.cos(share), np.sin(share)
            u, w = u - pivot * nx, w - pivot * nz
            u, w = u * cos - w * sin + pivot * nx, u * sin + w * cos + pivot * nz
        if form.neck != 1:
            along = u * nx + w * nz
            less = np.clip((along - np.float32(first)) / np.float32(last - first + longer), 0, 1)
            less *= longer
            u, w = u - less * nx, w - less * nz
        return u, v, w, size, size, size

    return unbend


def bend(form: FemurForm, points: Floats) -> Floats:
    """SampledOutline points (N, 3) in the frame of a femur, mm: landmarks, by iteration."""
    unbend = _unbent(form)
    placed = points * np.float32(form.size)
    for _ in range(60):
        u, v, w, *_ = unbend(*placed.T)
        placed = placed + (points - np.stack([u, v, w], axis=1)) * np.float32(0.7 * form.size)
    return floats(placed)


def _rotation(form: FemurForm, left: bool) -> Floats:
    """Axes of a femur in the world as columns; the right one's are mirrored."""
    cos, sin = math.cos(form.turn), math.sin(form.turn)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    cos, sin = math.cos(form.tilt), math.sin(form.tilt)
    tilt = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return floats(np.diag([1.0 if left else -1.0, 1, 1]) @ tilt @ turn)


def place_femur(
    form: FemurForm,
    head: Floats,
    *,
    left: bool,
    resected: bool = False,
    mineral: FemurMineral | None = None,
    texture: Callable[[Floats, Floats, Floats], Floats] | None = None,
) -> PlacedFemur:
    """One femur with its head at `head` (world, mm).

    Parameters
    ----------
    form : FemurForm
        Its shape.
    head : ndarray of float32, shape (3,)
        Centre of the head, mm.
    left : bool
        Side.
    resected : bool
        Without head and neck: a prosthesis is there.
    mineral : FemurMineral, optional
        Its densities; a young man's if left out.
    texture : callable, optional
        Factor on the core at points of its frame.
    """
    rotation = _rotation(form, left)
    n = vector(*NECK_AXIS)
    shaft = [vector(SHAFT_X, 0, 100), vector(SHAFT_X, 0, 160)]
    near, far, top, bottom = bend(form, np.stack([n * 16, n * 44, *shaft])) @ rotation.T
    name = f"femur_{'left' if left else 'right'}"
    reach = form.size * math.hypot(LENGTH, SHAFT_X + 20) + 32 * abs(form.neck - 1) + 25
    outline = ResectedOutline(femur_template()) if resected else femur_template()
    given = mineral or FemurMineral()
    bone = FemurBone(
        name, outline, head, rotation, _unbent(form), reach, given.cortex, given.neck_core, texture,
        given,
    )  # fmt: skip
    return PlacedFemur(bone, form, left, head, _unit(far - near), _unit(bottom - top))


def _unit(axis: Floats) -> Floats:
    return floats(axis / np.linalg.norm(axis))

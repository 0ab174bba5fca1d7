"""One patient's body in three dimensions, from which every projection comes.

World frame, mm: x to the patient's left, y to the back, z to the feet; the
origin is the centre of the body of L3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.phantom.population import PhantomPatient
from shared.phantom.solids.bones.vertebra import body_size
from shared.phantom.solids.spine import PROCESS_LENGTH, SAGITTAL_DEGREES, axes_of, taper_of
from shared.regions import LUMBAR
from shared.seeds import numpy_generator

from .femur import FemurCloud, FemurShape, place_femur
from .pelvis import CREST_HEIGHT, JOINT_X, place_hip_bone, place_sacrum
from .ribs import RIBS, place_rib
from .soft_tissue import SoftTissue, trunk_of
from .solid import Floats, even_points, floats, vector
from .vertebra import LEVELS, VertebraCloud, VertebraShape, place_vertebra

SACRAL_SLOPE: Final = 38.0
#: Share of patients who lie turned or whose foot is not held (design/anatomy.md).
ROTATION_SHARE: Final = 0.03
#: Rotation from which positioning counts as wrong, degrees.
WRONG_ROTATION: Final = {"spine_pa": 8.0, "hip_left": 13.0}
#: BMD of L1..L4 as shares of the mean of the four (rises downwards) [U].
LEVEL_SHARE: Final = {"L1": 0.92, "L2": 0.98, "L3": 1.03, "L4": 1.05}


@dataclass(frozen=True)
class PlacedVertebra:
    """A vertebra where it is: shape, axes (columns of `rotation`) and centre, mm."""

    shape: VertebraShape
    rotation: Floats
    centre: Floats
    disc_below: float
    cloud: VertebraCloud


@dataclass(frozen=True)
class Mineral:
    """Points (N, 3) in mm and masses (N,) in g."""

    points: Floats
    mass: Floats


@dataclass(frozen=True)
class PointAnatomy:
    """The body of one patient.

    `level_share` is how the BMD of L1..L4 differs from their mean; `rest` holds
    ribs, pelvis and calcified aorta by name.
    """

    patient: PhantomPatient
    vertebrae: Mapping[str, PlacedVertebra]
    femur: FemurCloud
    rest: Mapping[str, Mineral]
    soft_tissue: SoftTissue
    level_share: Mapping[str, float]

    @property
    def rotation_degrees(self) -> dict[str, float]:
        """Rotation out of the ideal position by view: roll of L3, turn of the leg."""
        turned = self.vertebrae["L3"].rotation
        roll = math.degrees(math.atan2(float(turned[1, 0]), float(turned[0, 0])))
        return {"spine_pa": roll, "hip_left": math.degrees(self.femur.turn)}


def build_anatomy(patient: PhantomPatient) -> PointAnatomy:
    """Build the body of a patient; the same patient always has the same body."""
    rng = numpy_generator(patient.seed, "anatomy", patient.number)
    size = (0.915 if patient.sex == "F" else 1.0) * (
        1 + 0.6 * (patient.height_cm / (156.0 if patient.sex == "F" else 168.0) - 1)
    )
    size *= float(np.exp(rng.normal(0, 0.025)))
    shapes = _shapes(patient, size, rng)
    vertebrae = _stack(patient, shapes, rng)
    last = vertebrae["L5"]
    slope = math.radians(SACRAL_SLOPE + rng.normal(0, 4))
    down = last.rotation[:, 2]
    sacrum_top = last.centre + down * np.float32(last.shape.middle / 2 + last.disc_below)
    joint_z = float(vertebrae["L4"].centre[2] + rng.normal(8, 7)) + CREST_HEIGHT * size
    joint_y = float(sacrum_top[1]) - 42 * size
    middle_x = float(last.centre[0])
    joint = vector(middle_x + JOINT_X * size, joint_y, joint_z)
    rest = _rest(patient, vertebrae, size, rng)
    rest["sacrum"] = Mineral(*place_sacrum(sacrum_top, slope, size))
    rest["hip_left"] = Mineral(*place_hip_bone(joint, size, left=True))
    # no pelvis is quite straight on the table
    other = joint - vector(2 * JOINT_X * size, rng.normal(0, 2), rng.normal(0, 3))
    rest["hip_right"] = Mineral(*place_hip_bone(other, size, left=False))
    shares = np.array([LEVEL_SHARE[level] * math.exp(rng.normal(0, 0.035)) for level in LUMBAR])
    for place, level in enumerate(LUMBAR):
        shares[place] *= 1 + 0.28 * patient.degenerative.get(level, 0.0)
        finding = patient.findings.get(level)
        if finding is not None and finding.grade:
            shares[place] *= 1 + 0.5 * max(finding.anterior, finding.middle) ** 1.5
    femur = place_femur(_femur_shape(patient, size, rng), joint)
    back = float(vertebrae["L3"].centre[1]) + 72 * size + rng.uniform(4, 10)
    middle = float(np.mean([v.centre[0] for v in vertebrae.values()]))
    chest_top = float(vertebrae["T4"].centre[2]) - 30
    trunk = trunk_of(
        patient.bmi, patient.sex, patient.height_cm, back, joint_z, chest_top, middle, rng
    )
    level_share = dict(zip(LUMBAR, shares.tolist(), strict=True))
    return PointAnatomy(patient, vertebrae, femur, rest, trunk, level_share)


def _shapes(
    patient: PhantomPatient, size: float, rng: np.random.Generator
) -> dict[str, VertebraShape]:
    """Shapes of T4..L5 with the patient's fractures, deformities and degeneration."""
    width, depth, height = np.exp(rng.normal(0, 0.035, 3))
    shapes = {}
    for level in LEVELS:
        w, d, hp, _ = body_size(level)
        own = np.exp(rng.normal(0, 0.015, 4))
        healthy = hp * size * height * own[2]
        taper = taper_of(level) * own[3]
        loss = patient.findings.get(level)
        la, lm, lp = (loss.anterior, loss.middle, loss.posterior) if loss else (0.0, 0.0, 0.0)
        worn = patient.degenerative.get(level, 0.0)
        shapes[level] = VertebraShape(
            level=level,
            width=w * size * width * own[0],
            depth=d * size * depth * own[1],
            anterior=healthy * taper * (1 - la),
            middle=healthy * (0.5 + 0.5 * taper) * (1 - lm),
            posterior=healthy * (1 - lp),
            healthy=healthy,
            flare=0.13 * worn + rng.uniform(0, 0.02),
            sclerosis=1 + 1.3 * worn,
            collapse=float(rng.uniform(0.55, 0.9)) if loss and loss.grade else 0.5,
            lean=float(rng.normal(0, 0.01)),
            process=float(np.exp(rng.normal(0, 0.08))) * PROCESS_LENGTH.get(level, 1.0),
        )
    return shapes


def _stack(
    patient: PhantomPatient, shapes: Mapping[str, VertebraShape], rng: np.random.Generator
) -> dict[str, PlacedVertebra]:
    """Stack the vertebrae upwards from L5 along the curves of the spine."""
    lordosis = float(np.clip(rng.normal(0.92, 0.14), 0.55, 1.3))
    kyphosis = float(np.clip(rng.normal(0.9, 0.15) + 0.006 * (patient.age_years - 55), 0.55, 1.6))
    extra = 0.0
    apex = rng.choice(["T9", "T12", "L2"], p=[0.3, 0.4, 0.3])
    middle = LEVELS.index(str(apex))
    roll = rng.normal(0, 2.0)
    if rng.random() < ROTATION_SHARE:
        roll = float(rng.choice([-1, 1]) * rng.uniform(8, 15))
    tilts = {}
    for level in reversed(LEVELS):
        shape = shapes[level]
        wedge = (shape.posterior - shape.anterior) / shape.depth
        natural = shape.healthy * (1 - taper_of(level)) / shape.depth
        factor = kyphosis if level.startswith("T") else lordosis
        bend = math.radians(SAGITTAL_DEGREES[level] * factor)
        # a wedge fracture tips everything above it forward, partly made up for
        extra += 0.55 * max(wedge - natural, 0.0)
        tilts[level] = bend + extra
    placed: dict[str, PlacedVertebra] = {}
    below: PlacedVertebra | None = None
    for level in reversed(LEVELS):
        place = LEVELS.index(level) - middle
        coronal = math.radians(patient.scoliosis / 2) * math.sin(place / 5 * math.pi / 2)
        coronal *= math.exp(-((place / 6) ** 2)) * 1.4
        axial = math.radians(roll + 0.5 * patient.scoliosis * math.exp(-((place / 3) ** 2)))
        rotation = axes_of(tilts[level], coronal, axial)
        disc = body_size(level)[3] * shapes[level].healthy / body_size(level)[2]
        disc *= 1 - 0.45 * patient.degenerative.get(level, 0.0) * (level != "L5")
        centre = _centre_above(below, shapes[level], rotation, disc)
        cloud = place_vertebra(shapes[level], rotation, centre)
        below = PlacedVertebra(shapes[level], rotation, centre, disc, cloud)
        placed[level] = below
    return _recentred(placed)


def _centre_above(
    below: PlacedVertebra | None, shape: VertebraShape, rotation: Floats, disc: float
) -> Floats:
    """Centre of a body on top of the one below."""
    if below is None:
        return vector(0, 0, 0)
    lower_half = (below.shape.anterior + below.shape.posterior) / 4
    upper_half = (shape.anterior + shape.posterior) / 4
    foot = below.centre - below.rotation[:, 2] * np.float32(lower_half + disc / 2)
    return np.asarray(foot - rotation[:, 2] * np.float32(upper_half + disc / 2), np.float32)


def _recentred(placed: Mapping[str, PlacedVertebra]) -> dict[str, PlacedVertebra]:
    """Move everything so that L3 is the origin; order from T4 to L5."""
    origin = placed["L3"].centre.copy()
    result = {}
    for level in LEVELS:
        old = placed[level]
        cloud = VertebraCloud(
            old.cloud.cortex - origin, old.cloud.cortex_mass,
            old.cloud.core - origin, old.cloud.core_mass,
        )  # fmt: skip
        result[level] = PlacedVertebra(
            old.shape, old.rotation, old.centre - origin, old.disc_below, cloud
        )
    return result


def _rest(
    patient: PhantomPatient,
    vertebrae: Mapping[str, PlacedVertebra],
    size: float,
    rng: np.random.Generator,
) -> dict[str, Mineral]:
    """Ribs and calcified aorta."""
    rest: dict[str, Mineral] = {}
    droop = float(rng.uniform(0.85, 1.2))
    missing = 12 if rng.random() < 0.03 else 0
    for number in RIBS:
        if number == missing:
            continue
        vertebra = vertebrae[f"T{number}"]
        for left in (True, False):
            side = 1 if left else -1
            beside = vector(
                side * (vertebra.shape.width / 2 + 1), vertebra.shape.depth / 2, -3 * size
            )
            head = vertebra.centre + vertebra.rotation @ beside
            short = 0.75 if number == 12 and rng.random() < 0.3 else 1.0
            points = place_rib(number, left, head, size * short, droop * rng.uniform(0.94, 1.06))
            rest[f"rib_{number}_{'left' if left else 'right'}"] = Mineral(*points)
    if patient.aortic_calcium > 0.05:
        rest["aorta"] = _aorta(patient, vertebrae, rng)
    return rest


def _aorta(
    patient: PhantomPatient, vertebrae: Mapping[str, PlacedVertebra], rng: np.random.Generator
) -> Mineral:
    """Plaques in the wall of the aorta, left in front of L1–L4 (radius 12 mm)."""
    count = 5000
    u, v, w = even_points(count, int(rng.integers(0, 10**6))).T
    tops = np.array([vertebrae[level].centre for level in LUMBAR])
    depth = np.array([vertebrae[level].shape.depth / 2 for level in LUMBAR])
    z = tops[0, 2] - 20 + u * (tops[3, 2] - tops[0, 2] + 35)
    angle = 2 * np.pi * v
    radius = 11.5 + w
    x = np.interp(z, tops[:, 2], tops[:, 0]) + 9 + radius * np.cos(angle)
    y = np.interp(z, tops[:, 2], tops[:, 1] - depth) - 13.5 + radius * np.sin(angle)
    patchy = np.zeros(count)
    for _ in range(18):
        zc, ac = rng.uniform(z.min(), z.max()), rng.uniform(0, 2 * np.pi)
        turn = np.angle(np.exp(1j * (angle - ac)))
        patchy += np.exp(-((z - zc) ** 2) / (2 * rng.uniform(3, 10) ** 2) - turn**2 / 0.25)
    mass = np.clip(patchy, 0, 2) * patient.aortic_calcium * 0.8 / count
    return Mineral(floats(np.stack([x, y, z], axis=1)), floats(mass * 6))


def _femur_shape(patient: PhantomPatient, size: float, rng: np.random.Generator) -> FemurShape:
    """Shape of the left femur; the cortex thins with age and low BMD."""
    age_loss = 0.004 * max(patient.age_years - 50, 0)
    cortex = (1.05 - age_loss) * (patient.bmd["total_hip"] / 0.9) ** 0.5
    turn = float(np.clip(rng.normal(0, 4.5), -11, 11))
    if rng.random() < ROTATION_SHARE:
        turn = -float(rng.uniform(14, 24))  # the foot was not turned in enough
    return FemurShape(
        size=size * float(np.exp(rng.normal(0, 0.02))),
        neck=float(np.exp(rng.normal(0, 0.06))),
        angle=math.radians(float(np.clip(rng.normal(0, 3), -7, 7))),
        cortex=float(np.clip(cortex, 0.5, 1.3)),
        turn=math.radians(turn),
        tilt=math.radians(float(rng.normal(0, 2.5))),
    )

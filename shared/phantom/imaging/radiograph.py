"""Frontal radiographs of digital patients: one beam, any field, any film.

The same bodies as on the DXA scanners, in the light of a tube. What radiographs differ in
is drawn far more widely than any hospital differs: how much of the body is shown, how the
spine bends to the side, spectrum, scatter, how the picture was made readable.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.phantom.anatomy.body import PlacedVertebra, PointAnatomy, build_anatomy
from shared.phantom.anatomy.solid import Floats
from shared.phantom.population import POPULATIONS, draw_patient
from shared.phantom.truth import minerals, scale_mineral
from shared.records import ImageRecord, StudyLabels, StudyRecord, Vendor, View
from shared.regions import LUMBAR, UNNAMED_VERTEBRA, VERTEBRAE
from shared.seeds import numpy_generator

from .outlines import local_coordinates
from .physics import Crossed, attenuate, beams, with_noise
from .projection import Frame, project

#: Levels that are boxed: all that the body has.
LEVELS: Final = (*VERTEBRAE, "L5")
#: Share of radiographs that show the lumbar spine alone.
LUMBAR_SHARE: Final = 0.3
#: Largest displacement of a bent spine to the side, mm.
BEND_MM: Final = 45.0
#: Detected photons a mm² in air; a radiograph takes more than a DXA scan.
PHOTONS: Final = (2e6, 2e7)


def generic_radiograph(number: int, seed: int) -> StudyRecord:
    """Render a frontal radiograph of one patient of the generic population.

    Parameters
    ----------
    number, seed : int
        Of the patient, as for `shared.phantom.source.generic_patient`: the same body.

    Returns
    -------
    StudyRecord
        With one image, `View.LUMBAR_AP`, on which every vertebra from T4 to L5 that is in
        the field is marked by an upright box, as people mark them.
    """
    patient = draw_patient(number, seed, POPULATIONS["generic"])
    anatomy = build_anatomy(patient)
    rng = numpy_generator(seed, "radiograph", number)
    frame = _frame(anatomy, rng)
    attenuation = _exposed(anatomy, frame, rng)
    levels = _levels(anatomy, frame)
    shift = _bend(frame, rng)
    shown = displayed(_shifted(attenuation, shift), rng)
    regions = upright_boxes(_shifted(levels, shift), rng)
    name = f"digital-radiograph-{seed}-{number:06d}"
    image = ImageRecord(shown.astype(np.float16), frame.spacing, "none", regions)
    return StudyRecord(
        name, name, Vendor.GENERIC, {View.LUMBAR_AP: image}, StudyLabels(), patient.covariates
    )


def _frame(anatomy: PointAnatomy, rng: np.random.Generator) -> Frame:
    """Draw the field: the lumbar spine, or the trunk from the upper chest to the pelvis."""
    bodies = anatomy.vertebrae
    first = "T11" if rng.random() < LUMBAR_SHARE else "T4"
    top = float(bodies[first].centre[2]) - rng.uniform(15, 70)
    bottom = float(bodies["L5"].centre[2]) + rng.uniform(20, 150)
    height, side = bottom - top, float(rng.uniform(1.1, 1.8))
    width = float(np.clip(height * rng.uniform(0.35, 0.7), 130, 360))
    middle = float(np.mean([bodies[level].centre[0] for level in LUMBAR])) + rng.normal(0, 12)
    shape = (round(height / side), round(width / side))
    return Frame(View.LUMBAR_AP, top, middle - width / 2, shape, (side, side))


def _exposed(anatomy: PointAnatomy, frame: Frame, rng: np.random.Generator) -> Floats:
    """What the detector measures, −ln(I/I₀), (H, W), with blur, scatter and noise."""
    from scipy.ndimage import gaussian_filter

    bones = minerals(anatomy, scale_mineral(anatomy))
    points = np.concatenate([bone.points for bone in bones.values()])
    mass = np.concatenate([bone.mass for bone in bones.values()])
    bone = project(frame, points, mass)
    lean, fat = anatomy.soft_tissue.along_y(frame.rows, frame.columns)
    blur = rng.uniform(0.3, 1.2) / frame.spacing[0]
    crossed = Crossed(gaussian_filter(bone, blur), lean, fat)
    beam = beams("switched")[int(rng.random() < 0.5)]
    primary = np.exp(-attenuate(crossed, beam))
    scatter = gaussian_filter(primary, 40.0 / frame.spacing[0]) * rng.uniform(0.0, 0.8)
    photons = math.exp(rng.uniform(*np.log(PHOTONS))) * frame.spacing[0] * frame.spacing[1]
    return with_noise(np.asarray(-np.log(primary + scatter), np.float32), photons, rng)


def displayed(
    attenuation: Floats, rng: np.random.Generator, flattened: tuple[float, float] = (0.1, 0.9)
) -> Floats:
    """Make the picture readable, in [0, 1]: slow changes flattened, window, tone.

    `flattened` is the range of how much of the slow changes is taken away.
    """
    from scipy.ndimage import gaussian_filter

    slow = gaussian_filter(attenuation, rng.uniform(12, 45))
    fine = attenuation - gaussian_filter(attenuation, rng.uniform(1, 3))
    flat = attenuation - rng.uniform(*flattened) * slow + rng.uniform(0.0, 1.5) * fine
    low, high = np.percentile(flat, [rng.uniform(0, 12), rng.uniform(98, 100)])
    shown = np.clip((flat - low) / max(float(high - low), 1e-6), 0, 1)
    return np.asarray(shown ** rng.uniform(0.6, 1.5), np.float32)


def _levels(anatomy: PointAnatomy, frame: Frame) -> NDArray[np.uint8]:
    """Number of the vertebra whose body, with half of its discs, each ray crosses; 0 for none."""
    numbers = np.zeros(frame.shape, np.uint8)
    for number, level in enumerate(LEVELS, start=1):
        numbers[_outline(anatomy.vertebrae[level], frame)] = number
    return numbers


def _outline(vertebra: PlacedVertebra, frame: Frame) -> NDArray[np.bool_]:
    x, z = frame.columns[None, :], frame.rows[:, None]
    across, down = local_coordinates(vertebra, x, z, (0, 2))
    half_height = (vertebra.shape.middle + vertebra.disc_below) / 2
    inside = np.abs(across) < vertebra.shape.width / 2
    return np.asarray(inside & (np.abs(down) < half_height))


def _bend(frame: Frame, rng: np.random.Generator) -> NDArray[np.float64]:
    """How far every row is moved to the side, in pixels: a spine that bends, (H,)."""
    place = np.linspace(0, 1, frame.shape[0])
    largest = BEND_MM * rng.random() ** 2 / frame.spacing[1]
    waves = rng.uniform(0.7, 2.2)
    lean = rng.normal(0, 8) / frame.spacing[1]
    bent = largest * np.sin(np.pi * (waves * place + rng.uniform(0, 2)))
    return np.asarray(bent + lean * (place - 0.5))


def _shifted(image: NDArray[Any], shift: NDArray[np.float64]) -> NDArray[Any]:
    """Move rows to the side; what comes in is what was at the edge."""
    columns = np.arange(image.shape[1])[None, :] - np.rint(shift)[:, None].astype(int)
    return image[np.arange(len(image))[:, None], np.clip(columns, 0, image.shape[1] - 1)]


def upright_boxes(levels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw an upright box around every vertebra that the top or bottom does not cut."""
    from scipy.ndimage import find_objects

    regions = np.zeros(levels.shape, np.uint8)
    wider = rng.uniform(0.0, 0.15)
    for found in find_objects(levels):
        if found is None:
            continue
        rows, columns = found
        margin = round(wider * (columns.stop - columns.start))
        if rows.start == 0 or rows.stop == levels.shape[0]:
            continue  # cut by the edge
        left = max(columns.start - margin, 0)
        regions[rows, left : columns.stop + margin] = UNNAMED_VERTEBRA
    return regions

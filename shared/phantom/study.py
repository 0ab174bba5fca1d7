"""One patient's visit: three projections of one body on one scanner, with truth and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shared.phantom.anatomy.body import Mineral, PointAnatomy, build_anatomy
from shared.phantom.anatomy.metal import place_metal
from shared.phantom.anatomy.solid import Floats
from shared.phantom.anatomy.vertebra import end_plates
from shared.phantom.imaging.acquisition import scan
from shared.phantom.imaging.outlines import Codes, hip_regions, lateral_regions, spine_regions
from shared.phantom.imaging.physics import Crossed
from shared.phantom.imaging.projection import Frame, project
from shared.phantom.imaging.scanner import ScannerProfile
from shared.records import DXA_VIEWS, View
from shared.regions import LUMBAR, REGION_CODES
from shared.seeds import numpy_generator

from .labels import body_events, label_study, region_means
from .population import PopulationProfile, draw_patient
from .rendered import RenderedImage, RenderedStudy
from .truth import heights, landmarks_of, minerals, scale_mineral

#: Rows and columns of each field, mm; the spine's length follows the patient's.
FIELD: Final = {
    View.SPINE_PA: (200.0, 180.0),
    View.HIP_LEFT: (160.0, 150.0),
    View.SPINE_LATERAL: (440.0, 200.0),
}
#: Share of scans that go wrong (anatomy.md).
MOTION_SHARE: Final = 0.025
METAL_SHARE: Final = 0.03
CUT_OFF_SHARE: Final = 0.02


@dataclass(frozen=True)
class Situation:
    """How a visit went: fields, what moved, metal in the body."""

    frames: Mapping[View, Frame]
    moving: frozenset[View]
    metal: Mineral | None
    events: tuple[str, ...]


def render_study(
    number: int, seed: int, scanner: ScannerProfile, population: PopulationProfile
) -> RenderedStudy:
    """Render one digital patient as a scanner sees it.

    Parameters
    ----------
    number : int
        Number of the patient within the seed.
    seed : int
        Seed of the population.
    scanner : ScannerProfile
        The scanner; the body does not depend on it.
    population : PopulationProfile
        Who comes.

    Returns
    -------
    RenderedStudy
        The same arguments give the same bytes.
    """
    patient = draw_patient(number, seed, population)
    anatomy = build_anatomy(patient)
    scaled = scale_mineral(anatomy)
    rng = numpy_generator(seed, "visit", population.name, scanner.name, number)
    situation = arrange(anatomy, scanner, rng)
    bones = minerals(anatomy, scaled)
    images = {}
    truth = dict(scaled.bmd)
    for view in DXA_VIEWS:
        images[view], own = render_view(anatomy, bones, situation, scanner, view, rng)
        if view is not View.SPINE_LATERAL:  # BMD is reported from PA views
            truth.update(own)
    maps = {view: image.regions for view, image in images.items()}
    metal = _under_metal(situation, maps[View.SPINE_PA])
    labels = label_study(anatomy, truth, maps, metal, situation.moving, scanner, rng)
    events = (*body_events(anatomy), *situation.events)
    return RenderedStudy(
        patient_number=number,
        seed=seed,
        vendor=scanner.vendor,
        covariates=patient.covariates,
        images=images,
        labels=labels,
        true_bmd=truth,
        heights_mm=heights(anatomy),
        events=events,
    )


def arrange(anatomy: PointAnatomy, scanner: ScannerProfile, rng: np.random.Generator) -> Situation:
    """Draw how the visit goes: positioning, motion, metal, cut-off field."""
    events: list[str] = []
    frames = {}
    for view in DXA_VIEWS:
        frame = _frame(anatomy, scanner, view, rng)
        if view is View.SPINE_PA and rng.random() < CUT_OFF_SHARE:
            frame = _cut(anatomy, frame, low=rng.random() < 0.5)
            events.append("cut_off")
        frames[view] = frame
    moving = frozenset(view for view in DXA_VIEWS if rng.random() < MOTION_SHARE)
    events.extend(f"motion:{view}" for view in DXA_VIEWS if view in moving)
    metal = None
    if rng.random() < METAL_SHARE:
        metal, what = place_metal(anatomy, rng)
        events.append(what)
    return Situation(frames, moving, metal, tuple(events))


def _frame(
    anatomy: PointAnatomy, scanner: ScannerProfile, view: View, rng: np.random.Generator
) -> Frame:
    """Field of a view with a technologist's spread of positioning."""
    height, width = FIELD[view]
    bodies = anatomy.vertebrae
    if view is not View.HIP_LEFT:
        # the technologist ends the scan by the patient's length, in steps of 10 mm
        first, below = ("T12", 45.0) if view is View.SPINE_PA else ("T4", 85.0)
        length = float(bodies["L5"].centre[2] - bodies[first].centre[2]) + below
        height = float(np.clip(10 * round(length / 10), 0.85 * height, 1.1 * height))
    rows, cols = round(height / scanner.spacing_mm[0]), round(width / scanner.spacing_mm[1])
    down, across = np.clip(rng.normal(0, 1, 2), -2.2, 2.2)
    if view is View.SPINE_PA:
        middle = float(np.mean([bodies[level].centre[0] for level in LUMBAR]))
        top = float(bodies["T12"].centre[2]) - 3 + 4 * down
        left = middle - width / 2 + 7 * across
    elif view is View.HIP_LEFT:
        head = anatomy.femur.head
        top, left = float(head[2]) - 48 + 4 * down, float(head[0]) - 58 + 5 * across
    else:
        ys = [body.centre[1] for body in bodies.values()]
        top = float(bodies["T4"].centre[2]) - 22 + 4 * down
        left = (min(ys) + max(ys)) / 2 - 118 + 5 * across
    return Frame(view, top, left, (rows, cols), scanner.spacing_mm)


def _cut(anatomy: PointAnatomy, frame: Frame, *, low: bool) -> Frame:
    """A field that lies too low and begins within L1, or too high and ends within L4."""
    if low:
        return replace(frame, top=float(anatomy.vertebrae["L1"].centre[2]))
    length = frame.shape[0] * frame.spacing[0]
    return replace(frame, top=float(anatomy.vertebrae["L4"].centre[2]) - length)


def cross(
    bones: Mapping[str, Mineral], anatomy: PointAnatomy, frame: Frame
) -> tuple[Crossed, Floats]:
    """What every ray of a frame crosses, and the femur's own mineral (zeros elsewhere)."""
    points, mass = _in_frame(bones, frame)
    bone = project(frame, points, mass)
    own = np.zeros(frame.shape, np.float32)
    if frame.view is View.HIP_LEFT:
        own = project(frame, bones["femur_left"].points, bones["femur_left"].mass)
        bone = bone + own
    trunk = anatomy.soft_tissue
    along = trunk.along_x if frame.view is View.SPINE_LATERAL else trunk.along_y
    lean, fat = along(frame.rows, frame.columns)
    # hydroxyapatite (3.1 g/cm³) takes the place of tissue
    left = 1 - bone * np.float32(1 / 3.1) / np.maximum(lean + fat, np.float32(1.0))
    left = np.clip(left, 0.2, 1.0)
    return Crossed(bone, lean * left, fat * left), own


def _in_frame(bones: Mapping[str, Mineral], frame: Frame) -> tuple[Floats, Floats]:
    """Points and masses of the bones that a view can show (a hip's femur apart)."""
    if frame.view is View.SPINE_PA:
        names = [n for n in bones if n in _PA_BONES]
    elif frame.view is View.HIP_LEFT:
        names = ["hip_left", "sacrum"]
    else:
        names = [n for n in bones if not n.startswith("femur")]
    points = np.concatenate([bones[name].points for name in names])
    return points, np.concatenate([bones[name].mass for name in names])


_PA_BONES: Final = frozenset(
    ["T10", "T11", "T12", *LUMBAR, "L5", "sacrum", "hip_left", "hip_right", "aorta"]
    + [f"rib_{n}_{side}" for n in (8, 9, 10, 11, 12) for side in ("left", "right")]
)


def render_view(
    anatomy: PointAnatomy,
    bones: Mapping[str, Mineral],
    situation: Situation,
    scanner: ScannerProfile,
    view: View,
    rng: np.random.Generator,
) -> tuple[RenderedImage, dict[str, float]]:
    """Render one projection of a visit.

    Returns
    -------
    image : RenderedImage
    truth : dict of str to float
        Areal BMD of the bone itself, g/cm², inside each region that is whole.
    """
    frame = situation.frames[view]
    crossed, femur = cross(bones, anatomy, frame)
    regions = _regions(anatomy, frame, femur)
    truth = region_means(femur if view is View.HIP_LEFT else crossed.bone, regions)
    if situation.metal is not None:
        metal = project(frame, situation.metal.points, situation.metal.mass)
        crossed = replace(crossed, bone=crossed.bone + metal)
    image, _ = scan(crossed, regions, frame, scanner, rng, moving=view in situation.moving)
    return image, truth


def _under_metal(situation: Situation, regions: Codes) -> frozenset[str]:
    """Lumbar regions that metal lies over."""
    if situation.metal is None:
        return frozenset()
    frame = situation.frames[View.SPINE_PA]
    codes = regions[project(frame, situation.metal.points, situation.metal.mass) > 0.1]
    return frozenset(level for level in LUMBAR if (codes == REGION_CODES[level]).any())


def _regions(anatomy: PointAnatomy, frame: Frame, femur: Floats) -> Codes:
    if frame.view is View.SPINE_PA:
        return spine_regions(anatomy.vertebrae, frame)
    if frame.view is View.SPINE_LATERAL:
        return lateral_regions(anatomy.vertebrae, frame, end_plates)
    return hip_regions(landmarks_of(anatomy.femur), frame, femur)

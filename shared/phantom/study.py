"""One patient's visit: three projections of one body on one scanner, with truth and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shared.clinical.cross_calibration import standardised_bmd, vendor_bmd
from shared.records import StudyLabels, Vendor, View
from shared.regions import BMD_REGIONS, LUMBAR, REGION_CODES, VERTEBRAE, codes_of
from shared.seeds import numpy_generator

from .acquisition import expose, move, show, stepped_hip, stepped_margins
from .anatomy import Anatomy, Mineral, build_anatomy
from .physics import Crossed
from .population import PopulationProfile, draw_patient
from .projection import Frame, project
from .rendered import RenderedImage, RenderedStudy
from .scanner import ScannerProfile
from .solid import Floats, even_points, vector
from .truth import (
    Codes,
    heights,
    hip_regions,
    lateral_regions,
    minerals,
    scale_mineral,
    spine_regions,
)

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
#: In vivo precision as a share of BMD (about 0.010–0.012 g/cm²).
PRECISION: Final = 0.010


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
    for view in View:
        images[view], own = render_view(anatomy, bones, situation, scanner, view, rng)
        if view is not View.SPINE_LATERAL:  # BMD is reported from PA views
            truth.update(own)
    labels = _labels(anatomy, truth, situation, scanner, images, rng)
    events = (*_body_events(anatomy), *situation.events)
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


def arrange(anatomy: Anatomy, scanner: ScannerProfile, rng: np.random.Generator) -> Situation:
    """Draw how the visit goes: positioning, motion, metal, cut-off field."""
    events: list[str] = []
    frames = {}
    for view in View:
        frame = _frame(anatomy, scanner, view, rng)
        if view is View.SPINE_PA and rng.random() < CUT_OFF_SHARE:
            low = rng.random() < 0.5
            frame = replace(frame, top=frame.top + (45.0 if low else -40.0))
            events.append("cut_off")
        frames[view] = frame
    moving = frozenset(view for view in View if rng.random() < MOTION_SHARE)
    events.extend(f"motion:{view}" for view in View if view in moving)
    metal = None
    if rng.random() < METAL_SHARE:
        metal, what = _metal(anatomy, rng)
        events.append(what)
    return Situation(frames, moving, metal, tuple(events))


def _frame(
    anatomy: Anatomy, scanner: ScannerProfile, view: View, rng: np.random.Generator
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


def cross(bones: Mapping[str, Mineral], anatomy: Anatomy, frame: Frame) -> tuple[Crossed, Floats]:
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
    anatomy: Anatomy,
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
    truth = _truth(femur if view is View.HIP_LEFT else crossed.bone, regions)
    if situation.metal is not None:
        metal = project(frame, situation.metal.points, situation.metal.mass)
        crossed = replace(crossed, bone=crossed.bone + metal)
    if view in situation.moving:
        crossed = move(crossed, frame, rng)
    exposure = expose(crossed, scanner, view, rng)
    display = show(exposure, scanner, scanner.window[view], rng)
    density = exposure.density * np.float32(scanner.density_scale * scanner.calibration)
    if scanner.stepped_border and view is View.SPINE_PA:
        unscanned = stepped_margins(frame, rng)
        display[unscanned] = np.nan
        density[unscanned] = np.nan
        regions[unscanned] = 0
    if scanner.stepped_border and view is View.HIP_LEFT:
        hidden = ~stepped_hip(crossed.bone, frame)
        display[hidden] = 0.0
        density[hidden] = 0.0
    return RenderedImage(density, display, regions, scanner.spacing_mm), truth


def _truth(bone: Floats, regions: Codes) -> dict[str, float]:
    """Areal BMD inside the regions of a map that are whole, g/cm²."""
    present = [r for r in BMD_REGIONS if all((regions == c).any() for c in codes_of(r))]
    return {
        region: float(bone[np.isin(regions, codes_of(region))].mean(dtype=np.float64))
        for region in present
        if _complete(regions, region)
    }


def _regions(anatomy: Anatomy, frame: Frame, femur: Floats) -> Codes:
    if frame.view is View.SPINE_PA:
        return spine_regions(anatomy, frame)
    if frame.view is View.SPINE_LATERAL:
        return lateral_regions(anatomy, frame)
    return hip_regions(anatomy, frame, femur)


def _metal(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Mineral, str]:
    """Surgical clips or an interbody cage, as the mineral that attenuates as much."""
    if rng.random() < 0.3:
        level = str(rng.choice(["L3", "L4"]))
        body = anatomy.vertebrae[level]
        foot = body.centre + body.rotation[:, 2] * np.float32(
            body.shape.middle / 2 + body.disc_below / 2
        )
        cube = even_points(6000) - 0.5
        local = cube * vector(26, 22, max(body.disc_below, 6))
        return Mineral(local @ body.rotation.T + foot, np.full(6000, 9.0 / 6000, np.float32)), (
            f"metal:cage:{level}"
        )
    parts, masses = [], []
    for _ in range(int(rng.integers(1, 5))):
        angle = rng.uniform(0, np.pi)
        rod = (even_points(600) - 0.5) * vector(7, 1.5, 1.5)
        turn = np.array(
            [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        )
        place = vector(rng.uniform(-60, 60), rng.uniform(-90, -45), rng.uniform(-60, 110))
        parts.append(np.float32(rod @ turn.T) + place)
        masses.append(np.full(600, 0.25 / 600, np.float32))
    return Mineral(np.concatenate(parts), np.concatenate(masses)), "metal:clip"


def _body_events(anatomy: Anatomy) -> tuple[str, ...]:
    """What is out of the ordinary in the body itself."""
    patient = anatomy.patient
    events = []
    for level, finding in sorted(patient.findings.items()):
        if finding.grade:
            events.append(f"fracture:{level}:{finding.grade}")
        else:
            events.append(f"deformity:{level}")
    events.extend(f"degenerative:{level}" for level in sorted(patient.degenerative))
    if abs(patient.scoliosis) > 10:
        events.append("scoliosis")
    if patient.aortic_calcium > 0.4:
        events.append("aortic_calcification")
    return tuple(events)


def _labels(
    anatomy: Anatomy,
    truth: Mapping[str, float],
    situation: Situation,
    scanner: ScannerProfile,
    images: Mapping[View, RenderedImage],
    rng: np.random.Generator,
) -> StudyLabels:
    """Labels as the hospital has them: on the vendor's scale, with a technologist's error."""
    patient = anatomy.patient
    quality: dict[str, int] = {}
    complete = {}
    pa, hip = images[View.SPINE_PA], images[View.HIP_LEFT]
    metal = _metal_regions(situation, pa)
    for region in BMD_REGIONS:
        image = pa if region in LUMBAR or region == "L1-L4" else hip
        complete[region] = _complete(image.regions, region)
    for level in LUMBAR:
        finding = patient.findings.get(level)
        quality[level] = 0
        if not complete[level]:
            quality[level] = 4
        elif level in metal:
            quality[level] = 1
        elif View.SPINE_PA in situation.moving:
            quality[level] = 5
        elif level in patient.degenerative or (finding is not None and finding.grade):
            quality[level] = 6
        elif patient.bmi > 41:
            quality[level] = 3
    moved = View.HIP_LEFT in situation.moving
    for region in ("femoral_neck", "trochanter", "total_hip"):
        quality[region] = 4 if not complete[region] else 5 if moved else 0
    bmd: dict[str, float] = {}
    for region in BMD_REGIONS:
        usable = complete[region] and region not in metal
        if region == "L1-L4":
            usable = all(quality[level] not in (1, 4) for level in LUMBAR)
        if not usable:
            continue
        standard = standardised_bmd(truth[region], Vendor.HOLOGIC, region)
        value = vendor_bmd(standard, scanner.vendor, region) * scanner.calibration
        bmd[region] = round(float(value * (1 + PRECISION * rng.normal())), 3)
    genant = {}
    lateral = images[View.SPINE_LATERAL].regions
    for level in VERTEBRAE:
        if _complete(lateral, level):
            finding = patient.findings.get(level)
            genant[level] = finding.grade if finding else 0
    return StudyLabels(bmd=bmd, genant=genant, quality=quality)


def _complete(regions: Codes, region: str) -> bool:
    """Whether a region is in the field as a whole: present and not at its upper or lower edge."""
    inside = np.isin(regions, codes_of(region))
    at_edge = inside[0].any() or inside[-1].any() or inside[:, 0].any() or inside[:, -1].any()
    return bool(inside.any() and not at_edge)


def _metal_regions(situation: Situation, image: RenderedImage) -> frozenset[str]:
    """Lumbar regions that metal lies over."""
    if situation.metal is None:
        return frozenset()
    frame = situation.frames[View.SPINE_PA]
    codes = image.regions[project(frame, situation.metal.points, situation.metal.mass) > 0.1]
    return frozenset(level for level in LUMBAR if (codes == REGION_CODES[level]).any())

"""What the hospital knows of a digital patient: labels, quality codes and the events of a visit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np

from shared.clinical.cross_calibration import standardised_bmd, vendor_bmd
from shared.phantom.anatomy.body import WRONG_ROTATION, PointAnatomy
from shared.phantom.imaging.outlines import Codes
from shared.phantom.imaging.scanner import ScannerProfile
from shared.phantom.solids.distance import Floats
from shared.records import StudyLabels, Vendor, View
from shared.regions import BMD_REGIONS, LUMBAR, VERTEBRAE, codes_of

from .population import VertebralFinding


class ExaminedBody(Protocol):
    """What a hospital notices of a patient, of either generator."""

    @property
    def findings(self) -> Mapping[str, VertebralFinding]:
        """Losses of height by level."""

    @property
    def degenerative(self) -> Mapping[str, float]:
        """Marked degeneration by lumbar level."""

    @property
    def bmi(self) -> float:
        """Body mass index, kg/m²."""


#: In vivo precision, RMS-SD as a share of BMD (about 0.010–0.012 g/cm²): what two
#: regions of one scan share, and what each has of its own.
SHARED_PRECISION: Final = 0.008
OWN_PRECISION: Final = 0.006
#: Body mass index from which scans are too noisy to be valid [U].
OBESITY: Final = 41.0
#: NHANES quality codes (design/clinical.md).
VALID, OBJECTS, NOISE, AREA, MOVEMENT, CHANGED = 0, 1, 3, 4, 5, 6


def is_whole(regions: Codes, region: str) -> bool:
    """Whether every part of a region is in the field and none touches its edge."""
    if not all((regions == code).any() for code in codes_of(region)):
        return False
    inside = np.isin(regions, codes_of(region))
    at_edge = inside[0].any() or inside[-1].any() or inside[:, 0].any() or inside[:, -1].any()
    return not bool(at_edge)


def region_means(image: Floats, regions: Codes, *, whole: bool = True) -> dict[str, float]:
    """Mean of an image in each region of `BMD_REGIONS` that is there; if `whole`, as a whole."""
    found = {}
    for region in BMD_REGIONS:
        inside = np.isin(regions, codes_of(region))
        if inside.any() and (not whole or is_whole(regions, region)):
            found[region] = float(image[inside].mean(dtype=np.float64))
    return found


def quality_codes(
    patient: ExaminedBody,
    maps: Mapping[View, Codes],
    metal: frozenset[str],
    moving: frozenset[View],
) -> dict[str, int]:
    """NHANES quality codes of L1..L4 and of the hip's regions.

    Parameters
    ----------
    patient : ExaminedBody
        For degeneration, fractures and weight.
    maps : mapping of View to ndarray of uint8
        Region maps of what was scanned.
    metal : frozenset of str
        Regions that metal lies over.
    moving : frozenset of View
        Views during which the patient moved.
    """
    codes: dict[str, int] = {}
    for level in LUMBAR:
        finding = patient.findings.get(level)
        fractured = finding is not None and finding.grade > 0
        if not is_whole(maps[View.SPINE_PA], level):
            codes[level] = AREA
        elif level in metal:
            codes[level] = OBJECTS
        elif View.SPINE_PA in moving:
            codes[level] = MOVEMENT
        elif fractured or level in patient.degenerative:
            codes[level] = CHANGED
        else:
            codes[level] = NOISE if patient.bmi > OBESITY else VALID
    moved = View.HIP_LEFT in moving
    for region in ("femoral_neck", "trochanter", "total_hip"):
        whole = is_whole(maps[View.HIP_LEFT], region)
        if region in metal:
            codes[region] = OBJECTS
        else:
            codes[region] = AREA if not whole else MOVEMENT if moved else VALID
    return codes


def reported_bmd(
    truth: Mapping[str, float],
    quality: Mapping[str, int],
    scanner: ScannerProfile,
    rng: np.random.Generator,
    precision: tuple[float, float] = (SHARED_PRECISION, OWN_PRECISION),
) -> dict[str, float]:
    """BMD as the vendor's software reports it, g/cm² on the vendor's scale.

    `precision` is the error of one visit as a share of BMD (SD): what regions of one scan
    share, and what each has of its own. A region that is cut off or under metal is not
    reported, and L1–L4 only when all four are.
    """
    shared = {"spine": rng.normal(), "hip": rng.normal()}
    reported = {}
    for region in BMD_REGIONS:
        spine = region in LUMBAR or region == "L1-L4"
        own = rng.normal()
        parts = LUMBAR if region == "L1-L4" else (region,)
        if any(quality[part] in (OBJECTS, AREA) for part in parts):
            continue
        error = precision[0] * shared["spine" if spine else "hip"]
        error += 0.0 if region == "L1-L4" else precision[1] * own
        standard = standardised_bmd(truth[region], Vendor.HOLOGIC, region)
        value = vendor_bmd(standard, scanner.vendor, region) * scanner.calibration
        reported[region] = round(float(value * (1 + error)), 3)
    return reported


def genant_grades(patient: ExaminedBody, lateral: Codes) -> dict[str, int]:
    """Genant grades of the vertebrae that are in the lateral field as a whole."""
    grades = {}
    for level in VERTEBRAE:
        if is_whole(lateral, level):
            finding = patient.findings.get(level)
            grades[level] = finding.grade if finding is not None else 0
    return grades


def label_study(
    anatomy: PointAnatomy,
    truth: Mapping[str, float],
    maps: Mapping[View, Codes],
    metal: frozenset[str],
    moving: frozenset[View],
    scanner: ScannerProfile,
    rng: np.random.Generator,
) -> StudyLabels:
    """All labels of one study; parameters as in `quality_codes` and `reported_bmd`."""
    quality = quality_codes(anatomy.patient, maps, metal, moving)
    return StudyLabels(
        bmd=reported_bmd(truth, quality, scanner, rng),
        genant=genant_grades(anatomy.patient, maps[View.SPINE_LATERAL]),
        quality=quality,
    )


def finding_events(patient: ExaminedBody) -> list[str]:
    """Losses of height and marked degeneration, as events."""
    events = [
        f"fracture:{level}:{finding.grade}" if finding.grade else f"deformity:{level}"
        for level, finding in sorted(patient.findings.items())
    ]
    return events + [f"degenerative:{level}" for level in sorted(patient.degenerative)]


def body_events(anatomy: PointAnatomy) -> tuple[str, ...]:
    """What is out of the ordinary in the body and in how it lies."""
    patient = anatomy.patient
    events = finding_events(patient)
    if abs(patient.scoliosis) > 10:
        events.append("scoliosis")
    if patient.aortic_calcium > 0.4:
        events.append("aortic_calcification")
    for view, degrees in anatomy.rotation_degrees.items():
        if abs(degrees) > WRONG_ROTATION[view]:
            events.append(f"rotation:{view}")
    return tuple(events)

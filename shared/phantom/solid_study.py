"""One person's DXA visit, made from the solid anatomy: three views, truth and labels.

The same `RenderedStudy` as the first generator's (`study.render_study`), so that writers, tables
and tasks need not know which made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.phantom.imaging.dxa.fields import seen_from
from shared.phantom.imaging.dxa.objects import place_objects
from shared.phantom.imaging.dxa.placed import heights_of
from shared.phantom.imaging.dxa.scan import ScannedView, cross_view, take_view
from shared.phantom.imaging.dxa.visit import WRONG_ROTATION, DxaVisit, draw_visit
from shared.phantom.imaging.outlines import Codes
from shared.phantom.imaging.scanner import ScannerProfile
from shared.phantom.person.covariates import PopulationProfile
from shared.phantom.person.fractures import VertebralFinding
from shared.phantom.person.generator import GeneratorSettings
from shared.phantom.person.person import Person, draw_person
from shared.phantom.solids.anatomy import Anatomy, build_anatomy
from shared.phantom.solids.distance import Floats
from shared.records import DXA_VIEWS, StudyLabels, View
from shared.regions import BMD_REGIONS, LUMBAR, NUMBER_OF_CODES, REGION_CODES, codes_of
from shared.seeds import numpy_generator

from .labels import finding_events, genant_grades, quality_codes, region_means, reported_bmd
from .rendered import RenderedStudy

#: [U] Severity from which an operator notes degeneration (`person.degeneration`).
MARKED: Final = 0.3
#: Metal from which a region is not measured, g/cm².
METAL_SEEN: Final = 0.1
#: A vendor's scale is set on people: on average over them what is measured is what is there. Fat
#: over, beside and in the bone takes away so much of each part (mean over adults,
#: `make verify ONLY=pictures`); what differs between persons stays: the accuracy error.
SCALE: Final = {
    "L1": 1.26, "L2": 1.155, "L3": 1.12, "L4": 1.09,
    "femoral_neck": 1.16, "trochanter": 1.27, "intertrochanteric": 1.06,
}  # fmt: skip
#: Precision that is left beside photons, operator and regions, as shares of BMD (SD): what
#: regions of one scan share, and what each has of its own.
PRECISION: Final = (0.006, 0.003)
HIP_REGIONS: Final = ("femoral_neck", "trochanter", "total_hip")


@dataclass(frozen=True)
class NoticedBody:
    """What a hospital notices of a person (`labels.ExaminedBody`)."""

    findings: Mapping[str, VertebralFinding]
    degenerative: Mapping[str, float]
    bmi: float


def noticed(person: Person) -> NoticedBody:
    """What a hospital notices of a person."""
    worn = {level: person.worn(level).severity for level in LUMBAR}
    return NoticedBody(
        person.findings.vertebrae,
        {level: severity for level, severity in worn.items() if severity >= MARKED},
        person.bmi,
    )


def render_solid_study(
    number: int,
    seed: int,
    scanner: ScannerProfile,
    population: PopulationProfile,
    generator: GeneratorSettings,
) -> RenderedStudy:
    """Render one person's visit.

    Parameters
    ----------
    number : int
        Number of the person within the seed.
    seed : int
        Seed of the population.
    scanner : ScannerProfile
        The scanner; person and visit do not depend on it.
    population : PopulationProfile
        Who comes.
    generator : GeneratorSettings
        `PLAIN` or `NEAR_TO_LIFE`.

    Returns
    -------
    RenderedStudy
        The same arguments give the same bytes. `labels` are what the operator's regions hold of
        what was measured; `true_bmd` is projection alone.
    """

    def stream(purpose: str) -> np.random.Generator:
        return numpy_generator(seed, "dxa", purpose, generator.name, population.name, number)

    person = draw_person(number, seed, population, generator)
    visit = draw_visit(person, generator, stream("visit"))
    anatomy = build_anatomy(person, visit.lie)
    views = scan_visit(anatomy, visit, scanner, stream("objects"), stream(scanner.name))
    maps = {view: one.image.regions for view, one in views.items()}
    body = noticed(person)
    quality = quality_codes(body, maps, _under_metal(views), visit.moving)
    labels = StudyLabels(
        bmd=reported_bmd(_measured(views), quality, scanner, stream("label"), PRECISION),
        genant=genant_grades(body, maps[View.SPINE_LATERAL]),
        quality=quality,
    )
    return RenderedStudy(
        patient_number=number,
        seed=seed,
        vendor=scanner.vendor,
        covariates=person.covariates,
        images={view: one.image for view, one in views.items()},
        labels=labels,
        true_bmd=true_bmd(views),
        heights_mm=heights_of(seen_from(anatomy.skeleton.spine, 0.0)),
        events=events_of(anatomy, visit, body),
    )


def scan_visit(
    anatomy: Anatomy,
    visit: DxaVisit,
    scanner: ScannerProfile,
    objects: np.random.Generator,
    rng: np.random.Generator,
) -> dict[View, ScannedView]:
    """Scan all views of a visit; `objects` places what is worn, `rng` is the scanner's."""
    worn = place_objects(visit.objects, anatomy.tissues, anatomy.skeleton.size, objects)
    found = {}
    for view in DXA_VIEWS:
        rays = cross_view(anatomy, view, scanner.spacing_mm, visit, worn)
        found[view] = take_view(anatomy, rays, visit, scanner, rng)
    return found


def true_bmd(views: Mapping[View, ScannedView]) -> dict[str, float]:
    """Areal BMD by projection inside the true regions that are whole, g/cm²."""
    found: dict[str, float] = {}
    for view in (View.SPINE_PA, View.HIP_LEFT):
        one = views[view]
        bone = one.rays.own if view is View.HIP_LEFT else one.rays.mineral
        found |= region_means(bone, one.image.regions)
    return {region: found[region] for region in BMD_REGIONS if region in found}


def _measured(views: Mapping[View, ScannedView]) -> dict[str, float]:
    """What was measured inside the operator's regions, g/cm² on the anatomy's scale."""
    found: dict[str, float] = {}
    for view in (View.SPINE_PA, View.HIP_LEFT):
        one = views[view]
        found |= region_means(on_vendors_scale(one.measured, one.by_hand), one.by_hand, whole=False)
    return found


def on_vendors_scale(measured: Floats, regions: Codes) -> Floats:
    """What was measured, g/cm² on the anatomy's scale, on a scale that is set on people."""
    factors = np.ones(NUMBER_OF_CODES, np.float32)
    for region, factor in SCALE.items():
        factors[REGION_CODES[region]] = factor
    return measured * factors[regions]


def _under_metal(views: Mapping[View, ScannedView]) -> frozenset[str]:
    """Regions that metal or cement lies over."""
    found = set()
    for view, regions in ((View.SPINE_PA, LUMBAR), (View.HIP_LEFT, HIP_REGIONS)):
        one = views[view]
        codes = one.image.regions[one.rays.metal > METAL_SEEN]
        found |= {region for region in regions if np.isin(codes, codes_of(region)).any()}
    return frozenset(found)


def events_of(anatomy: Anatomy, visit: DxaVisit, body: NoticedBody) -> tuple[str, ...]:
    """What is out of the ordinary in a body and a visit."""
    person = anatomy.person
    events = finding_events(body)
    if abs(person.variants.curves.scoliosis) > 10:
        events.append("scoliosis")
    if person.wear.aortic_calcium > 0.4:
        events.append("aortic_calcification")
    if not person.variants.is_usual:
        events.append("variant")
    turns = {
        View.SPINE_PA: visit.lie.roll_degrees,
        View.HIP_LEFT: visit.lie.leg("left")[0],
        View.SPINE_LATERAL: visit.lateral_roll,
    }
    events += [
        f"rotation:{view}" for view, turn in turns.items() if abs(turn) > WRONG_ROTATION[view]
    ]
    if visit.cut_off is not None:
        events.append("cut_off")
    events += [f"motion:{view}" for view in DXA_VIEWS if view in visit.moving]
    findings = person.findings
    events += [f"metal:screws:{level}" for level in findings.screws]
    events += [f"metal:hip:{side}" for side in findings.hip_implant]
    events += [f"cement:{level}" for level in sorted(findings.cement)]
    events += [f"object:{kind}" for kind in visit.objects]
    return tuple(events)

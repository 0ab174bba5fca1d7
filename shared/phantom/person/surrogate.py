"""Areal BMD of a person without a picture: what projection would give, to first order.

Linear in core, walls, end plates and posterior elements, by powers of the sizes, with the
coefficients of the calibration. Pictures never use it; calibration and cohort checks do, until
and beside the projection of solids. Metal, cement and lesions are left out.
"""

from __future__ import annotations

from shared.regions import LUMBAR

from .calibration import TYPICAL_SIZE, Calibration, LevelProjection, SexCalibration, calibration
from .fractures import VertebralFinding
from .person import Person

#: [U] A fractured body's share of mineral on a smaller area: gain for loss^1.5.
FRACTURE_GAIN = 0.5


def areal_bmd(person: Person, table: Calibration | None = None) -> dict[str, float]:
    """Areal BMD of L1 to L4, of all four, of neck and total hip (left), g/cm².

    Parameters
    ----------
    person : Person
        Whose.
    table : Calibration, optional
        The committed one by default.
    """
    law = (table or calibration()).of(person.sex)
    found, areas = {}, {}
    for level in LUMBAR:
        found[level], areas[level] = _level(person, level, law)
    total = sum(areas.values())
    found["L1-L4"] = sum(found[level] * areas[level] for level in LUMBAR) / total
    femur = person.femora["left"]
    grown = person.sizes.femur.size / TYPICAL_SIZE[person.sex]
    for site, part in law.hip.items():
        core = part.head_core * femur.head_core + part.neck_core * femur.neck_core
        core += part.trochanter_core * femur.trochanter_core
        cortex = part.neck_cortex * femur.neck_cortex + part.cortex * femur.cortex
        found[site] = core * grown + cortex + part.rest
    return found


def _level(person: Person, level: str, law: SexCalibration) -> tuple[float, float]:
    """Areal BMD in g/cm² and area in cm² of a lumbar level."""
    part: LevelProjection = law.levels[level]
    size, density, wear = person.sizes.levels[level], person.levels[level], person.worn(level)
    typical = TYPICAL_SIZE[person.sex]
    sides = (size.width / typical, size.depth / typical, size.height / typical)

    def grown(name: str) -> float:
        w, d, h = law.exponents[name]
        return float(sides[0] ** w * sides[1] ** d * sides[2] ** h)

    arch = density.arch + wear.facets
    area = part.area * sides[0] * sides[2]
    areal = density.core * (part.core + part.arch_core * arch) * grown("core")
    areal += part.wall * density.wall * grown("wall")
    areal += part.plate * (density.plate + wear.sclerosis) * grown("plate")
    areal += part.arch * arch * grown("arch") + part.rest
    areal += (wear.osteophytes_g + person.wear.aorta_g[level]) / area
    return areal * _gain(person.findings.vertebrae.get(level)), area


def _gain(finding: VertebralFinding | None) -> float:
    if finding is None or not finding.grade:
        return 1.0
    return float(1 + FRACTURE_GAIN * max(finding.anterior, finding.middle) ** 1.5)

"""Pictures of whole anatomies agree with each other and with what they are made of.

For each of 200 persons: three DXA views without and with what goes wrong on a visit, the same
lumbar vertebra by film and CT, a slice through L1, and what the labels make of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial as given
from typing import Any, Final

import numpy as np

from shared.phantom.imaging.acquisition import expose
from shared.phantom.imaging.crossing import cross_bones
from shared.phantom.imaging.ct.of_anatomy import scene_of
from shared.phantom.imaging.ct.scanner import CT_SCANNERS, CtProtocol
from shared.phantom.imaging.ct.stack import SliceStack
from shared.phantom.imaging.ct.volume import acquire
from shared.phantom.imaging.dxa.fields import field_of, rays_of, seen_from
from shared.phantom.imaging.dxa.looks import SOLID_SCANNERS
from shared.phantom.imaging.dxa.placed import regions_in
from shared.phantom.imaging.dxa.scan import ViewRays, cross_view
from shared.phantom.imaging.dxa.visit import DxaVisit, draw_visit
from shared.phantom.imaging.film.geometry import rays_of_film, set_up
from shared.phantom.imaging.outlines import spine_regions
from shared.phantom.imaging.physics import CALIBRATED, Crossed
from shared.phantom.person.calibration import calibration
from shared.phantom.person.generator import NEAR_TO_LIFE
from shared.phantom.person.person import Person
from shared.phantom.person.targets import target
from shared.phantom.solid_study import SCALE
from shared.phantom.solids.anatomy import Anatomy, build_anatomy
from shared.phantom.solids.bone import mineral_of
from shared.phantom.solids.distance import Floats, floats
from shared.phantom.solids.lattice import straight
from shared.records import View
from shared.regions import HIP, LUMBAR, REGION_CODES, codes_of
from shared.seeds import numpy_generator
from tests.shared.phantom.imaging.bodies import CAREFUL, share_in
from tests.verify.calibration.cohort import draw_cohort
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_least, at_most, within

SEXES: Final = ("F", "M")
SEED: Final = 211
#: Persons of each sex, and of a run.
PERSONS: Final = 100
AT_ONCE: Final = 20
REGIONS: Final = {View.SPINE_PA: (*LUMBAR, "L1-L4"), View.HIP_LEFT: (*HIP, "total_hip")}
LUNAR: Final = SOLID_SCANNERS["lunar"]
CT: Final = CT_SCANNERS["aurora"]
#: Share of fat over which the decomposition is asked.
UNIFORM_FAT: Final = 0.3
MOST_CALIBRATED: Final = CALIBRATED[0][1]
Figures = dict[str, float]


def means(image: Floats, codes: np.ndarray, names: Sequence[str]) -> Figures:
    """Mean of an image in each region."""
    return {name: float(image[np.isin(codes, codes_of(name))].mean()) for name in names}


def seen(anatomy: Anatomy, view: View, visit: DxaVisit = CAREFUL) -> tuple[ViewRays, np.ndarray]:
    """Rays of a view and the regions that the visit's operator draws."""
    rays = cross_view(anatomy, view, LUNAR.spacing_mm, visit)
    femur = anatomy.skeleton.femora["left"]
    return rays, regions_in(rays.frame, rays.bodies, femur, rays.own, visit.hand)


def decomposed(anatomy: Anatomy) -> tuple[Figures, Figures, Figures]:
    """True areal BMD, what is measured over the person's own fat, and the worst decomposition.

    The last by scanner, and apart for regions in which a ray crosses more mineral than a switched
    beam is calibrated for.
    """
    true: Figures = {}
    measured: Figures = {}
    worst: Figures = {}
    for view, names in REGIONS.items():
        rays, codes = seen(anatomy, view)
        bone = rays.own if view is View.HIP_LEFT else rays.mineral
        there = means(bone, codes, names)
        whole = rays.crossed.lean + rays.crossed.fat
        fat = np.float32(UNIFORM_FAT)
        alike = Crossed(rays.crossed.bone, whole * (1 - fat), whole * fat)
        for scanner in ("lunar", "hologic"):
            profile = replace(SOLID_SCANNERS[scanner], spacing_mm=LUNAR.spacing_mm)
            found = means(expose(alike, profile, view, None).density, codes, names)
            for name in names:
                most = float(rays.crossed.bone[np.isin(codes, codes_of(name))].max())
                kind = f"{scanner}, in range" if most <= MOST_CALIBRATED else f"{scanner}, beyond"
                off = abs(found[name] / there[name] - 1)
                worst[kind] = max(worst.get(kind, 0.0), off)
        true |= there
        measured |= means(expose(rays.crossed, LUNAR, view, None).density, codes, names)
    return true, measured, worst


def visited(person: Person, number: int) -> Figures:
    """What one visit measures, with how the person lies and how regions are drawn."""
    generator = NEAR_TO_LIFE
    rng = numpy_generator(SEED, "visit", person.sex, person.number, number)
    visit = draw_visit(person, replace(generator, rarity=0.0), rng)
    anatomy = build_anatomy(person, visit.lie)
    found: Figures = {}
    for view, names in (
        (View.SPINE_PA, ("L1-L4",)),
        (View.HIP_LEFT, ("femoral_neck", "total_hip")),
    ):
        rays, codes = seen(anatomy, view, visit)
        found |= means(expose(rays.crossed, LUNAR, view, rng).density, codes, names)
    return found


def area_errors(anatomy: Anatomy) -> list[float]:
    """Areas of L1 to L4 and of all four on a scanner's pixels over those on fine ones, less 1."""
    bodies = seen_from(anatomy.skeleton.spine, 0.0)
    areas = []
    for spacing in (LUNAR.spacing_mm, (0.25, 0.25)):
        frame = field_of(anatomy.skeleton, bodies, View.SPINE_PA, spacing)
        counts = np.bincount(spine_regions(bodies, frame).ravel(), minlength=17)
        areas.append([counts[REGION_CODES[level]] * spacing[0] * spacing[1] for level in LUMBAR])
    coarse, fine = np.array([[*one, sum(one)] for one in areas])
    return [float(one) for one in coarse / fine - 1]


def height_error(anatomy: Anatomy) -> float:
    """Heights that the solids of two levels show, off those that are said, mm; the worst.

    The outline of each side is asked apart: a level that leans is higher on one of them.
    """
    worst = 0.0
    for level in ("T9", "L2"):
        body = anatomy.skeleton.spine[level]
        shape = body.shape
        u = floats([-0.75, 0.0, 0.4])
        share = share_in(body, body.bone.body or body.bone, u)
        middle = len(share) // 2
        sides = [side.max(axis=0).sum(axis=1) for side in (share[:middle], share[middle:])]
        outline = (sides[0] + sides[1]) / 2 * 0.25
        worst = max(worst, float(np.abs(outline - shape.height_at(u)).max()))
    return worst


def line_errors(anatomy: Anatomy) -> dict[str, float]:
    """Mineral of L3 by CT and by film over that by DXA, less 1."""
    bone = anatomy.skeleton.bone("L3")
    box = anatomy.tissues[0].box
    bodies = seen_from(anatomy.skeleton.spine, 0.0)
    frame = field_of(anatomy.skeleton, bodies, View.SPINE_PA, LUNAR.spacing_mm)
    pixel = LUNAR.spacing_mm[0] * LUNAR.spacing_mm[1]
    flat = float(cross_bones([bone], rays_of(frame, box)).mineral.sum() * pixel)
    place = set_up("ap", box, (-60.0, 60.0, -60.0, 70.0), 1.5, 60_000.0, 70.0)
    film = float(cross_bones([bone], rays_of_film(place, box)).mineral.sum() * 1.5**2)
    side = 1.0
    x, y, z = (
        floats(np.arange(c - half, c + half, side))
        for c, half in zip(bone.centre, (60, 80, 42), strict=True)
    )
    volume = float(mineral_of([bone], straight(z, x, y + np.float32(25))).sum() * side**3 / 10)
    return {"film": film / flat - 1, "volume": volume / flat - 1}


def core_in_ct(anatomy: Anatomy) -> Figures:
    """HU of L1's core in a noise-free slice: off what its density says, and its SD."""
    body = anatomy.skeleton.spine["L1"]
    protocol = CtProtocol(matrix=256, field_mm=192.0, thickness_mm=0.75, increment_mm=0.75)
    centre = (float(body.centre[0]), float(body.centre[1]))
    stack = SliceStack(protocol, float(body.centre[2]) + 3.0, 3, centre)
    middle = list(acquire(scene_of(anatomy), CT, stack, None, ideal=True))[1]
    plane = stack.plane(stack.z_of(1))
    columns, rows = (values.reshape(-1) for values in np.meshgrid(plane.x, plane.y))
    x, y, z = body.bone.frame(columns, rows, np.full_like(rows, stack.z_of(1)))
    distance = body.bone.looked_up(x, y, z)[:, 0]
    deep = (distance < -4.5) & (y < -5) & (np.abs(z) < 6)
    hu = middle.hu.reshape(-1)[deep]
    person = anatomy.person
    said = CT.core_hu(person.levels["L1"].core, 120, person.composition.marrow_fat)
    return {"off": float(hu.mean()) - said, "sd": float(hu.std()), "pixels": float(deep.sum())}


def pictured(person: Person) -> dict[str, Any]:
    """All figures of one person."""
    anatomy = build_anatomy(person)
    true, measured, worst = decomposed(anatomy)
    findings = person.findings
    return {
        "age": person.age_years, "bmi": person.bmi, "sex": person.sex,
        "usual": not (findings.metal or findings.cement or findings.vertebrae),
        "true": true, "measured": measured, "decomposition": worst,
        "visits": [visited(person, number) for number in range(2)],
        "areas": area_errors(anatomy), "heights": height_error(anatomy),
        "lines": line_errors(anatomy), "core": core_in_ct(anatomy),
    }  # fmt: skip


def made(sex: str, start: int, tell: Tell) -> dict[str, Any]:
    """Take all pictures of some persons."""
    people = draw_cohort(sex, SEED, PERSONS)[start : start + AT_ONCE]
    found = []
    for place, person in enumerate(people):
        tell("persons", place / len(people))
        found.append(pictured(person))
    return {"persons": found}


def plan() -> Iterator[Planned]:
    """A run for each twenty persons."""
    for sex in SEXES:
        for start in range(0, PERSONS, AT_ONCE):
            settings = [sex, start, AT_ONCE, SEED, NEAR_TO_LIFE.digest, calibration().digest]
            yield Planned(f"{sex}-{start:03d}", digest_of(settings), given(made, sex, start))


def scale_lines(people: Sequence[dict[str, Any]]) -> list[Line]:
    """What a vendor's scale gives back on average, and the accuracy error that stays."""
    lines = []
    for name, scale in SCALE.items():
        shares = np.array([scale * one["measured"][name] / one["true"][name] for one in people])
        what = f"{name}: measured over true"
        lines.append(within(float(shares.mean()), 0.99, 1.01, f"{what}, mean"))
        lines.append(Line(f"{what}, SD", f"{shares.std():.3f}", "reported", holds=True))
    # as a whole the spine is what its levels are, each with its area
    for name, parts in (("L1-L4", LUMBAR), ("total_hip", HIP)):
        scale = float(np.mean([SCALE[part] for part in parts]))
        shares = np.array([scale * one["measured"][name] / one["true"][name] for one in people])
        what = f"{name}: accuracy error (design: 3 to 5 % [U])"
        lines.append(within(100 * float(shares.std()), 1.5, 5.5, what, 1))
    return lines


def precision_lines(people: Sequence[dict[str, Any]]) -> list[Line]:
    """Coefficient of variation of two visits, root mean square, before the label's own."""
    lines = []
    for name in ("L1-L4", "femoral_neck", "total_hip"):
        pairs = np.array([[visit[name] for visit in one["visits"]] for one in people])
        cv = np.abs(pairs[:, 0] - pairs[:, 1]) / np.sqrt(2) / pairs.mean(axis=1)
        found = float(np.sqrt((cv**2).mean()))
        lines.append(within(100 * found, 0.7, 2.5, f"{name}: precision of two visits, %", 2))
    return lines


def population_lines(people: Sequence[dict[str, Any]]) -> list[Line]:
    """Projected BMD of each sex beside the design's, at the persons' own ages and BMI."""
    lines = []
    for sex in SEXES:
        some = [one for one in people if one["sex"] == sex and one["usual"]]
        for name in ("L1-L4", "femoral_neck", "total_hip"):
            a, b, c, sd = target(sex, name)
            off = [
                one["true"][name] - (a + b * (one["age"] - 65) + c * (one["bmi"] - 24))
                for one in some
            ]
            room = 3.5 * sd / np.sqrt(len(off)) + 0.01
            what = f"{sex}, {name}: projected less the design's, g/cm²"
            lines.append(within(float(np.mean(off)), -room, room, what))
    below = np.mean([one["true"]["femoral_neck"] < one["true"]["total_hip"] for one in people])
    return [*lines, at_least(float(below), 0.95, "neck below total hip")]


def judge(runs: Runs) -> list[Line]:
    """Hold the pictures against each other and against the design."""
    people = [one for run in runs.values() for one in run.figures["persons"]]
    if not people:
        return []
    plain = [one for one in people if one["usual"]]

    def decomposition(kind: str) -> float:
        return 100 * max(float(one["decomposition"].get(kind, 0.0)) for one in plain)

    areas = 100 * np.abs([one["areas"] for one in plain])
    lines = [
        at_most(
            decomposition(f"{scanner}, in range"), 2.0,
            f"{scanner}: decomposition over uniform fat, worst, %", 2,
        )
        for scanner in ("lunar", "hologic")
    ]  # fmt: skip
    beyond = decomposition("hologic, beyond")
    lines += [
        Line(
            f"hologic: the same where a ray crosses more than {MOST_CALIBRATED} g/cm²",
            f"{beyond:.2f}", "reported", holds=True,
        ),
        at_most(float(areas[:, -1].max()), 2.0, "area of L1–L4, worst, %", 2),
        at_most(float(np.quantile(areas[:, :-1], 0.99)), 2.0, "area of a level, 99 of 100, %", 2),
        Line("area of a level, worst, %", f"{areas.max():.2f}", "reported", holds=True),
        at_most(max(float(one["heights"]) for one in plain), 0.5, "heights, worst, mm", 2),
    ]  # fmt: skip
    for name in ("film", "volume"):
        off = 100 * max(abs(one["lines"][name]) for one in plain)
        lines.append(at_most(off, 2.0, f"mineral of L3 by {name} and by DXA, worst, %", 2))
    cores = [one["core"] for one in plain if one["core"]["pixels"] >= 60]
    off_mean = float(np.mean([one["off"] for one in cores]))
    off_most = max(abs(one["off"]) for one in cores)
    lines += [
        within(off_mean, -3.0, 3.0, "HU of L1's core less what its density says, mean", 1),
        at_most(off_most, 25.0, "the same of one slice, which has its own texture, worst", 1),
        within(float(np.median([one["sd"] for one in cores])), 12, 30, "SD within the core, HU", 1),
    ]
    return [*lines, *scale_lines(plain), *precision_lines(plain), *population_lines(people)]


TOPIC: Final = Topic(
    "pictures", "DXA, film and CT of 200 whole anatomies agree with what they show.", plan, judge
)

"""Attenuation and mineral by it, against the true mineral of digital patients on four scanners.

Each of 40 near-to-life persons is taken without an injection. Of the first eight, who was drawn
to have one is taken with it, too, and then read as if there were none. The scanners show mineral
3 % too strongly to 5 % too weakly, have offsets and answers to the tube voltage of their own, and
nobody tells the reading any of it. Outlines are the true ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial as given
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.clinical.attenuation import mineral_of
from shared.findings.attenuation import LEVELS, SeriesAttenuation, read_attenuation
from shared.phantom.imaging.ct.scanner import CT_SCANNERS
from shared.phantom.imaging.ct.stack import SliceStack
from shared.phantom.person.calibration import calibration
from shared.phantom.person.generator import NEAR_TO_LIFE
from shared.phantom.solid_ct import CtExamination, draw_examination
from shared.phantom.solid_ct_source import CT_VERSION, volume_of
from shared.records import VolumeRecord
from shared.seeds import numpy_generator
from tests.verify.pages import table_of
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_least, at_most

SEED: Final = 307
RUNS: Final = 10
SCANNERS: Final = tuple(sorted(CT_SCANNERS))
#: Runs whose persons are taken with their injection, too.
ENHANCED: Final = range(2)
#: Slices so far beyond the middles of T12 and L4 are taken, mm: their processes are in them.
ABOUT_MM: Final = 45.0
#: The middle of a vertebra as a version outlines it: below and above its middle slice, mm.
SLAB_MM: Final = (7.5, 4.5)
#: What a median attenuation must have to do with the mineral that is there.
LEAST_R: Final = 0.95
FIGURES: Final = ("true", "hu", "at_120", "density", "slab")
Figures = dict[str, Any]


def around_levels(one: CtExamination) -> SliceStack:
    """The slices of a series from above T12 to below L4: nothing else is read."""
    stack, spine = one.stack, one.anatomy.skeleton.spine
    step = stack.protocol.increment_mm
    ends = [float(spine[level].centre[2]) for level in (LEVELS[0], LEVELS[-1]) if level in spine]
    first = max(0, math.floor((ends[0] - ABOUT_MM - stack.top) / step))
    last = min(stack.count, math.ceil((ends[-1] + ABOUT_MM - stack.top) / step))
    return replace(stack, top=stack.top + first * step, count=last - first)


def with_slabs(volume: VolumeRecord) -> VolumeRecord:
    """The same series, each vertebra outlined on slices through its middle only."""
    regions = np.zeros_like(volume.regions)
    for level, place in volume.marked_slices.items():
        below, above = (round(one / volume.spacing_mm[0]) for one in SLAB_MM)
        some = slice(max(place - below, 0), place + above + 1)
        if volume.regions is not None and level in LEVELS:
            regions[some] = volume.regions[some]
    return replace(volume, regions=regions)


def read(one: CtExamination, number: int) -> Figures:
    """Figures of a series: by level what is true and what was read, and the calibration."""
    volume = volume_of(one, numpy_generator(SEED, "photons", number))
    unsaid = replace(volume, contrast=False)
    found, slabs = read_attenuation(unsaid), read_attenuation(with_slabs(unsaid))
    mineral = {level.level: level.density for level in slabs.levels}
    person = one.anatomy.person
    return {
        "levels": {
            level.level: {
                "true": 1000 * person.levels[level.level].core,
                "hu": level.core.median_hu,
                "at_120": None if level.at_120 is None else level.at_120.hu,
                "density": None if level.density is None else level.density.value,
                "slab": None if (slab := mineral.get(level.level)) is None else slab.value,
            }
            for level in found.levels
        },
        "left": [gap.why for gap in found.not_assessed],
        **_line(found),
    }


def _line(found: SeriesAttenuation) -> Figures:
    line = found.calibration
    if line is None:
        return {"why": found.not_calibrated}
    return {
        "slope": line.slope, "offset": line.offset_hu, "residual": line.residual_hu,
        "tissues": [line.found.air, line.found.fat, line.found.muscle],
    }  # fmt: skip


def made(run: int, tell: Tell) -> Figures:
    """Take one person on each scanner, without an injection and as it was drawn."""
    found = []
    for place, scanner in enumerate(SCANNERS):
        tell("persons", place / len(SCANNERS))
        number = run * len(SCANNERS) + place
        one = draw_examination(number, SEED, "urban", NEAR_TO_LIFE.name, CT_SCANNERS[scanner])
        one = replace(one, stack=around_levels(one))
        native = replace(one, scene=replace(one.scene, contrast=None))
        protocol, person = one.stack.protocol, one.anatomy.person
        figures: Figures = {
            "scanner": scanner, "kvp": protocol.kvp, "thickness": protocol.thickness_mm,
            "age": person.age_years, "bmi": person.bmi, "native": read(native, number),
        }  # fmt: skip
        if one.scene.contrast is not None and run in ENHANCED:
            figures[one.scene.contrast.name] = read(one, number)
        found.append(figures)
    return {"persons": found}


def plan() -> Iterator[Planned]:
    """A run for each four persons, one on each scanner."""
    for run in range(RUNS):
        settings = [
            run,
            SEED,
            SLAB_MM,
            ABOUT_MM,
            run in ENHANCED,
            CT_VERSION,
            NEAR_TO_LIFE.digest,
            calibration().digest,
        ]
        yield Planned(f"{run:02d}", digest_of(settings), given(made, run))


def columns(persons: Sequence[Figures], phase: str = "native") -> dict[str, NDArray[np.float64]]:
    """`FIGURES` of all levels of persons; what was not read is NaN."""
    levels = [
        level for one in persons if phase in one for level in one[phase]["levels"].values()
    ]  # fmt: skip
    return {
        name: np.array([np.nan if one[name] is None else one[name] for one in levels], float)
        for name in FIGURES
    }


def correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """r over what both have."""
    both = np.isfinite(first) & np.isfinite(second)
    return float(np.corrcoef(first[both], second[both])[0, 1])


def _off(found: Mapping[str, NDArray[np.float64]], name: str = "density") -> NDArray[np.float64]:
    off = found[name] - found["true"]
    return off[np.isfinite(off)]


def _by_mean(persons: Sequence[Figures], name: str) -> NDArray[np.float64]:
    """Mean of a person's levels, (persons,)."""
    means = [np.nanmean(columns([one])[name]) for one in persons if one["native"]["levels"]]
    return np.array(means)


def judge(runs: Runs) -> list[Line]:
    """Hold attenuation against true mineral, and say how far mineral by it is off."""
    persons = [one for run in runs.values() for one in run.figures["persons"]]
    if not persons:
        return []
    usual = [one for one in persons if one["kvp"] == 120]
    at_120, everywhere = columns(usual), columns(persons)
    lines = [
        at_least(correlation(at_120["hu"], at_120["true"]), LEAST_R,
                 f"median HU with true core density, {len(at_120['hu'])} levels at 120 kV, r"),
        at_least(correlation(everywhere["at_120"], everywhere["true"]), LEAST_R,
                 f"HU brought to 120 kV with it, all {len(everywhere['hu'])} levels, r"),
        at_least(correlation(everywhere["density"], everywhere["true"]), LEAST_R,
                 "mineral by internal calibration with it, all levels, r"),
        at_least(correlation(_by_mean(persons, "density"), _by_mean(persons, "true")), LEAST_R,
                 f"the same, means of {len(persons)} persons, r"),
    ]  # fmt: skip
    calibrated = [one for one in persons if "slope" in one["native"]]
    share = len(calibrated) / len(persons)
    lines.append(at_least(share, 0.9, "share of unenhanced series that are calibrated"))
    slabs = everywhere["slab"] - everywhere["density"]
    lines.append(at_most(float(np.nanmax(np.abs(slabs))), 10.0,
                         "mineral inside of slabs less that inside of whole vertebrae, "
                         "mg/cm³, most", 1))  # fmt: skip
    return lines


def tables(runs: Runs) -> str:
    """What must hold, and the errors by scanner, tube voltage and phase."""
    persons = [one for run in runs.values() for one in run.figures["persons"]]
    groups: dict[tuple[str, int], list[Figures]] = defaultdict(list)
    for one in persons:
        groups[one["scanner"], one["kvp"]].append(one)
    rows = [
        "| scanner, kV | persons | levels | mean error, mg/cm³ | SD | without calibration | SD |"
        " residual, HU |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    named = [(f"{name}, {kvp}", some) for (name, kvp), some in sorted(groups.items())]
    for name, some in [*named, ("all", persons)]:
        rows.append(_row(name, some, "native"))
    for phase in ("arterial", "portal venous"):
        some = [one for one in persons if phase in one]
        if some:
            rows.append(_row(f"{phase}, as if unenhanced", some, phase))
            rows.append(_row("the same persons unenhanced", some, "native"))
    return table_of(judge(runs)) + "\n\n" + "\n".join(rows)


def _row(name: str, persons: Sequence[Figures], phase: str) -> str:
    found = columns(persons, phase)
    plain = np.array([mineral_of(hu) for hu in found["at_120"]])
    by_line, without = _off(found), _off({"true": found["true"], "density": plain})
    residuals = [one[phase]["residual"] for one in persons if "residual" in one[phase]]
    return (
        f"| {name} | {len(persons)} | {len(by_line)} | {by_line.mean():+.1f} | "
        f"{by_line.std():.1f} | {without.mean():+.1f} | {without.std():.1f} | "
        f"{np.mean(residuals):.1f} |"
    ).replace("-", "−")


TOPIC: Final = Topic(
    "attenuation",
    "Attenuation of vertebrae, and mineral by internal calibration, against true mineral.",
    plan,
    judge,
    tables,
)

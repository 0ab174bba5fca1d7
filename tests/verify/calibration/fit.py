"""Choose means, slopes and spreads so that projection gives the population.

Each parameter answers for one figure, so that it is moved by what that figure lacks, over and
over, on the same persons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from shared.phantom.person.calibration import (
    Calibration,
    HipProjection,
    LevelProjection,
    SexCalibration,
    Shared,
    Slopes,
)
from shared.phantom.person.degeneration import FACETS, OSTEOPHYTES_G, SCLEROSIS
from shared.phantom.person.densities import (
    CORE_PROFILE,
    CORE_SD,
    FEMUR_BASE,
    KIND_SHARE,
    KINDS,
    LUMBAR_CORE_SD,
    SHELL_BASE,
)
from shared.phantom.person.targets import (
    CORE_WITH_AREAL,
    CORRELATION,
    YOUNG_FACTOR,
    YOUNG_MEAN,
    target,
)
from shared.regions import LUMBAR
from tests.verify.calibration.cohort import (
    SITES,
    Columns,
    columns_of,
    draw_cohort,
    partial,
    regression,
)

SEED: Final = 2026
#: Rounds, and persons from 50 years and of 25 to 40 years in each.
STAGES: Final = ((8, 800, 200), (6, 3000, 700))
#: [U] Women's severity of degeneration for each unit of liability: about half of men's.
WOMEN_WEAR: Final = 0.055
#: [U] How much of degeneration's part in lumbar BMD the femur shares: who has dense bones grows
#: more of it, but it is not in the femur.
WEAR_SHARED: Final = 0.65
Figures = dict[str, float]


def first_guess(
    levels: Mapping[str, LevelProjection],
    exponents: Mapping[str, tuple[float, float, float]],
    hip: Mapping[str, HipProjection],
    sex: str,
) -> SexCalibration:
    """Where the fit begins."""
    return SexCalibration(
        levels=dict(levels),
        exponents=dict(exponents),
        hip=dict(hip),
        shell=Slopes(mean=1.0, age=0.0, bmi=0.01, young=0.1, sd=0.15),
        shell_with_core=0.6,
        degeneration=WOMEN_WEAR if sex == "F" else 0.10,
        shared=Shared(core=0.5, wall=0.1, plate=0.1, arch=0.4, degeneration=0.1),
        hip_with_spine=0.6,
        neck_with_hip=0.75,
        neck_with_spine=0.05,
        total_hip=Slopes(mean=1.0, age=-0.01, bmi=0.01, young=0.1, sd=0.13),
        neck=Slopes(mean=1.0, age=-0.01, bmi=0.01, young=0.1, sd=0.15),
    )


def figures_of(old: Columns, young: Columns, sex: str) -> Figures:
    """All figures that are aimed at, by name."""
    found: Figures = {}
    ages = {site: regression(old, site) for site in SITES}
    for site, one in ages.items():
        found |= {f"{site} a": one.a, f"{site} b": one.b, f"{site} c": one.c, f"{site} sd": one.sd}
        centred = young.areal[site] - target(sex, site)[2] * (young.bmi - 24)
        found[f"{site} young"] = float(centred.mean())
    for a, b in ((0, 1), (0, 2), (1, 2)):
        pair = np.corrcoef(ages[SITES[a]].residual, ages[SITES[b]].residual)
        found[f"{SITES[a]} with {SITES[b]}"] = float(pair[0, 1])
    found["core with areal"] = partial(old.core, old.areal["L1-L4"], old.age)
    return found


def aims_of(sex: str) -> Figures:
    """What each figure is to be."""
    aims: Figures = {}
    for site in SITES:
        aims |= dict(
            zip((f"{site} {k}" for k in ("a", "b", "c", "sd")), target(sex, site), strict=True)
        )
        aims[f"{site} young"] = YOUNG_MEAN[site] * YOUNG_FACTOR[sex]
    for value, (a, b) in zip(CORRELATION[sex], ((0, 1), (0, 2), (1, 2)), strict=True):
        aims[f"{SITES[a]} with {SITES[b]}"] = value
    aims["core with areal"] = CORE_WITH_AREAL[sex]
    return aims


def weighted(law: SexCalibration, values: Mapping[str, float]) -> float:
    """Mean over L1 to L4 by their areas."""
    total = sum(law.levels[level].area for level in LUMBAR)
    return sum(values[level] * law.levels[level].area for level in LUMBAR) / total


def kind_slopes(law: SexCalibration, core: float) -> dict[str, float]:
    """Areal BMD of L1–L4 for a factor 1 of each kind of shell, g/cm²."""
    found = {}
    for kind in KINDS:
        values = {k: getattr(one, kind) for k, one in law.levels.items()}
        if kind == "arch":
            values = {k: v + law.levels[k].arch_core * core for k, v in values.items()}
        found[kind] = weighted(law, values)
    return found


def wear_slope(law: SexCalibration, sex: str, core: float) -> float:
    """Areal BMD of L1–L4 for a severity of 1, g/cm²."""
    kinds = kind_slopes(law, core)
    mass = weighted(law, {k: OSTEOPHYTES_G[sex] / one.area for k, one in law.levels.items()})
    return mass + FACETS * kinds["arch"] + SCLEROSIS * kinds["plate"]


def shared_weights(law: SexCalibration, sex: str, core: float) -> Shared:
    """Weights of the shared factor: as lumbar BMD has them, degeneration a part, SD 1."""
    slope = weighted(
        law,
        {
            k: CORE_PROFILE[k] * (one.core + one.arch_core * SHELL_BASE["arch"])
            for k, one in law.levels.items()
        },
    )
    kinds = kind_slopes(law, core)
    by_core = slope * CORE_SD * LUMBAR_CORE_SD
    by_kind = np.array([kinds[k] * SHELL_BASE[k] * law.shell.sd for k in KINDS])
    by_wear = WEAR_SHARED * wear_slope(law, sex, core) * law.degeneration
    together = KIND_SHARE**2 + (1 - KIND_SHARE**2) * np.eye(3)
    variance = by_core**2 + by_kind @ together @ by_kind + 0.8 * by_wear**2
    variance += 2 * by_core * KIND_SHARE * law.shell_with_core * by_kind.sum()
    wall, plate, arch = (by_kind / np.sqrt(variance)).tolist()
    by_core, by_wear = by_core / np.sqrt(variance), by_wear / np.sqrt(variance)
    return Shared(
        core=float(by_core), wall=wall, plate=plate, arch=arch,
        degeneration=float(by_wear),
    )  # fmt: skip


def _moved(law: Slopes, off: Figures, site: str, slope: float, share: float) -> Slopes:
    """Slopes after one step; `slope` is areal BMD for an index of 1, `off` what figures lack."""
    variance = law.sd**2 + off[f"{site} variance"] / (slope**2 * share)
    return Slopes(
        mean=law.mean + off[f"{site} a"] / slope,
        age=law.age + off[f"{site} b"] / slope,
        bmi=law.bmi + off[f"{site} c"] / slope,
        young=law.young
        + (off[f"{site} young"] - off[f"{site} a"] - 15 * -off[f"{site} b"]) / slope,
        sd=float(np.sqrt(max(variance, 0.25 * law.sd**2))),
    )


def step(law: SexCalibration, sex: str, found: Figures, core: float) -> SexCalibration:
    """One round: move each parameter by what its figure lacks."""
    aims = aims_of(sex)
    off = {name: aims[name] - found[name] for name in aims}
    for site in SITES:
        off[f"{site} variance"] = aims[f"{site} sd"] ** 2 - found[f"{site} sd"] ** 2
    kinds = kind_slopes(law, core)
    shell_slope = sum(kinds[k] * SHELL_BASE[k] for k in KINDS)
    shell = _moved(law.shell, off, "L1-L4", shell_slope, 0.85)
    degeneration = law.degeneration
    if sex == "M":
        # their rise with age is degeneration's and never the cortex's
        shell = shell.model_copy(update={"age": 0.0})
        degeneration += off["L1-L4 b"] / (wear_slope(law, sex, core) * 0.075)
    with_core = law.shell_with_core + 0.8 * off["core with areal"]
    hip_slope, neck_slope = (
        sum(
            getattr(law.hip[site], name) * base * follows
            for name, (base, follows, _) in FEMUR_BASE.items()
            if (site == "femoral_neck") == name.startswith("neck")
        )
        for site in ("total_hip", "femoral_neck")
    )
    law = law.model_copy(
        update={
            "shell": shell,
            "degeneration": max(degeneration, 0.0),
            "shell_with_core": float(np.clip(with_core, 0.0, 0.95)),
            "total_hip": _moved(law.total_hip, off, "total_hip", hip_slope, 0.95),
            "neck": _moved(law.neck, off, "femoral_neck", neck_slope, 0.95),
            "hip_with_spine": min(law.hip_with_spine + 0.8 * off["L1-L4 with total_hip"], 0.95),
            "neck_with_hip": min(
                law.neck_with_hip + 0.8 * off["femoral_neck with total_hip"], 0.98
            ),
            "neck_with_spine": law.neck_with_spine
            + 0.6 * (off["L1-L4 with femoral_neck"] - 0.6 * off["femoral_neck with total_hip"]),
        }
    )
    return law.model_copy(update={"shared": shared_weights(law, sex, core)})


def fit(start: Mapping[str, SexCalibration], tell: Callable[[str], None]) -> Calibration:
    """Fit both sexes from their first guesses."""
    laws = dict(start)
    for sex in laws:
        for rounds, persons, young_persons in STAGES:
            for number in range(rounds):
                table = Calibration(**laws)
                old = columns_of(draw_cohort(sex, SEED, persons, table=table), table)
                youth = draw_cohort(sex, SEED, young_persons, (25.0, 40.0), table=table)
                found = figures_of(old, columns_of(youth, table), sex)
                worst = max(abs(found[k] - v) for k, v in aims_of(sex).items())
                tell(f"{sex}, {persons} persons, round {number + 1}: furthest off {worst:.4f}")
                laws[sex] = step(laws[sex], sex, found, float(old.core.mean()))
    return Calibration(**laws)

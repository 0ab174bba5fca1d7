"""Bone density: cores, cortices, end plates and posterior elements as quantities of their own.

None of them knows areal BMD. They go together by the factors drawn here: a core that neighbours
share, a shell that goes with it in part, femora that share a factor with L1–L4 and have a
residual of their own, and every other bone likewise. Whatever a thoracic level says of the hip
it says through the lumbar spine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.regions import LUMBAR

from .attenuation import mean_core
from .calibration import SexCalibration, Shared

Array = NDArray[np.float64]

#: All levels that a person may have, from the head down.
SPINE: Final = (
    "C7", *(f"T{number}" for number in range(1, 13)), *(f"L{number}" for number in range(1, 7)),
)  # fmt: skip
#: [U] Core density beside that of L1: denser towards the head.
CORE_PROFILE: Final = dict(
    zip(
        SPINE,
        (
            1.62, 1.50, 1.42, 1.36, 1.31, 1.28, 1.25, 1.22, 1.19, 1.16, 1.12, 1.08, 1.04,
            1.00, 0.98, 0.96, 0.97, 0.98, 0.98,
        ),
        strict=True,
    )
)  # fmt: skip
#: [U] SD of L1's core at a given age, g/cm³: 33 HU, of the 35 to 45 in a decade less scanners
#: and less the fall within a decade.
CORE_SD: Final = 0.0238
#: [U] Correlation of the cores of levels d apart: FAR + (1 − FAR)·NEAR^d, which is 0.955 for
#: neighbours and 0.85 from T4 to L1.
FAR: Final = 0.845
NEAR: Final = 0.71
#: No core is below, g/cm³.
LEAST_CORE: Final = 0.012
#: [U] Walls, end plates and posterior elements (arch) at a shell factor of 1, as factors on what
#: the templates call 1: walls of 0.5 mm, end plates of 0.9 mm, and an arch with 40 to 45 % of
#: the mineral in the PA view.
SHELL_BASE: Final = {"wall": 1.2, "plate": 1.6, "arch": 1.2}
KINDS: Final = ("wall", "plate", "arch")
#: [U] How much of a kind's deviation is the shell's, and the spread of single levels in its SD.
KIND_SHARE: Final = 0.85
LEVEL_SHELL: Final = 0.25
#: Least factor of a shell.
LEAST_SHELL: Final = 0.25

#: [U] Femoral densities at an index of 1: cores in g/cm³, cortices as factors on the template's;
#: how strongly each follows its index, and its own spread as a share.
FEMUR_BASE: Final = {
    "head_core": (0.22, 1.0, 0.06), "neck_core": (0.12, 1.3, 0.10),
    "trochanter_core": (0.10, 1.3, 0.08), "neck_cortex": (0.9, 0.8, 0.05),
    "cortex": (0.9, 0.8, 0.03),
}  # fmt: skip
#: [U] Difference of the right femur from the left, as a share (SD).
SIDE_SD: Final = 0.02
#: [U] Other bones: core in g/cm³ at 65 years, its fall a year as a share, its spread as a share,
#: what it shares with the lumbar spine, and with what the femur has beyond that.
OTHER_BONES: Final = {
    "sacrum": (0.085, 0.010, 0.26, 0.60, 0.08), "hip_bones": (0.110, 0.009, 0.22, 0.55, 0.14),
    "ribs": (0.095, 0.008, 0.22, 0.50, 0.04), "sternum": (0.080, 0.010, 0.24, 0.50, 0.04),
    "scapulae": (0.100, 0.007, 0.20, 0.40, 0.05), "clavicles": (0.120, 0.006, 0.20, 0.40, 0.05),
    "humeri": (0.090, 0.010, 0.24, 0.45, 0.08),
}  # fmt: skip
#: [U] Their cortex: spread as a share, share of the core's deviation, fall a year as a share.
OTHER_CORTEX: Final = (0.12, 0.55, 0.003)


@dataclass(frozen=True)
class LevelDensity:
    """One vertebra: core in g/cm³ hydroxyapatite, the rest factors on the template's thickness.

    `arch` is a factor on both cortex and core of the posterior elements.
    """

    core: float
    wall: float
    plate: float
    arch: float


@dataclass(frozen=True)
class FemurDensity:
    """One proximal femur: cores in g/cm³ hydroxyapatite, cortices as factors on the template's."""

    head_core: float
    neck_core: float
    trochanter_core: float
    neck_cortex: float
    cortex: float


@dataclass(frozen=True)
class BoneDensity:
    """Any other bone: core in g/cm³ hydroxyapatite, factor on the template's cortex."""

    core: float
    cortex: float


@dataclass(frozen=True)
class Factors:
    """What is drawn, each with mean 0 and SD 1.

    Attributes
    ----------
    core : ndarray, shape (levels,)
        Of each level of `SPINE`.
    shell : float
        What the shells of a spine have beyond what goes with the core.
    kinds : ndarray, shape (3,)
        Of walls, end plates and arch beyond that.
    levels : ndarray, shape (levels, 3)
        Of single levels beyond that.
    hip, neck : float
        Of the femora beyond the spine, and of the neck beyond the hip.
    femur : ndarray, shape (5,)
        Of the femur's quantities beyond that.
    right : ndarray, shape (5,)
        Of the right femur beyond the left.
    other : ndarray, shape (bones, 2)
        Core and cortex of the bones of `OTHER_BONES`.
    shift : float
        Added to all of a skeleton, in SD of areal BMD (ancestry, menopause).
    """

    core: Array
    shell: float
    kinds: Array
    levels: Array
    hip: float
    neck: float
    femur: Array
    right: Array
    other: Array
    shift: float


def draw_factors(rng: np.random.Generator, shift: float) -> Factors:
    """Draw what bones have in common and of their own."""
    count = len(SPINE)

    def normal(*shape: int) -> Array:
        return np.clip(rng.normal(size=shape), -3.2, 3.2)

    chain = normal(count)
    for place in range(1, count):
        chain[place] = NEAR * chain[place - 1] + np.sqrt(1 - NEAR**2) * chain[place]
    core = np.sqrt(FAR) * normal(1) + np.sqrt(1 - FAR) * chain
    shell, hip, neck = normal(3).tolist()
    return Factors(
        core, shell, normal(3), normal(count, 3), hip, neck,
        normal(len(FEMUR_BASE)), normal(len(FEMUR_BASE)), normal(len(OTHER_BONES), 2), shift,
    )  # fmt: skip


def _lumbar_core_sd() -> float:
    """SD of the mean of the four lumbar core factors."""
    apart = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    return float(np.sqrt((FAR + (1 - FAR) * NEAR**apart).mean()))


LUMBAR_CORE_SD: Final = _lumbar_core_sd()
_LUMBAR_PLACES: Final = [SPINE.index(level) for level in LUMBAR]


@dataclass(frozen=True)
class SpineDeviations:
    """Deviations of a spine in SD: cores (levels,), shells (levels, 3), and L1–L4's means."""

    core: Array
    shells: Array
    lumbar_core: float
    lumbar_shells: Array


def spine_deviations(factors: Factors, shell_with_core: float) -> SpineDeviations:
    """Put the factors of a spine together."""
    core = factors.core + 0.5 * factors.shift
    lumbar = float(core[_LUMBAR_PLACES].mean() / LUMBAR_CORE_SD)
    beyond = float(np.sqrt(1 - shell_with_core**2))
    shell = shell_with_core * lumbar + beyond * factors.shell + 0.5 * factors.shift
    kinds = KIND_SHARE * shell + np.sqrt(1 - KIND_SHARE**2) * factors.kinds
    shells = kinds + LEVEL_SHELL * factors.levels
    return SpineDeviations(core, shells, lumbar, shells[_LUMBAR_PLACES].mean(axis=0))


def draw_levels(
    deviations: SpineDeviations, sex: str, age_years: float, bmi: float, table: SexCalibration
) -> dict[str, LevelDensity]:
    """Densities of all levels of `SPINE`, healthy and without degeneration."""
    core = mean_core(sex, age_years)
    mean, sd = table.shell.at(age_years, bmi), table.shell.sd
    found = {}
    for place, level in enumerate(SPINE):
        profile = CORE_PROFILE[level]
        shells = np.maximum(mean + sd * deviations.shells[place], LEAST_SHELL)
        found[level] = LevelDensity(
            max(profile * (core + CORE_SD * float(deviations.core[place])), LEAST_CORE),
            *(
                SHELL_BASE[kind] * float(value)
                for kind, value in zip(KINDS, shells.tolist(), strict=True)
            ),
        )
    return found


def shared_factor(deviations: SpineDeviations, degeneration: float, weights: Shared) -> float:
    """What femora share with the lumbar spine, in SD; `degeneration` its deviation."""
    wall, plate, arch = deviations.lumbar_shells.tolist()
    return (
        weights.core * deviations.lumbar_core
        + weights.wall * wall
        + weights.plate * plate
        + weights.arch * arch
        + weights.degeneration * degeneration
    )


def hip_deviations(factors: Factors, shared: float, table: SexCalibration) -> tuple[float, float]:
    """Deviations of total hip and neck in SD."""
    hip = table.hip_with_spine * shared
    hip += float(np.sqrt(1 - table.hip_with_spine**2)) * factors.hip + 0.45 * factors.shift
    with_hip, with_spine = table.neck_with_hip, table.neck_with_spine
    known = with_hip**2 + with_spine**2 + 2 * with_hip * with_spine * table.hip_with_spine
    neck = with_hip * hip + with_spine * shared
    neck += float(np.sqrt(max(1 - known, 0.0))) * factors.neck + 0.15 * factors.shift
    return hip, neck


def draw_femora(
    factors: Factors,
    hip: float,
    neck: float,
    age_years: float,
    bmi: float,
    table: SexCalibration,
) -> dict[str, FemurDensity]:
    """Densities of both femora; the right one differs a little."""
    indices = {
        site: law.at(age_years, bmi) + law.sd * z
        for site, law, z in (("hip", table.total_hip, hip), ("neck", table.neck, neck))
    }
    found = {}
    for side, beside in (("left", 0.0), ("right", SIDE_SD)):
        values = []
        for place, (name, (base, follows, spread)) in enumerate(FEMUR_BASE.items()):
            index = indices["neck" if name.startswith("neck") else "hip"]
            own = spread * factors.femur[place] + beside * factors.right[place]
            values.append(base * max(1 + follows * (index - 1) + float(own), 0.1))
        found[side] = FemurDensity(*values)
    return found


def draw_other_bones(
    factors: Factors, shared: float, age_years: float, names: Sequence[str] = tuple(OTHER_BONES)
) -> Mapping[str, BoneDensity]:
    """Densities of sacrum, hip bones, ribs and others, with residuals of their own."""
    spread_cortex, with_core, thinning = OTHER_CORTEX
    found = {}
    for place, name in enumerate(names):
        core, fall, spread, with_spine, with_hip = OTHER_BONES[name]
        own = float(np.sqrt(1 - with_spine**2 - with_hip**2))
        z = with_spine * shared + with_hip * factors.hip + own * factors.other[place, 0]
        old = age_years - 65
        cortex = with_core * z + float(np.sqrt(1 - with_core**2)) * factors.other[place, 1]
        found[name] = BoneDensity(
            max(core * (1 - fall * old + spread * z), LEAST_CORE),
            max(1 - thinning * old + spread_cortex * cortex, 0.4),
        )
    return found

"""Every clinical constant once, as named data with its source and how sure we are of it.

Marks follow the house's convention: `READ` was read in the source named,
`COMPUTED` was computed by us from data or physics, `UNVERIFIED` is common
knowledge of the field that nobody here has checked against its source yet; what
relies on one says so in its docstring and in the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.records import Vendor


class Mark(StrEnum):
    """How a constant came to us."""

    READ = "read in the source"
    COMPUTED = "computed"
    UNVERIFIED = "unverified"


@dataclass(frozen=True)
class YoungReference:
    """Young adults with whom a T-score compares, areal BMD in g/cm², Hologic scale."""

    mean: float
    sd: float
    source: str
    mark: Mark


_LOOKER: Final = "NHANES III, white women aged 20-29 (Looker 1998)"
_HOLOGIC: Final = "Hologic's own reference, white women"

#: ISCD 2023: the white female reference serves women and men of every ethnic
#: group; NHANES III for the hip, the manufacturer's for the spine.
YOUNG_FEMALE: Final[dict[str, YoungReference]] = {
    "L1-L4": YoungReference(1.047, 0.110, _HOLOGIC, Mark.READ),
    "femoral_neck": YoungReference(0.858, 0.120, _LOOKER, Mark.READ),
    "total_hip": YoungReference(0.942, 0.122, _LOOKER, Mark.READ),
    # Of single vertebrae; serve only to find one that does not belong with its
    # neighbours and to combine the rest, never for a diagnosis of one vertebra.
    "L1": YoungReference(0.925, 0.110, _HOLOGIC, Mark.UNVERIFIED),
    "L2": YoungReference(1.028, 0.110, _HOLOGIC, Mark.UNVERIFIED),
    "L3": YoungReference(1.084, 0.110, _HOLOGIC, Mark.UNVERIFIED),
    "L4": YoungReference(1.115, 0.110, _HOLOGIC, Mark.UNVERIFIED),
}

#: Sites from which a diagnosis may be made (ISCD 2023); never Ward's triangle,
#: never the trochanter.
DIAGNOSTIC_REGIONS: Final[tuple[str, ...]] = ("L1-L4", "total_hip", "femoral_neck")


@dataclass(frozen=True)
class AgeCurve:
    """Mean and SD of areal BMD by age, g/cm², Hologic scale.

    Straight lines between `ages` (years); says nothing outside `age_from` to
    `age_to`, and is level between those and the first and last of `ages`.
    """

    ages: tuple[float, ...]
    means: tuple[float, ...]
    sds: tuple[float, ...]
    age_from: float
    age_to: float
    source: str
    mark: Mark


_BANDS: Final = (25.5, 35.5, 45.5, 55.5, 65.5, 75.5)


def _nhanes(means: tuple[float, ...], sds: tuple[float, ...]) -> AgeCurve:
    """Curve through the middles of NHANES' decades 21-30 ... 71-80."""
    source = "NHANES reference values by decade, as printed in PMC12995607, table 3"
    return AgeCurve(_BANDS, means, sds, 20.0, 81.0, source, Mark.READ)


def _korean(at_65: float, per_year: float, sd: float) -> AgeCurve:
    """Line ``at_65 + per_year·(age − 65)`` at a BMI of 24 kg/m², with its residual SD.

    Computed from a public data set whose scale looks like Hologic's. Unverified
    for anyone of another population.
    """
    source = "967 Korean adults aged 50-95, linear fit (data of PLOS ONE e0260924)"
    means = (at_65 - 15 * per_year, at_65 + 30 * per_year)
    return AgeCurve((50.0, 95.0), means, (sd, sd), 50.0, 95.0, source, Mark.UNVERIFIED)


def _young(region: str) -> AgeCurve:
    """Young women's own reference, taken as level up to 50 years (unverified)."""
    young = YOUNG_FEMALE[region]
    source = f"{young.source}, taken as level from 20 to 50"
    return AgeCurve((35.0,), (young.mean,), (young.sd,), 20.0, 50.0, source, Mark.UNVERIFIED)


#: Age curves by sex ("F", "M") and region, the preferred one first. What is not
#: here (a young man's femoral neck) has no Z-score: we have no source for it.
AGE_CURVES: Final[dict[tuple[str, str], tuple[AgeCurve, ...]]] = {
    ("F", "L1-L4"): (
        _nhanes(
            (1.064, 1.065, 1.056, 0.993, 0.952, 0.902), (0.106, 0.110, 0.134, 0.141, 0.142, 0.167)
        ),
        _korean(0.851, -0.0035, 0.130),
    ),
    ("F", "femoral_neck"): (_korean(0.793, -0.0083, 0.124), _young("femoral_neck")),
    ("F", "total_hip"): (_korean(0.744, -0.0070, 0.100), _young("total_hip")),
    ("M", "L1-L4"): (
        _nhanes(
            (1.057, 1.042, 1.051, 1.053, 1.070, 1.068), (0.110, 0.117, 0.129, 0.143, 0.142, 0.177)
        ),
        _korean(1.021, 0.0028, 0.181),
    ),
    ("M", "femoral_neck"): (_korean(0.920, -0.0046, 0.154),),
    ("M", "total_hip"): (
        _nhanes(
            (1.067, 1.029, 1.040, 1.015, 0.997, 0.961), (0.120, 0.134, 0.130, 0.142, 0.137, 0.143)
        ),
        _korean(0.890, -0.0032, 0.120),
    ),
}


@dataclass(frozen=True)
class Line:
    """Standardised BMD = `intercept` + `slope`·BMD, both in g/cm²."""

    intercept: float
    slope: float
    source: str
    mark: Mark


# The constants were read; whose they are (Hanson 1997, Lu 2001) is from memory.
_FEMUR: Final = "sBMD of the femur, ICSBM (Hanson 1997, Lu 2001)"
_HUI: Final = "sBMD of the spine (Hui 1997)"
_SPINE_STANDARD: Final = 1.0436


def _spine(slope: float, centre: float) -> Line:
    """Line of Hui's form, ``slope·(BMD − centre) + 1.0436``."""
    return Line(_SPINE_STANDARD - slope * centre, slope, _HUI, Mark.READ)


#: By vendor, then by region; every lumbar region uses "spine".
STANDARDISATION: Final[dict[Vendor, dict[str, Line]]] = {
    Vendor.HOLOGIC: {
        "spine": _spine(1.0550, 0.972),
        "femoral_neck": Line(0.019, 1.087, _FEMUR, Mark.READ),
        "total_hip": Line(0.006, 1.008, _FEMUR, Mark.READ),
        "trochanter": Line(-0.017, 1.105, _FEMUR, Mark.READ),
    },
    Vendor.LUNAR: {
        "spine": _spine(0.9683, 1.100),
        "femoral_neck": Line(-0.023, 0.939, _FEMUR, Mark.READ),
        "total_hip": Line(-0.031, 0.979, _FEMUR, Mark.READ),
        "trochanter": Line(-0.042, 0.949, _FEMUR, Mark.READ),
    },
}

#: Error of a single patient's BMD after cross-calibration, as a fraction.
CROSS_CALIBRATION_ERROR: Final = 0.035

#: T-scores at and below which the WHO classes begin.
OSTEOPOROSIS_T: Final = -2.5
NORMAL_T: Final = -1.0
#: Z-score at and below which bone mass is below the expected range (unverified).
BELOW_EXPECTED_Z: Final = -2.0
#: T-scores for men from this age on, and for women taken as post-menopausal
#: where nobody said so (unverified).
T_SCORE_AGE: Final = 50.0
#: Below this age the adult references say nothing (ISCD: children are another
#: chapter; unverified).
ADULT_AGE: Final = 20.0
#: A vertebra that differs by more T-score units from its neighbours is left out
#: (unverified).
NEIGHBOUR_LIMIT_T: Final = 1.0
#: Never a diagnosis from one vertebra (ISCD 2023, read).
MINIMUM_VERTEBRAE: Final = 2

#: Worst acceptable LSC of a technologist, as a fraction of BMD (ISCD, unverified).
ACCEPTABLE_LSC: Final[dict[str, float]] = {
    "L1-L4": 0.053,
    "total_hip": 0.050,
    "femoral_neck": 0.069,
}

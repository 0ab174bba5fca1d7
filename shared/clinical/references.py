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
from shared.regions import LUMBAR


class Mark(StrEnum):
    """How a constant came to us."""

    READ = "read in the source"
    COMPUTED = "computed"
    UNVERIFIED = "unverified"


@dataclass(frozen=True)
class YoungReference:
    """Young adults with whom a T-score compares, areal BMD in g/cm² on the scale of `scale`."""

    mean: float
    sd: float
    source: str
    mark: Mark
    scale: Vendor = Vendor.HOLOGIC


_LOOKER: Final = "NHANES III, white women aged 20-29 (Looker 1998)"
_HOLOGIC: Final = "Hologic's own young white women (no T-score that it printed confirms it)"
_GE: Final = "GE Lunar's own young women, on its scale (recovered from printed reports)"

#: Vertebrae that stand together, from cranial to caudal, by the name of what they make up.
COMBINATIONS: Final[dict[str, tuple[str, ...]]] = {
    f"{LUMBAR[first]}-{LUMBAR[last]}": LUMBAR[first : last + 1]
    for first in range(len(LUMBAR))
    for last in range(first + 1, len(LUMBAR))
}

#: Projected areas of women's vertebrae, cm²: only their ratios count, where a hospital gives no
#: areas of its own (unverified; makers differ by 5 %). They bring the printed combinations of
#: four vertebrae back to the decimal, and Hologic's single means to its L1-L4.
USUAL_AREAS: Final[dict[str, float]] = {"L1": 11.0, "L2": 12.5, "L3": 14.5, "L4": 16.0}


def _lunar(mean: float, sd: float = 0.12) -> YoungReference:
    """Mean and SD that give all of 26 T-scores and percentages printed by GE's software."""
    return YoungReference(mean, sd, _GE, Mark.COMPUTED, Vendor.LUNAR)


def _hologic(mean: float) -> YoungReference:
    """Of a single vertebra: only to find one that does not belong, and to combine the rest."""
    return YoungReference(mean, 0.110, _HOLOGIC, Mark.UNVERIFIED)


#: ISCD 2023: the white female reference serves women and men of every ethnic group; of the spine
#: it is the manufacturer's, on the manufacturer's own scale.
YOUNG_SPINES: Final[dict[Vendor, dict[str, YoungReference]]] = {
    Vendor.LUNAR: {
        "L1": _lunar(1.13), "L2": _lunar(1.20), "L3": _lunar(1.20), "L4": _lunar(1.20),
        "L1-L2": _lunar(1.165), "L1-L3": _lunar(1.17), "L1-L4": _lunar(1.18),
        "L2-L3": _lunar(1.20), "L2-L4": _lunar(1.20), "L3-L4": _lunar(1.20),
    },
    Vendor.HOLOGIC: {
        "L1": _hologic(0.925), "L2": _hologic(1.028), "L3": _hologic(1.084), "L4": _hologic(1.115),
        "L1-L4": YoungReference(1.047, 0.110, _HOLOGIC, Mark.READ),
    },
}  # fmt: skip

#: ... and of the hip NHANES III.
YOUNG_HIPS: Final[dict[str, YoungReference]] = {
    "femoral_neck": YoungReference(0.858, 0.120, _LOOKER, Mark.READ),
    "total_hip": YoungReference(0.942, 0.122, _LOOKER, Mark.READ),
}
#: Hips as a maker's software has them on its own scale, for a site that asks for it. GE's are
#: NHANES III too: Looker's values brought to GE's scale by the lines below are 1.0380 ± 0.1389
#: and 1.0077 ± 0.1256.
HIPS_OF_SCANNERS: Final[dict[Vendor, dict[str, YoungReference]]] = {
    Vendor.LUNAR: {"femoral_neck": _lunar(1.038, 0.139), "total_hip": _lunar(1.007, 0.126)},
}

#: All that is on the Hologic scale.
YOUNG_FEMALE: Final[dict[str, YoungReference]] = {**YOUNG_SPINES[Vendor.HOLOGIC], **YOUNG_HIPS}

#: Sites from which a diagnosis may be made (ISCD 2023); never Ward's triangle,
#: never the trochanter.
DIAGNOSTIC_REGIONS: Final[tuple[str, ...]] = ("L1-L4", "total_hip", "femoral_neck")


@dataclass(frozen=True)
class AgeCurve:
    """Mean and SD of areal BMD by age, g/cm² on the scale of `scale`.

    Straight lines between `ages` (years); says nothing outside `age_from` to
    `age_to`, and is level between those and the first and last of `ages`. `people` are of whom
    it is. Only where a scanner of `printed_by` printed Z-scores that it reproduces does it give
    any; None: no printed Z-score is met, and it is drawn only.
    """

    ages: tuple[float, ...]
    means: tuple[float, ...]
    sds: tuple[float, ...]
    age_from: float
    age_to: float
    people: str
    source: str
    mark: Mark
    scale: Vendor = Vendor.HOLOGIC
    printed_by: Vendor | None = None


_BANDS: Final = (25.5, 35.5, 45.5, 55.5, 65.5, 75.5)


def _nhanes(means: tuple[float, ...], sds: tuple[float, ...]) -> AgeCurve:
    """Curve through the middles of NHANES' decades 21-30 ... 71-80."""
    source = "NHANES reference values by decade, as printed in PMC12995607, table 3"
    people = "people of the United States (NHANES)"
    return AgeCurve(_BANDS, means, sds, 20.0, 81.0, people, source, Mark.READ)


#: Age curves by sex ("F", "M") and region; one each, so that none jumps where another begins.
#: What is not here (the femoral neck) has none that we know of. The women's total hip is Looker's
#: table 7 in sBMD, read at second hand and so unverified; its young mean and SD are those of
#: `YOUNG_HIPS`. Its SD grows to 0.140 with age; the Z-scores that a Hologic Horizon printed for a
#: woman of 36 (0.835: -0.8; 0.840: -0.7) need the young SD at every age. NHANES by decade gives
#: -1.2 for the same woman's spine, where -1.0 was printed.
AGE_CURVES: Final[dict[tuple[str, str], AgeCurve]] = {
    ("F", "L1-L4"): _nhanes(
        (1.064, 1.065, 1.056, 0.993, 0.952, 0.902), (0.106, 0.110, 0.134, 0.141, 0.142, 0.167)
    ),
    ("F", "total_hip"): AgeCurve(
        (25.0, 35.0, 45.0, 55.0, 65.0), (0.955, 0.945, 0.920, 0.876, 0.809), (0.123,) * 5,
        20.0, 70.0, "white women of the United States (NHANES III)",
        "NHANES III, white women of the same age (Looker 1998, table 7)",
        Mark.UNVERIFIED, Vendor.GENERIC, Vendor.HOLOGIC,
    ),
    ("M", "L1-L4"): _nhanes(
        (1.057, 1.042, 1.051, 1.053, 1.070, 1.068), (0.110, 0.117, 0.129, 0.143, 0.142, 0.177)
    ),
    ("M", "total_hip"): _nhanes(
        (1.067, 1.029, 1.040, 1.015, 0.997, 0.961), (0.120, 0.134, 0.130, 0.142, 0.137, 0.143)
    ),
}  # fmt: skip


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
    # A Norland printed sBMD 962.9 mg/cm² for L2-L4 0.8942; Hui's line gives 970.7, 0.8 % more.
    Vendor.NORLAND: {
        "spine": _spine(0.9743, 0.969),
        "femoral_neck": Line(0.006, 0.985, _FEMUR, Mark.READ),
        "total_hip": Line(0.026, 1.012, _FEMUR, Mark.READ),
        "trochanter": Line(0.057, 0.961, _FEMUR, Mark.READ),
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

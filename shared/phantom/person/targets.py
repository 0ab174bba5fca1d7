"""What projection has to give: the population's areal BMD, on a scale like Hologic's.

Figures are those of design/anatomy.md: [R] regressions from a public data set, [U] right in
size and trend but unverified. They are aimed at by calibration and never imposed on a person.
"""

from __future__ import annotations

from typing import Final

import numpy as np

#: Order of the BMD figures below.
SITES: Final = ("L1-L4", "femoral_neck", "total_hip")

#: [R] BMD = a + b·(age − 65) + c·(BMI − 24) + residual (SD), g/cm², ages from 50.
REGRESSION: Final[dict[str, dict[str, tuple[float, float, float, float]]]] = {
    "F": {
        "L1-L4": (0.851, -0.0035, 0.0111, 0.130),
        "femoral_neck": (0.793, -0.0083, 0.0075, 0.124),
        "total_hip": (0.744, -0.0070, 0.0097, 0.100),
    },
    "M": {
        "L1-L4": (1.021, 0.0028, 0.0169, 0.181),
        "femoral_neck": (0.920, -0.0046, 0.0154, 0.154),
        "total_hip": (0.890, -0.0032, 0.0146, 0.120),
    },
}
#: [R] Residual correlations spine–neck, spine–hip, neck–hip.
CORRELATION: Final = {"F": (0.46, 0.55, 0.80), "M": (0.55, 0.63, 0.82)}
#: Young adults (clinical.md [S], women); men about 5 % above [U].
YOUNG_MEAN: Final = {"L1-L4": 1.047, "femoral_neck": 0.858, "total_hip": 0.942}
YOUNG_FACTOR: Final = {"F": 1.0, "M": 1.05}


def expected_bmd(sex: str, age_years: float, bmi: float, site: str) -> tuple[float, float]:
    """Mean and residual SD of BMD, g/cm².

    From 50 years the regression of design/anatomy.md [R]; up to 40 the young
    adult's mean with the same effect of BMI and 0.9 of its SD; linear between.
    """
    a, b, c, sd = REGRESSION[sex][site]
    old = a + b * (max(age_years, 50.0) - 65) + c * (bmi - 24)
    young = YOUNG_MEAN[site] * YOUNG_FACTOR[sex] + c * (bmi - 24)
    share = float(np.clip((age_years - 40) / 10, 0, 1))
    return young + (old - young) * share, sd * (0.9 + 0.1 * share)


#: [U] The neck of REGRESSION is not on the total hip's scale (design/anatomy.md: neck above total
#: hip is another vendor's pattern). Mean at 65 years and residual SD until a source with
#: T-scores gives better; slopes and correlations stay.
NECK_LEVEL: Final = {"F": (0.62, 0.105), "M": (0.74, 0.125)}
#: [U] Correlation of mean core density with areal BMD of L1–L4 at a given age; middle of
#: 0.75–0.83 in women, 0.65–0.80 in men.
CORE_WITH_AREAL: Final = {"F": 0.79, "M": 0.73}


def target(sex: str, site: str) -> tuple[float, float, float, float]:
    """What projection is to give from 50 years: a, b, c and the residual's SD, g/cm².

    BMD = a + b·(age − 65) + c·(BMI − 24) + residual, `REGRESSION` with `NECK_LEVEL`.
    """
    a, b, c, sd = REGRESSION[sex][site]
    if site == "femoral_neck":
        a, sd = NECK_LEVEL[sex]
    return a, b, c, sd

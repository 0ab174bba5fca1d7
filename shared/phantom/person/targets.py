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

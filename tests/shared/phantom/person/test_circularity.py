"""Densities give away no more than in life; at full size: ``make verify ONLY=circularity``."""

from functools import lru_cache

import pytest

from tests.shared.phantom.person.cohorts import cohort
from tests.verify.calibration.cohort import draw_cohort
from tests.verify.circularity import (
    CORE_CORRELATION,
    GAIN,
    HIPS,
    LINE_ERROR,
    area_under,
    circularity,
    floor_of,
)

SEXES = ("F", "M")


@lru_cache(maxsize=2)
def checked(sex: str) -> dict[str, float]:
    return circularity(draw_cohort(sex, 8, 1200), cohort(sex))


@pytest.mark.parametrize("sex", SEXES)
@pytest.mark.parametrize("site", HIPS)
@pytest.mark.parametrize("field", ["field", "field and degeneration"])
def test_a_film_says_no_more_of_the_hip_than_lumbar_bmd(sex: str, site: str, field: str) -> None:
    found = checked(sex)
    assert found[f"{site}: {field}"] > (1 - GAIN - 0.01) * found[f"{site}: lumbar BMD"]


@pytest.mark.parametrize("sex", SEXES)
@pytest.mark.parametrize("site", HIPS)
def test_what_lumbar_bmd_allows_is_the_floor_of_the_design(sex: str, site: str) -> None:
    found = checked(sex)[f"{site}: lumbar BMD"]
    assert found == pytest.approx(floor_of(sex, site), rel=0.12)


@pytest.mark.parametrize("sex", SEXES)
def test_core_density_is_not_areal_bmd(sex: str) -> None:
    found = checked(sex)
    low, high = CORE_CORRELATION[sex]
    assert low - 0.03 < found["core with areal at an age"] < high + 0.03
    assert found["line on core"] > LINE_ERROR[sex]


def test_core_finds_osteoporosis_as_well_as_in_life() -> None:
    found = checked("F")
    assert 0.77 < found["core's area"] < 0.93


@pytest.mark.parametrize(
    ("scores", "expected"), [([3, 4, 1, 2], 1.0), ([1, 2, 3, 4], 0.0), ([1, 1, 1, 1], 0.5)]
)
def test_area_under_the_curve(scores: list[float], expected: float) -> None:
    import numpy as np

    positive = np.array([True, True, False, False])
    assert area_under(np.array(scores, float), positive) == expected


@pytest.mark.parametrize(
    ("sex", "site", "floor"), [("F", "total_hip", 0.067), ("M", "total_hip", 0.074)]
)
def test_the_floor_is_that_of_the_design(sex: str, site: str, floor: float) -> None:
    assert floor_of(sex, site) == pytest.approx(floor, abs=0.001)

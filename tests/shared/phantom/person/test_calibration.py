"""The committed table is one that the fit would accept, on persons it was not fitted on."""

import numpy as np
import pytest

from shared.phantom.person.calibration import TYPICAL_SIZE, calibration
from shared.phantom.person.surrogate import areal_bmd
from shared.regions import LUMBAR
from tests.shared.phantom.person.cohorts import cohort
from tests.verify.calibration.projection import parts_of, projected_areal
from tests.verify.persons import population_lines, population_of


@pytest.mark.parametrize("sex", ["F", "M"])
def test_the_population_is_that_of_the_design(sex: str) -> None:
    wrong = [line for line in population_lines(sex, population_of(cohort(sex))) if not line.holds]
    assert wrong == []


@pytest.mark.parametrize("sex", ["F", "M"])
def test_projection_gives_the_coefficients_of_the_table(sex: str) -> None:
    found = parts_of(TYPICAL_SIZE[sex])
    for level, part in calibration().of(sex).levels.items():
        for name, value in found.values[level].items():
            assert getattr(part, name) == pytest.approx(value, rel=0.02, abs=0.005), (level, name)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("sex", ["F", "M"])
def test_the_surrogate_is_near_projection(sex: str, number: int) -> None:
    """Of persons without fractures; osteophytes and calcium are no part of these solids."""
    person = [p for p in cohort(sex) if not p.findings.vertebrae and p.variants.is_usual][number]
    projected = projected_areal(person)
    quick = areal_bmd(person)
    added = [
        (person.worn(k).osteophytes_g + person.wear.aorta_g[k])
        / (calibration().of(sex).levels[k].area * _grown(person, k))
        for k in LUMBAR
    ]
    plain = np.array([quick[k] for k in LUMBAR]) - added
    assert plain.mean() == pytest.approx(np.mean([projected[k] for k in LUMBAR]), rel=0.06)


def _grown(person: object, level: str) -> float:
    size = person.sizes.levels[level]  # type: ignore[attr-defined]
    return float(size.width * size.height / TYPICAL_SIZE[person.sex] ** 2)  # type: ignore[attr-defined]

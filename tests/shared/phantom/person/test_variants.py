"""How many vertebrae and ribs there are, and how the spine is curved."""

import numpy as np
import pytest

from tests.shared.phantom.person.cohorts import cohort

EVERYBODY = ("F", "M")


def test_some_have_four_or_six_lumbar_vertebrae() -> None:
    numbers = [p.variants.lumbar for sex in EVERYBODY for p in cohort(sex)]
    assert set(numbers) == {4, 5, 6}
    assert 0.92 < numbers.count(5) / len(numbers) < 0.98


def test_a_transitional_vertebra_is_the_last_lumbar_one() -> None:
    found = [p.variants for sex in EVERYBODY for p in cohort(sex) if p.variants.transitional]
    assert found
    assert all(one.transitional == f"L{one.lumbar}" and one.joined for one in found)


def test_ribs_are_missing_or_extra_in_a_few() -> None:
    ribs = [p.variants.ribs for sex in EVERYBODY for p in cohort(sex)]
    odd = [any(v == 0 or k.endswith("13") for k, v in one.items()) for one in ribs]
    assert 0.01 < np.mean(odd) < 0.06


def test_kyphosis_grows_with_age_and_with_fractures() -> None:
    women = cohort("F")
    curves = np.array([p.variants.curves.kyphosis for p in women])
    age = np.array([p.age_years for p in women])
    broken = np.array(
        [any(f.grade and k.startswith("T") for k, f in p.findings.vertebrae.items()) for p in women]
    )
    assert np.polyfit(age, curves, 1)[0] == pytest.approx(0.25, abs=0.15)
    old = age > 65
    assert curves[old & broken].mean() > curves[old & ~broken].mean()


def test_curves_are_flatter_apart_in_plain_patients() -> None:
    plain, life = (
        np.std([p.variants.curves.lordosis for p in cohort("F", name)])
        for name in ("plain", "near_to_life")
    )
    assert plain < 0.6 * life

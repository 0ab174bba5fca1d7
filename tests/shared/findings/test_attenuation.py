"""What a CT series' attenuation says, and when it says nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared.clinical.attenuation import At120
from shared.findings.attenuation import read_attenuation, what_l1_says
from tests.shared.ct_samples import outlined_series

OTHER_GRID = np.full((3, 60, 60), 20, np.uint8)


def test_each_level_has_its_core_and_l1_speaks() -> None:
    found = read_attenuation(outlined_series(L2=120, L1=104, T12=131), 67)
    assert [one.level for one in found.levels] == ["T12", "L1", "L2"]
    assert [one.core.median_hu for one in found.levels] == [131, 104, 120]
    assert found.not_assessed == ()
    assert found.caution == ""
    assert "at most 110 HU" in found.statement


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"contrast": True}, "a contrast agent was given, which raises the values"),
        ({"contrast": None}, "do not say whether a contrast agent"),
        ({"kvp": None}, "do not name the tube voltage"),
        ({"kvp": 70.0}, "70 kV cannot be compared with 120 kV"),
    ],
)
def test_where_the_cut_offs_do_not_apply_nothing_is_concluded(
    changes: dict[str, Any], said: str
) -> None:
    found = read_attenuation(replace(outlined_series(L1=90), **changes), 67)
    assert [one.core.median_hu for one in found.levels] == [90]
    assert said in found.caution
    assert found.statement == ""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"regions": None}, "no vertebra is outlined in this series"),
        (
            {"regions": np.full((3, 60, 60), 20, np.uint8)},
            "its outlines have another grid than the series",
        ),
        ({"slice_thickness_mm": 7.0}, "its slices are 7 mm thick (must be at most 5)"),
        ({"spacing_mm": (10.0, 1.0, 1.0)}, "its slices are 10 mm thick (must be at most 5)"),
    ],
)
def test_a_series_that_cannot_be_measured_says_why(changes: dict[str, Any], why: str) -> None:
    found = read_attenuation(replace(outlined_series(L1=90), **changes), 67)
    assert found.levels == ()
    assert [one.why for one in found.not_assessed] == [why]


def test_a_level_that_cannot_be_measured_does_not_stop_the_others() -> None:
    volume = outlined_series(L2=100, L1=95)
    volume.hu[8, 30, 30] = 2800
    found = read_attenuation(volume)
    assert [one.level for one in found.levels] == ["L1"]
    assert [one.why for one in found.not_assessed] == ["L2 holds metal or cement (over 1,500 HU)"]


def test_80_kv_is_brought_to_120_with_its_error() -> None:
    [level] = read_attenuation(replace(outlined_series(L1=150), kvp=80.0)).levels
    assert level.at_120 is not None
    assert level.at_120.low < level.at_120.high < 150


@pytest.mark.parametrize(
    ("age", "said"), [(None, "the patient's age is not known"), (49.0, "the patient is under 50")]
)
def test_l1_says_nothing_of_who_is_too_young_or_of_no_known_age(
    age: float | None, said: str
) -> None:
    found = read_attenuation(outlined_series(L1=90), age)
    assert said in found.caution
    assert found.statement == ""


def test_a_level_that_the_hospital_graded_as_fractured_is_not_measured() -> None:
    found = read_attenuation(outlined_series(L2=100, L1=95), 67, {"L1"})
    assert [one.level for one in found.levels] == ["L2"]
    assert "L1 is fractured by the hospital's reading" in found.not_assessed[0].why
    assert found.statement == ""


def test_a_part_of_a_large_series_is_read_alone() -> None:
    """Levels that end where the series ends are cut off; those beside them are not."""
    volume = outlined_series(L2=100, L1=95)
    assert volume.regions is not None
    cut = replace(volume, hu=volume.hu[:30], regions=volume.regions[:30])
    found = read_attenuation(cut, 67)
    assert [one.level for one in found.levels] == ["L2"]
    assert [one.why for one in found.not_assessed] == ["L1 is cut off by the end of the series"]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (100, 108, "110 HU"), (100, 110.4, "110 HU"), (105, 112, "160 HU"),
        (140, 158, "160 HU"), (150, 165, ""), (180, 190, ""),
    ],
)  # fmt: skip
def test_only_what_holds_whatever_the_error_is_said(low: float, high: float, said: str) -> None:
    found = what_l1_says(At120((low + high) / 2, low, high))
    assert said in found if said else found == ""
    assert what_l1_says(None) == ""

"""What a CT series' attenuation says, and when it says nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared.clinical.attenuation import At120
from shared.findings.attenuation import (
    SeriesAttenuation,
    calibration_sentence,
    published_cut_offs,
    read_attenuation,
    what_l1_says,
    with_range,
)
from shared.records import VolumeRecord
from shared.regions import code_of
from tests.shared.ct_samples import abdomen, outlined_series

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
        ({"slice_thickness_mm": 7.0}, "give a series of thinner ones (7 mm thick)"),
        ({"spacing_mm": (10.0, 1.0, 1.0)}, "give a series of thinner ones (10 mm apart)"),
        ({"kernel": "B60f"}, "give one of a soft or standard one (kernel B60f)"),
        ({"spacing_mm": (1.0, 2.0, 1.0)}, "give the axial one (slices from front to back, 2 mm"),
    ],
)
def test_a_series_that_cannot_be_measured_says_why(changes: dict[str, Any], why: str) -> None:
    found = read_attenuation(replace(outlined_series(L1=90), **changes), 67)
    assert found.levels == ()
    [one] = found.not_assessed
    assert why in one.why


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


def in_a_body(core: float = 130, **changes: Any) -> VolumeRecord:
    """L1 outlined on five slices through its middle, with tissues around it."""
    hu, level = abdomen(core=core)
    regions = np.where(level, code_of("L1", "volume"), 0).astype(np.uint8)
    around = np.zeros((2, *hu.shape[1:]), np.uint8)
    volume = VolumeRecord(
        np.concatenate([hu[:2], hu, hu[:2]]), (2.0, 1.5, 1.5), kvp=120.0, slice_thickness_mm=2.0,
        contrast=False, regions=np.concatenate([around, regions, around]),
    )  # fmt: skip
    return replace(volume, **changes)


@pytest.mark.parametrize(("core", "shown"), [(-60, "−29"), (-27, "−5")])
def test_less_than_no_mineral_is_not_assessed(core: float, shown: str) -> None:
    found = read_attenuation(in_a_body(core), 67)
    assert [one.level for one in found.levels] == ["L1"]
    assert found.levels[0].density is None
    [gap] = found.not_assessed
    assert gap.what == "mineral of L1"
    assert gap.why == f"with marrow taken as half fat it would be {shown} mg/cm³ (must be 0 to 400)"
    assert found.calibration is not None


def test_more_mineral_than_bone_has_is_not_assessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.findings.attenuation.POSSIBLE_MINERAL", (0.0, 100.0))
    found = read_attenuation(in_a_body(130), 67)
    assert [one.density for one in found.levels] == [None]
    assert found.not_assessed[0].why.endswith("it would be 109 mg/cm³ (must be 0 to 100)")


def test_mineral_is_said_with_its_range_where_there_is_one() -> None:
    assert with_range(109.4, 109.4, 109.4) == "109"
    assert with_range(95.2, 91.7, 104.0) == "95 (92 to 104)"
    assert with_range(-0.2, -0.4, 1.2) == "0 (0 to 1)"


def test_slices_that_were_taken_as_the_middle_are_called_so() -> None:
    [level] = read_attenuation(in_a_body(), 67).levels
    assert level.slices_mm == 10
    assert level.taken_as == "on slices of 10 mm together, taken as the middle"
    [whole] = read_attenuation(outlined_series(L1=95), 67).levels
    assert (whole.slices_mm, whole.taken_as) == (None, "")


def test_bodies_that_are_outlined_without_their_processes_give_no_mineral() -> None:
    volume = in_a_body()
    assert volume.regions is not None
    volume.regions[:, 124:] = 0
    found = read_attenuation(volume, 67)
    assert found.calibration is None
    assert found.not_calibrated == (
        "no muscle (no outline holds a spinous process) could be measured around the vertebrae"
    )


def test_mineral_is_read_by_the_tissues_around() -> None:
    found = read_attenuation(in_a_body(), 67)
    [level] = found.levels
    assert level.core.median_hu == pytest.approx(130, abs=2)
    assert level.density is not None
    # (130 + 20.65) of the 138 HU that 100 mg/cm³ show
    assert level.density.value == pytest.approx(109, abs=2)
    assert found.calibration is not None
    assert found.calibration.residual_hu < 3
    assert found.not_calibrated == ""
    assert "air, fat and muscle show −1000, −107 and 43 HU" in calibration_sentence(found)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"contrast": True}, "a contrast agent was given"),
        ({"contrast": None}, "do not say whether a contrast agent"),
        ({"kvp": None}, "do not name the tube voltage"),
        ({"kvp": 70.0}, "nothing was computed for 70 kV"),
    ],
)
def test_without_what_a_calibration_needs_there_is_no_mineral(
    changes: dict[str, Any], why: str
) -> None:
    found = read_attenuation(in_a_body(**changes), 67)
    assert [one.density for one in found.levels] == [None]
    assert found.calibration is None
    assert why in found.not_calibrated
    assert why in calibration_sentence(found)


def test_a_missing_tissue_is_named() -> None:
    found = read_attenuation(outlined_series(L1=95), 67)
    assert found.not_calibrated.startswith("no air, fat and muscle (no outline holds a spinous")
    assert found.not_calibrated.endswith("could be measured around the vertebrae")
    assert found.levels[0].density is None


def test_tissues_that_do_not_fit_each_other_give_no_mineral() -> None:
    volume = in_a_body()
    volume.hu[(volume.hu > -160) & (volume.hu < -60)] -= 36
    found = read_attenuation(volume, 67)
    assert "off one line" in found.not_calibrated
    assert found.levels[0].density is None


def test_what_is_read_is_written_and_read_again() -> None:
    found = read_attenuation(in_a_body(), 67)
    assert SeriesAttenuation.model_validate_json(found.model_dump_json()) == found


def test_the_cut_offs_are_said_with_what_their_source_gives() -> None:
    said = published_cut_offs()
    assert "110 HU (specificity 90%)" in said
    assert "160 HU (sensitivity 90%)" in said
    assert "A value above them says nothing" in said


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

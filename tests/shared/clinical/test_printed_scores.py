"""Scores that scanners printed, and published references: each is met, or there is no score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.clinical.cross_calibration import converted_bmd
from shared.clinical.references import AGE_CURVES, HIPS_OF_SCANNERS, YOUNG_HIPS, YOUNG_SPINES, Mark
from shared.clinical.scores import (
    combined_spine_t_score,
    excluded_vertebrae,
    reported_score,
    t_score,
    z_score,
)
from shared.clinical.whose_reference import (
    HipReference,
    spine_reference,
    why_no_z,
    young_reference,
)
from shared.records import DXA_VENDORS, Vendor
from shared.regions import LUMBAR

#: GE Lunar: region, BMD in g/cm² and T-score as its software printed them.
PRINTED = [
    ("L1-L4", 1.022, -1.3),
    ("L1-L4", 1.146, -0.3),
    ("femoral_neck", 0.741, -2.1),
    ("femoral_neck", 0.752, -2.1),
    ("total_hip", 0.777, -1.8),
    ("total_hip", 0.800, -1.6),
]
#: One patient's vertebrae, and what was printed of them together.
SINGLE = {"L1": -2.0, "L2": -1.2, "L3": -0.5, "L4": -1.8}
TOGETHER = {"L1-L2": -1.6, "L3-L4": -1.2, "L1-L3": -1.1, "L2-L4": -1.2, "L1-L4": -1.3}
#: BMD that such T-scores belong to, g/cm² (means 1.13 and 1.20, SD 0.12).
OF_SINGLE = {"L1": 0.890, "L2": 1.056, "L3": 1.140, "L4": 0.984}
HIPS = st.sampled_from(sorted(YOUNG_HIPS))


def members(name: str) -> list[str]:
    return [one for one in LUMBAR if name[:2] <= one <= name[-2:]]


@pytest.mark.parametrize(("region", "bmd", "printed"), PRINTED)
def test_the_scanners_own_scale_gives_what_it_printed(
    region: str, bmd: float, printed: float
) -> None:
    assert reported_score(t_score(bmd, region, Vendor.LUNAR, HipReference.SCANNER)) == printed


@pytest.mark.parametrize("name", LUMBAR)
def test_a_vertebra_alone_has_the_printed_score(name: str) -> None:
    assert reported_score(t_score(OF_SINGLE[name], name, Vendor.LUNAR)) == SINGLE[name]


@pytest.mark.parametrize("name", TOGETHER)
def test_vertebrae_together_have_the_printed_score(name: str) -> None:
    """Without their areas: usual ones do; 0.1 is what was asked for."""
    of_these = {one: OF_SINGLE[one] for one in members(name)}
    found = combined_spine_t_score(of_these, Vendor.LUNAR)
    assert found is not None
    assert reported_score(found) == TOGETHER[name]
    alike = combined_spine_t_score(of_these, Vendor.LUNAR, dict.fromkeys(LUMBAR, 1.0))
    assert alike == pytest.approx(TOGETHER[name], abs=0.1)


def test_leaving_out_goes_by_the_scanners_own_scale() -> None:
    own = {name: t_score(value, name, Vendor.LUNAR) for name, value in OF_SINGLE.items()}
    assert list(excluded_vertebrae(own)) == ["L4"]  # 1.3 from L3, its only neighbour
    kept = {name: OF_SINGLE[name] for name in ("L1", "L2", "L3")}
    found = combined_spine_t_score(kept, Vendor.LUNAR)
    assert found is not None
    assert reported_score(found) == -1.1
    # 0.8 apart on GE's scale; by Hologic's single means it would be 1.2, and L1 left out
    near = {"L1": 1.086, "L2": 1.056, "L3": 1.056, "L4": 1.056}
    own = {name: t_score(value, name, Vendor.LUNAR) for name, value in near.items()}
    assert list(excluded_vertebrae(own)) == []


@settings(deadline=None)
@given(st.floats(0.3, 1.6), HIPS, st.sampled_from(DXA_VENDORS))
def test_hips_compare_with_nhanes_iii_on_the_hologic_scale(
    bmd: float, region: str, vendor: Vendor
) -> None:
    mean, sd = {"femoral_neck": (0.858, 0.120), "total_hip": (0.942, 0.122)}[region]
    hologic = converted_bmd(bmd, vendor, Vendor.HOLOGIC, region)
    assert t_score(bmd, region, vendor) == pytest.approx((hologic - mean) / sd, abs=1e-9)
    assert young_reference(region, vendor).source.startswith("NHANES III")


def test_ges_own_hips_are_nhanes_iii_on_its_scale() -> None:
    for region, own in HIPS_OF_SCANNERS[Vendor.LUNAR].items():
        looker = YOUNG_HIPS[region]
        mean, above = (
            converted_bmd(value, Vendor.HOLOGIC, Vendor.LUNAR, region)
            for value in (looker.mean, looker.mean + looker.sd)
        )
        assert mean == pytest.approx(own.mean, abs=1e-3)
        assert above - mean == pytest.approx(own.sd, abs=5e-4)


@pytest.mark.parametrize(
    ("vertebrae", "mean", "mark"),
    [
        ("L1-L4", 1.18, Mark.COMPUTED),
        ("L2-L4", 1.20, Mark.COMPUTED),
        (("L2", "L4"), 1.20, Mark.COMPUTED),  # as L2-L3
        (("L1", "L4"), 1.165, Mark.COMPUTED),  # as L1-L2
        (("L1", "L2", "L4"), 1.17, Mark.COMPUTED),  # as L1-L3
    ],
)
def test_ge_has_a_reference_for_every_combination(
    vertebrae: str | tuple[str, ...], mean: float, mark: Mark
) -> None:
    names = members(vertebrae) if isinstance(vertebrae, str) else vertebrae
    found = spine_reference(names, Vendor.LUNAR)
    assert (found.mean, found.sd, found.mark, found.scale) == (mean, 0.12, mark, Vendor.LUNAR)
    if isinstance(vertebrae, str):
        assert young_reference(vertebrae, Vendor.LUNAR) == found
    else:
        assert "whose vertebrae have the same means" in found.source


def test_hologics_own_is_not_called_confirmed_and_its_combinations_are_unverified() -> None:
    whole = spine_reference(LUMBAR, Vendor.HOLOGIC)
    assert (whole.mean, whole.mark) == (1.047, Mark.READ)
    assert "no T-score that it printed confirms it" in whole.source
    rest = spine_reference(("L2", "L4"), Vendor.HOLOGIC)
    # (1.028 · 12.5 + 1.115 · 16) / 28.5
    assert rest.mean == pytest.approx(1.076842, abs=1e-6)
    assert rest.mark is Mark.UNVERIFIED
    singles = YOUNG_SPINES[Vendor.HOLOGIC]
    areas = {"L1": 11.0, "L2": 12.5, "L3": 14.5, "L4": 16.0}
    together = sum(singles[one].mean * areas[one] for one in LUMBAR) / sum(areas.values())
    assert together == pytest.approx(whole.mean, abs=2e-3)  # usual areas fit its own means


def test_norlands_spine_says_that_it_compares_with_another_makers() -> None:
    source = young_reference("L1-L4", Vendor.NORLAND).source
    assert source.startswith("Hologic's own")
    assert "as Norland's own are not known" in source


@pytest.mark.parametrize(("bmd", "printed"), [(0.835, -0.8), (0.840, -0.7)])
def test_the_z_score_of_a_total_hip_is_the_printed_one(bmd: float, printed: float) -> None:
    found = z_score(bmd, "total_hip", "F", 36.0, Vendor.HOLOGIC)
    assert found is not None
    assert reported_score(found.value) == printed
    assert "white women" in found.source
    assert found.mark is Mark.UNVERIFIED  # its table was read at second hand


@pytest.mark.parametrize(
    ("region", "sex", "age", "vendor", "why"),
    [
        ("L1-L4", "F", 36.0, Vendor.HOLOGIC, "no published table by age"),  # printed: −1.0
        ("femoral_neck", "F", 36.0, Vendor.HOLOGIC, "no published table by age"),  # −0.2, 0.4
        ("total_hip", "F", 36.0, Vendor.LUNAR, "such a scanner"),  # GE may weigh the body's weight
        ("total_hip", "F", 36.0, Vendor.NORLAND, "such a scanner"),
        ("total_hip", "M", 36.0, Vendor.HOLOGIC, "no published table by age"),
        ("total_hip", "F", 70.5, Vendor.HOLOGIC, "covers 20 to 70 years"),
        ("trochanter", "F", 36.0, Vendor.HOLOGIC, "no published table by age"),
    ],
)
def test_a_z_score_that_no_table_reproduces_is_withheld(
    region: str, sex: str, age: float, vendor: Vendor, why: str
) -> None:
    assert z_score(0.8, region, sex, age, vendor) is None
    assert why in why_no_z(region, sex, age, vendor)


@pytest.mark.parametrize(("sex", "region"), AGE_CURVES)
def test_no_curve_by_age_jumps(sex: str, region: str) -> None:
    curve = AGE_CURVES[sex, region]
    ages = np.arange(curve.age_from, curve.age_to, 0.05)
    for values in (curve.means, curve.sds):
        steps = np.diff(np.interp(ages, curve.ages, values))
        assert np.abs(steps).max() < 5e-4
    assert curve.people


def test_the_z_score_does_not_jump_at_fifty_and_the_same_hip_is_worth_more_with_age() -> None:
    ages = np.linspace(20.0, 70.0, 501)
    found = [z_score(0.8, "total_hip", "F", float(age), Vendor.HOLOGIC) for age in ages]
    values = [one.value for one in found if one is not None]
    assert len(values) == len(ages)
    steps = np.diff(values)
    assert steps.min() >= -1e-9
    assert steps.max() < 0.01

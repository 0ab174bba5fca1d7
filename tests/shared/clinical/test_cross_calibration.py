"""Cross-calibration against values worked out by hand from the published lines."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.clinical.cross_calibration import (
    hologic_bmd,
    standardised_bmd,
    vendor_bmd,
)
from shared.records import DXA_VENDORS, Vendor
from shared.regions import BMD_REGIONS

BMD = st.floats(0.2, 2.2)
VENDORS = st.sampled_from(DXA_VENDORS)
REGIONS = st.sampled_from(BMD_REGIONS)


@pytest.mark.parametrize(
    ("vendor", "region", "bmd", "expected"),
    [
        (Vendor.HOLOGIC, "L1-L4", 0.972, 1.0436),
        (Vendor.HOLOGIC, "L1-L4", 1.000, 1.07314),  # 1.0550 · 0.028 + 1.0436
        (Vendor.LUNAR, "L1-L4", 1.100, 1.0436),
        (Vendor.LUNAR, "L1-L4", 1.000, 0.94677),  # 1.0436 − 0.9683 · 0.1
        (Vendor.HOLOGIC, "femoral_neck", 0.8, 0.8886),  # 0.019 + 0.8696
        (Vendor.LUNAR, "femoral_neck", 0.8, 0.7282),  # −0.023 + 0.7512
        (Vendor.HOLOGIC, "total_hip", 0.9, 0.9132),  # 0.006 + 0.9072
        (Vendor.LUNAR, "total_hip", 0.9, 0.8501),  # −0.031 + 0.8811
        (Vendor.HOLOGIC, "trochanter", 0.7, 0.7565),  # −0.017 + 0.7735
        (Vendor.LUNAR, "trochanter", 0.7, 0.6223),  # −0.042 + 0.6643
        (Vendor.NORLAND, "L1-L4", 0.969, 1.0436),
        (Vendor.NORLAND, "L2-L4", 0.8942, 0.970722),  # 1.0436 − 0.9743 · 0.0748
        (Vendor.NORLAND, "femoral_neck", 0.8, 0.794),  # 0.006 + 0.788
        (Vendor.NORLAND, "total_hip", 0.9, 0.9368),  # 0.026 + 0.9108
        (Vendor.NORLAND, "trochanter", 0.7, 0.7297),  # 0.057 + 0.6727
        (Vendor.GENERIC, "total_hip", 0.9, 0.9),
    ],
)
def test_standardised_bmd_is_the_published_line(
    vendor: Vendor, region: str, bmd: float, expected: float
) -> None:
    assert standardised_bmd(bmd, vendor, region) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("vertebra", ["L1", "L2", "L3", "L4"])
def test_a_vertebra_uses_the_spine_line(vertebra: str) -> None:
    assert standardised_bmd(1.0, Vendor.LUNAR, vertebra) == pytest.approx(0.94677)


@settings(deadline=None)
@given(BMD, VENDORS, REGIONS)
def test_there_and_back_is_the_same_bmd(bmd: float, vendor: Vendor, region: str) -> None:
    there = standardised_bmd(bmd, vendor, region)
    assert vendor_bmd(there, vendor, region) == pytest.approx(bmd, rel=1e-12)


@settings(deadline=None)
@given(BMD, st.floats(0.001, 0.5), VENDORS, REGIONS)
def test_more_bone_stays_more_bone(bmd: float, more: float, vendor: Vendor, region: str) -> None:
    assert standardised_bmd(bmd + more, vendor, region) > standardised_bmd(bmd, vendor, region)


@pytest.mark.parametrize("region", ["wards", "intertrochanteric", "L5", ""])
def test_a_region_without_a_line_is_refused_by_name(region: str) -> None:
    with pytest.raises(KeyError, match="no cross-calibration"):
        standardised_bmd(1.0, Vendor.GENERIC, region)


def test_genant_and_hui_agree_at_usual_densities() -> None:
    for lunar in (0.7, 0.9, 1.1, 1.3):
        by_hui = hologic_bmd(lunar, Vendor.LUNAR, "L1-L4")
        by_genant = 0.906 * lunar - 0.025  # g/cm², Genant 1994: an older way
        assert by_genant == pytest.approx(by_hui, rel=0.01)


def test_a_printed_norland_value_is_met_within_a_percent() -> None:
    """It printed 962.9 mg/cm² of 0.8942; Hui's line is another, and the one that we use."""
    assert standardised_bmd(0.8942, Vendor.NORLAND, "L2-L4") == pytest.approx(0.9629, rel=0.009)


def test_hologic_is_its_own_scale() -> None:
    assert hologic_bmd(0.85, Vendor.HOLOGIC, "total_hip") == 0.85

"""Osteoporosis by DXA: at any diagnostic site, on the scanner's own scale, as reported."""

from __future__ import annotations

import pytest

from shared.clinical.osteoporosis import has_osteoporosis
from shared.records import Vendor


@pytest.mark.parametrize(
    ("bmd", "vendor", "found"),
    [
        # Hologic L1-L4 1.047 ± 0.110: −2.5 at 0.772; by one decimal from 0.7775 on no more
        ({"L1-L4": 0.772}, Vendor.HOLOGIC, True),
        ({"L1-L4": 0.777}, Vendor.HOLOGIC, True),  # −2.4545, printed −2.5
        ({"L1-L4": 0.778}, Vendor.HOLOGIC, False),
        # femoral neck 0.858 ± 0.120: −2.5 at 0.558
        ({"L1-L4": 1.0, "femoral_neck": 0.55}, Vendor.HOLOGIC, True),
        ({"L1-L4": 1.0, "right_total_hip": 0.60}, Vendor.HOLOGIC, True),
        ({"L1-L4": 1.0, "total_hip": 0.90, "trochanter": 0.30}, Vendor.HOLOGIC, False),
        # GE Lunar L1-L4 1.18 ± 0.12: −2.5 at 0.88
        ({"L1-L4": 0.87}, Vendor.LUNAR, True),
        ({"L1-L4": 0.92}, Vendor.LUNAR, False),
    ],
)  # fmt: skip
def test_it_is_that_at_any_diagnostic_site(
    bmd: dict[str, float], vendor: Vendor, found: bool
) -> None:
    assert has_osteoporosis(bmd, vendor) is found


def test_without_a_site_or_a_scale_nobody_knows() -> None:
    assert has_osteoporosis({"trochanter": 0.3, "L2": 0.5}, Vendor.HOLOGIC) is None
    assert has_osteoporosis({"L1-L4": 0.5}, Vendor.OTHER) is None
    assert has_osteoporosis({}, Vendor.LUNAR) is None

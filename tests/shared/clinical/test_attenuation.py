"""Attenuation at 120 kV, and density by inserts, against simulated slices of known mineral."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.clinical.attenuation import (
    L1_CUT_OFFS,
    MARROW_HU,
    MINERAL_HU,
    DensityLine,
    at_120_kv,
)
from tests.suite.real_images import REAL_IMAGES, needs_real_images


@pytest.fixture(scope="module")
def simulated() -> dict[str, tuple[dict[str, Any], NDArray[np.int16]]]:
    """What is said of each slice, and its pixels."""
    folder = REAL_IMAGES / "ct_kvp_oracle"
    said = json.loads((folder / "sim_slices.json").read_text())
    slices = np.load(folder / "sim_slices.npz")
    return {name: (about, slices[name]) for name, about in said.items()}


def core(pixels: NDArray[np.int16], mm_per_pixel: float) -> NDArray[np.int16]:
    """The inner ellipse of the vertebra, 30 by 20 mm, 35 mm behind the middle."""
    middle = (pixels.shape[0] - 1) / 2
    rows, columns = np.indices(pixels.shape) - middle
    inside = (columns * mm_per_pixel / 15) ** 2 + ((rows * mm_per_pixel - 35) / 10) ** 2 < 1
    return pixels[inside]


@needs_real_images
def test_the_core_of_a_simulated_slice_has_its_hu(
    simulated: dict[str, tuple[dict[str, Any], NDArray[np.int16]]],
) -> None:
    for about, pixels in simulated.values():
        found = float(np.median(core(pixels, about["mm_per_px"])))
        assert found == pytest.approx(about["core_mean_hu"], abs=3)


@needs_real_images
def test_what_four_voltages_show_of_one_density_agrees_at_120_kv(
    simulated: dict[str, tuple[dict[str, Any], NDArray[np.int16]]],
) -> None:
    same = [about for about, _ in simulated.values() if about["ha_mg_cc"] == 120]
    assert sorted(one["kvp"] for one in same) == [80, 100, 120, 140]
    found = [at_120_kv(one["core_mean_hu"], one["kvp"]) for one in same]
    assert max(one.hu for one in found) - min(one.hu for one in found) < 3
    at_120 = next(one["core_mean_hu"] for one in same if one["kvp"] == 120)
    # As real series are, the simulated ones are not; the bounds hold both.
    assert all(one.low <= at_120 + 3 and at_120 - 3 <= one.high for one in found)


@needs_real_images
def test_two_inserts_give_the_density_of_a_third(
    simulated: dict[str, tuple[dict[str, Any], NDArray[np.int16]]],
) -> None:
    hu = {
        about["ha_mg_cc"]: about["core_mean_hu"]
        for about, _ in simulated.values()
        if about["kvp"] == 120
    }
    line = DensityLine.through({density: hu[density] for density in (60, 180)})
    assert line.density(hu[120]) == pytest.approx(120, abs=5)


@needs_real_images
def test_the_table_is_that_of_the_computed_spectra() -> None:
    computed = json.loads((REAL_IMAGES / "ct_kvp_oracle" / "hu_kvp_oracle.json").read_text())
    for kilovolts, found in computed["hu_by_kvp"].items():
        if float(kilovolts) not in MINERAL_HU:
            continue
        assert MINERAL_HU[float(kilovolts)] == found["HA100"]
        marrow = found["ncat_red_marrow"], found["ncat_yellow_marrow"]
        assert MARROW_HU[float(kilovolts)] == marrow


def test_at_120_kv_nothing_is_changed() -> None:
    found = at_120_kv(137.5, 120)
    assert (found.hu, found.low, found.high) == pytest.approx((137.5, 137.5, 137.5))


@pytest.mark.parametrize("kilovolts", [80, 90, 100, 110, 130, 140])
def test_less_voltage_shows_more_and_the_bounds_hold_the_value(kilovolts: float) -> None:
    found = at_120_kv(150, kilovolts)
    assert (found.hu < 150) == (kilovolts < 120)
    assert found.low <= found.hu <= found.high
    assert found.high - found.low < 0.16 * 150


def test_marrow_alone_is_no_mineral() -> None:
    for kilovolts, (red, yellow) in MARROW_HU.items():
        expected = sum(MARROW_HU[120]) / 2
        assert at_120_kv((red + yellow) / 2, kilovolts).hu == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("kilovolts", [70, 150])
def test_a_voltage_that_was_not_computed_is_refused(kilovolts: float) -> None:
    with pytest.raises(ValueError, match=r"must be 80 to 140"):
        at_120_kv(150, kilovolts)


@pytest.mark.parametrize(
    ("inserts", "said"), [({100: 130.0}, "two or more"), ({100: 130.0, 200: 90.0}, "must be > 0")]
)
def test_inserts_that_give_no_line_are_refused(inserts: dict[float, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DensityLine.through(inserts)


def test_the_cut_offs_rise_and_each_says_what_it_is_for() -> None:
    assert [one.hu for one in L1_CUT_OFFS] == [110, 135, 160]
    assert L1_CUT_OFFS[0].specificity == L1_CUT_OFFS[-1].sensitivity == 0.9

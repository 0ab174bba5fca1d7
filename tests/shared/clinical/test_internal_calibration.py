"""Density by air, fat and muscle: against computed spectra and slices of known mineral."""

from __future__ import annotations

import json

import numpy as np
import pytest

from shared.clinical.attenuation import MINERAL_HU, marrow_hu
from shared.clinical.internal_calibration import (
    FAT_HU,
    LARGEST_RESIDUAL_HU,
    MUSCLE_HU,
    NotCalibratedError,
    TissueHu,
    calibrate,
    expected_hu,
)
from shared.clinical.reference_tissues import read_tissues, together
from tests.suite.real_images import REAL_IMAGES, needs_real_images

ORACLE = REAL_IMAGES / "ct_kvp_oracle"


@needs_real_images
def test_the_tables_are_those_of_the_computed_spectra() -> None:
    computed = json.loads((ORACLE / "hu_kvp_oracle.json").read_text())["hu_by_kvp"]
    assert {float(kv): found["ncat_adipose"] for kv, found in computed.items()} == FAT_HU
    assert {float(kv): found["ncat_muscle"] for kv, found in computed.items()} == MUSCLE_HU


@needs_real_images
def test_computed_bone_has_its_density_at_every_voltage() -> None:
    computed = json.loads((ORACLE / "hu_kvp_oracle.json").read_text())["hu_by_kvp"]
    for kilovolts, found in computed.items():
        line = calibrate(expected_hu(float(kilovolts)), float(kilovolts))
        for density in (80, 120, 160):
            read = line.density(found[f"trab{density}"]).value
            assert read == pytest.approx(density, abs=1.5)


@needs_real_images
def test_a_simulated_density_is_the_same_at_four_voltages() -> None:
    """Slices of other physics: polychromatic rays through a whole body, with its cupping."""
    said = json.loads((ORACLE / "sim_slices.json").read_text())
    slices = np.load(ORACLE / "sim_slices.npz")
    found: dict[int, list[float]] = {}
    for name, about in said.items():
        pixels, side = slices[name], about["mm_per_px"]
        rows, columns = (np.indices(pixels.shape) - (pixels.shape[0] - 1) / 2) * side
        level = (columns / 24) ** 2 + ((rows - 35) / 18) ** 2 < 1
        # The slices have a body and no process; an outline without one has no muscle beside it.
        level |= (np.abs(columns) < 3) & (rows > 35) & (rows < 85)
        seen = read_tissues(pixels[None], level[None], (1.0, side, side), about["kvp"])
        tissues, missing = together([seen])
        assert tissues is not None, missing
        line = calibrate(tissues, about["kvp"])
        assert line.residual_hu > 10  # fat lies at the rim, where the cup is deepest
        read = line.density(about["core_mean_hu"]).value
        found.setdefault(about["ha_mg_cc"], []).append(read)
    assert len(found[120]) == 4
    assert max(found[120]) - min(found[120]) < 3
    assert np.allclose(found[120], 120, atol=5)
    # By one slope for all scanners low densities read too high and high ones too low.
    assert found[60] == [pytest.approx(70, abs=2)]
    assert found[180] == [pytest.approx(176, abs=2)]


@pytest.mark.parametrize("kilovolts", [80, 95, 120, 140])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1.02, 6.0), (0.97, -9.0)])
def test_a_scanners_offset_and_scale_move_nothing(
    kilovolts: float, scale: float, offset: float
) -> None:
    computed = expected_hu(kilovolts)
    bone = marrow_hu(kilovolts) + 1.1 * float(
        np.interp(kilovolts, list(MINERAL_HU), list(MINERAL_HU.values()))
    )
    shown = TissueHu(
        *(offset + scale * value for value in (computed.air, computed.fat, computed.muscle))
    )
    line = calibrate(shown, kilovolts)
    assert (line.slope, line.offset) == pytest.approx((scale, offset))
    assert line.residual_hu == pytest.approx(0, abs=1e-6)
    found = line.density(offset + scale * bone)
    assert found.value == pytest.approx(110, abs=0.5)
    assert found.low <= found.value <= found.high


def test_infiltrated_muscle_shows_in_the_residual_and_hardly_in_the_density() -> None:
    computed = expected_hu(120)
    sound = calibrate(computed, 120).density(130)
    fatty = calibrate(TissueHu(computed.air, computed.fat, computed.muscle - 12), 120)
    assert 8 < fatty.residual_hu < 12
    assert fatty.density(130).value - sound.value == pytest.approx(2.7, abs=1)


def test_what_does_not_lie_on_one_line_is_refused() -> None:
    computed = expected_hu(120)
    with pytest.raises(NotCalibratedError, match=rf"off one line .*{LARGEST_RESIDUAL_HU:.0f}"):
        calibrate(TissueHu(computed.air, computed.fat, computed.muscle + 30), 120)


@pytest.mark.parametrize("kilovolts", [70, 150])
def test_a_voltage_that_was_not_computed_is_refused(kilovolts: float) -> None:
    with pytest.raises(NotCalibratedError, match="must be 80 to 140"):
        calibrate(expected_hu(120), kilovolts)

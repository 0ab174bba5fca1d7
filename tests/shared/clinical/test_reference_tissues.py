"""Air, fat and muscle around a vertebra: found beside couch, gas and kidneys, or said missing."""

from __future__ import annotations

import numpy as np
import pytest

from shared.clinical.internal_calibration import NotCalibratedError, TissueHu
from shared.clinical.reference_tissues import SeenTissues, read_tissues, together
from shared.records import PADDING_HU
from tests.shared.ct_samples import abdomen

SPACING = (2.0, 1.5, 1.5)


@pytest.mark.parametrize(
    ("air", "fat", "muscle"), [(-1000, -107, 43), (-992, -118, 28), (-1003, -96, 58)]
)
def test_each_tissue_shows_what_it_has(air: float, fat: float, muscle: float) -> None:
    hu, level = abdomen(air, fat, muscle)
    found = read_tissues(hu, level, SPACING, 120)
    assert found.air == pytest.approx(air, abs=1.5)
    assert found.fat == pytest.approx(fat, abs=1.5)
    assert found.muscle == pytest.approx(muscle, abs=1.5)


def test_neither_gas_nor_what_the_couch_holds_is_air() -> None:
    hu, level = abdomen()
    hu[:, :, :][(hu < -970) & (np.arange(hu.shape[1]) > 60)[None, :, None]] = -700
    found = read_tissues(hu, level, SPACING, 120)
    assert found.air == pytest.approx(-1000, abs=1.5)


def test_a_field_inside_of_the_body_shows_neither_air_nor_fat() -> None:
    hu, level = abdomen()
    inside = np.s_[:, 45:145, 60:200]
    found = read_tissues(hu[inside], level[inside], SPACING, 120)
    assert (found.air, found.fat) == (None, None)
    assert found.muscle == pytest.approx(43, abs=1.5)


def test_what_the_scanner_did_not_look_at_is_no_air() -> None:
    hu, level = abdomen()
    blanked = hu.copy()
    blanked[hu < -900] = PADDING_HU
    assert read_tissues(blanked, level, SPACING, 120).air is None
    # A round field within square slices: what is left of the air counts.
    rows, columns = (np.indices(hu.shape[1:]) + 0.5) * 1.5
    hu[:, (rows - 140) ** 2 + (columns - 195) ** 2 > 172**2] = PADDING_HU
    found = read_tissues(hu, level, SPACING, 120)
    assert found.air == pytest.approx(-1000, abs=1.5)
    assert found.fat == pytest.approx(-107, abs=1.5)


def test_noise_that_the_scale_cuts_off_leaves_air_as_it_is() -> None:
    hu, level = abdomen(noise=25)
    found = read_tissues(np.maximum(hu, PADDING_HU), level, SPACING, 120)
    assert found.air == pytest.approx(-1000, abs=3)


def test_a_tissue_that_shows_something_else_is_missing() -> None:
    assert read_tissues(*abdomen(muscle=-60), SPACING, 120).muscle is None
    assert read_tissues(*abdomen(fat=-20), SPACING, 120).fat is None
    assert read_tissues(*abdomen(air=-900), SPACING, 120).air is None


def streaked(hu: np.ndarray, row_mm: float, spread: float) -> np.ndarray:
    """The same slices, from front to back beside the spinous process ever brighter."""
    rows = (np.arange(hu.shape[1]) + 0.5) * row_mm - 140
    change = np.clip((rows - 61) / 17, -1, 1) * spread
    return np.rint(hu + np.where(abs(hu - 8) < 60, change[None, :, None], 0)).astype(np.int16)


def test_what_is_off_the_computed_values_is_not_cut_off_on_one_side() -> None:
    """Fat and muscle that show 35 HU too little, and muscle that varies by 35 HU about that."""
    shift = 35
    hu, level = abdomen(-1000 + shift, -107 - shift, 43 - shift, noise=3)
    found = read_tissues(streaked(hu, 1.5, 35), level, SPACING, 120)
    assert found.fat == pytest.approx(-107 - shift, abs=2)
    assert found.muscle == pytest.approx(43 - shift, abs=5)
    assert found.air == pytest.approx(-1000 + shift, abs=2)


def test_without_a_spinous_process_in_the_outline_no_muscle_is_read() -> None:
    """Beside a body lie psoas, crura and kidneys."""
    hu, level = abdomen()
    body = level.copy()
    body[:, 124:] = False
    found = read_tissues(hu, body, SPACING, 120)
    assert (found.muscle, found.process) == (None, False)
    assert found.fat == pytest.approx(-107, abs=1.5)
    assert together([found]) == (None, ("muscle (no outline holds a spinous process)",))
    assert together([found, SeenTissues(-1000, -107, 40)])[1] == ()
    # On finer pixels, and an arch that is too short for a process.
    arch = level.copy()
    arch[:, 134:] = False
    assert not read_tissues(hu, arch, SPACING, 120).process
    fine = [np.repeat(np.repeat(one, 2, 1), 2, 2) for one in (hu, level, body)]
    assert read_tissues(fine[0], fine[1], (2.0, 0.75, 0.75), 120).process
    assert not read_tissues(fine[0], fine[2], (2.0, 0.75, 0.75), 120).process


def test_what_lies_beside_the_body_is_no_muscle_of_the_back() -> None:
    hu, level = abdomen(muscle=43)
    rows = (np.arange(hu.shape[1]) + 0.5) * 1.5 - 140
    beside = (np.abs(hu - 43) < 60) & ((rows > 0) & (rows < 43))[None, :, None]
    hu[beside] = 20
    assert read_tissues(hu, level, SPACING, 120).muscle == pytest.approx(43, abs=1.5)


def test_a_voltage_that_was_not_computed_is_refused() -> None:
    with pytest.raises(NotCalibratedError, match="70 kV"):
        read_tissues(*abdomen(), SPACING, 70)


def test_levels_are_put_together_by_their_median_and_gaps_are_named() -> None:
    one, two = SeenTissues(-1000, -104, None), SeenTissues(-998, -108, 40)
    assert together([one, two]) == (TissueHu(-999, -106, 40), ())
    assert together([one]) == (None, ("muscle",))
    assert together([]) == (None, ("air", "fat", "muscle"))

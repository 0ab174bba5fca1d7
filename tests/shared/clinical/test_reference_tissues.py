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


def test_a_voltage_that_was_not_computed_is_refused() -> None:
    with pytest.raises(NotCalibratedError, match="70 kV"):
        read_tissues(*abdomen(), SPACING, 70)


def test_levels_are_put_together_by_their_median_and_gaps_are_named() -> None:
    one, two = SeenTissues(-1000, -104, None), SeenTissues(-998, -108, 40)
    assert together([one, two]) == (TissueHu(-999, -106, 40), ())
    assert together([one]) == (None, ("muscle",))
    assert together([]) == (None, ("air", "fat", "muscle"))

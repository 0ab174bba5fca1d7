"""The table of tissues and mixtures with fat."""

from __future__ import annotations

import pytest

from shared.phantom.solids.tissue import AIR, SKELETAL, SUBSTANCES, by_code, infiltrated, tissue
from shared.phantom.solids.tissues.slab_shapes import ball


def test_codes_are_different_and_none_is_air() -> None:
    codes = [one.code for one in SUBSTANCES.values()]
    assert len(set(codes)) == len(codes)
    assert AIR not in codes
    assert all(0 < code < 256 for code in codes)


def test_a_muscle_index_counts_the_muscles_of_the_trunk() -> None:
    names = {name for name, one in SUBSTANCES.items() if one.code in SKELETAL}
    muscles = {name for name in SUBSTANCES if name.endswith("_muscle")}
    assert names == muscles - {"arm_muscle"} | {"diaphragm"}


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_infiltration_adds_masses_and_volumes(share: float) -> None:
    muscle, fat = SUBSTANCES["psoas_muscle"], SUBSTANCES["subcutaneous_fat"]
    mixed = infiltrated(muscle, share)
    volume = (1 - share) / muscle.density + share / fat.density
    assert mixed.density == pytest.approx(1 / volume)
    assert mixed.fat == pytest.approx((1 - share) * muscle.fat + share * fat.fat)
    assert fat.hounsfield < mixed.hounsfield < muscle.hounsfield
    assert mixed.texture > muscle.texture


def test_a_table_by_code_holds_this_patients_values() -> None:
    made = tissue("psoas_muscle", ball((0, 0, 0), (9, 9, 9)), infiltration=0.3)
    table = by_code([made], "hounsfield", outside=-1000.0)
    assert table[made.code] == pytest.approx(made.substance.hounsfield)
    assert table[AIR] == -1000


def test_a_tissue_knows_its_box_and_volume() -> None:
    made = tissue("liver", ball((0, 0, 0), (10, 12, 14)), ball((60, 0, 0), (10, 12, 14)))
    low, high = made.box
    assert low[0] <= -10
    assert high[0] >= 70
    assert made.volume == pytest.approx(2 * 4 / 3 * 3.14159 * 1.68, rel=0.03)

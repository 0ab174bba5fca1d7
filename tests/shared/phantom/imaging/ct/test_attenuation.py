"""HU follow from the tube's spectrum, and agree with figures that were computed elsewhere."""

import json

import numpy as np
import pytest

from shared.errors import PhantomError
from shared.phantom.imaging.ct.attenuation import (
    HYDROXYAPATITE_DENSITY,
    KILOVOLTS,
    computed_beam,
    iodine_hu,
    marrow_hu,
    mineral_hu,
    substance_hu,
    tissue_hu,
    tube_beam,
)
from shared.phantom.imaging.ct.beam_table import BEAMS
from shared.phantom.imaging.ct.scanner import CT_SCANNERS, generic_ct_scanner
from tests.suite.real_images import REAL_IMAGES, needs_real_images


def test_the_table_is_what_spectra_and_coefficients_give() -> None:
    for given, computed in zip(BEAMS[120], computed_beam(120), strict=True):
        assert given == pytest.approx(computed, rel=1e-3)


def test_a_voltage_that_no_table_has_is_refused() -> None:
    with pytest.raises(PhantomError, match="tube voltage 95 kV"):
        tube_beam(95)


@pytest.mark.parametrize("kvp", KILOVOLTS)
def test_water_is_zero_and_mixtures_are_weighted_sums(kvp: int) -> None:
    assert substance_hu("water", kvp) == pytest.approx(0, abs=1e-3)
    # By hand: 0.2 g of mineral take 0.2/3.16 of the marrow's place.
    beam = tube_beam(kvp)
    water, bone = beam.effective("water"), beam.effective("hydroxyapatite")
    marrow = (marrow_hu(kvp, 0.5) / 1000 + 1) * water
    mixture = 0.2 * bone + (1 - 0.2 / HYDROXYAPATITE_DENSITY) * marrow
    assert marrow_hu(kvp, 0.5) + 0.2 * mineral_hu(kvp) == pytest.approx(
        1000 * (mixture / water - 1), abs=0.1
    )


def test_every_scanner_has_the_ratio_of_voltages_that_is_measured() -> None:
    scanners = [*CT_SCANNERS.values(), *(generic_ct_scanner(seed) for seed in range(5))]
    for scanner in scanners:
        ratio = scanner.mineral_hu(80) / scanner.mineral_hu(120)
        assert 1.20 <= ratio <= 1.38
        falling = [scanner.mineral_hu(kvp) for kvp in KILOVOLTS]
        assert falling == sorted(falling, reverse=True)
    at_120 = [scanner.core_hu(0.15, 120) for scanner in scanners]
    assert (max(at_120) - min(at_120)) / np.mean(at_120) < 0.13


def test_fat_follows_the_voltage_and_other_tissue_does_not() -> None:
    table = tissue_hu(np.array([-1000, -850, -107, -50, 0, 55], np.float32), 80)
    assert table[[0, 1, 4, 5]] == pytest.approx([-1000, -850, 0, 55], abs=1e-3)
    assert -135 < table[2] < -120
    assert -62 < table[3] < -55


@needs_real_images
@pytest.mark.parametrize("kvp", KILOVOLTS)
def test_hu_are_those_of_another_simulator(kvp: int) -> None:
    path = REAL_IMAGES / "ct_kvp_oracle" / "hu_kvp_oracle.json"
    expected = json.loads(path.read_text())["hu_by_kvp"][str(kvp)]
    for grams, name in ((0.08, "trab80"), (0.12, "trab120"), (0.16, "trab160")):
        found = marrow_hu(kvp, 0.5) + grams * mineral_hu(kvp)
        assert found == pytest.approx(expected[name], abs=4)
    assert marrow_hu(kvp, 0.0) == pytest.approx(expected["ncat_red_marrow"], abs=1)
    assert marrow_hu(kvp, 1.0) == pytest.approx(expected["ncat_yellow_marrow"], abs=1)
    assert substance_hu("adipose", kvp) == pytest.approx(expected["ncat_adipose"], abs=3)
    assert 10 * iodine_hu(kvp) == pytest.approx(expected["I10"], rel=0.02)

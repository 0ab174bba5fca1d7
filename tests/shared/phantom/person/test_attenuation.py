"""Density and Hounsfield units: there and back, and the figures of the design."""

import pytest

from shared.phantom.person.attenuation import core_for, hounsfield, marrow_hu, mean_core


@pytest.mark.parametrize("marrow_fat", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("core", [0.0, 0.06, 0.12, 0.18])
def test_density_and_hu_are_each_others_inverse(core: float, marrow_fat: float) -> None:
    assert core_for(hounsfield(core, marrow_fat), marrow_fat) == pytest.approx(core)


@pytest.mark.parametrize(("core", "hu"), [(0.08, 90.2), (0.12, 145.7), (0.16, 201.1)])
def test_half_red_half_yellow_marrow_is_as_computed(core: float, hu: float) -> None:
    """HU at 120 kV of 80, 120 and 160 mg/cm³, computed with a spectrum behind 25 cm of water."""
    assert hounsfield(core, 0.5) == pytest.approx(hu, abs=0.5)


def test_marrow_alone_is_fat_or_not() -> None:
    assert marrow_hu(0.0) > 0 > marrow_hu(1.0)


def test_mean_core_falls_with_age() -> None:
    cores = [mean_core("F", age) for age in (25, 55, 65, 75, 85)]
    assert cores == sorted(cores, reverse=True)
    assert 0.10 < cores[2] < 0.13

"""Four slabs of a vertebra in one mosaic: which lies where, and that nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shared.tasks.ct.level_slabs import OFFSETS
from shared.tasks.ct.mosaic import (
    CROP,
    as_crops,
    as_mosaics,
    cut_level,
    middle_slab,
    mosaic,
)
from shared.tasks.ct.slabs import SlabPlacement


def test_slabs_go_from_the_head_to_the_feet_counter_clockwise() -> None:
    assert OFFSETS == (1, 0, -1, -2)
    crops = np.zeros((1, 4, CROP, CROP), np.float32) + np.arange(4)[:, None, None]
    laid = mosaic(crops.astype(np.float32), 392)[0]
    assert laid[0, 0] == 0
    assert laid[-1, 0] == 1
    assert laid[-1, -1] == 2
    assert laid[0, -1] == 3


@pytest.mark.parametrize("side", [392, 98, 56, 60])
def test_a_sum_does_not_depend_on_the_pixels(side: int) -> None:
    crops = np.random.default_rng(0).uniform(size=(2, 4, CROP, CROP)).astype(np.float32)
    assert mosaic(crops, side).mean((1, 2)) == pytest.approx(crops.mean((1, 2, 3)), rel=1e-4)


def test_a_level_is_cut_out_around_its_middle() -> None:
    hu = np.random.default_rng(0).normal(size=(12, 300, 320)).astype(np.float32)
    level = np.zeros(hu.shape, bool)
    level[3:9, 280:300, 10:60] = True  # near two edges of the frame
    assert middle_slab(level) == 6
    cut = cut_level(hu, level)
    assert cut is not None
    assert cut.mask.sum() == 4 * 20 * 50
    rows, columns = np.nonzero(cut.mask[0])
    assert rows.mean() == pytest.approx((CROP - 1) / 2, abs=0.5)
    assert columns.mean() == pytest.approx((CROP - 1) / 2, abs=0.5)
    assert cut.hu[1][cut.mask[1]] == pytest.approx(hu[6][level[6]])
    assert cut.hu[0][cut.mask[0]] == pytest.approx(hu[7][level[7]])


def test_a_level_at_the_end_of_the_series_is_not_cut() -> None:
    hu, level = np.zeros((6, 200, 200), np.float32), np.zeros((6, 200, 200), bool)
    assert cut_level(hu, level) is None
    for middle, drawn in ((1, slice(0, 3)), (2, slice(0, 4)), (5, slice(4, 6))):
        level[:] = False
        level[drawn, 90:100, 90:100] = True
        assert middle_slab(level) == middle
        assert (cut_level(hu, level) is not None) == (middle == 2)


@pytest.mark.parametrize("drawn", [[2], [1, 2], [0, 2, 3], [0, 1, 3]])
def test_a_level_that_was_drawn_on_some_of_its_slabs_only_is_not_cut(drawn: list[int]) -> None:
    """Where a hospital drew the middle slice alone, the others would count as no bone."""
    hu, level = np.zeros((6, 200, 200), np.float32), np.zeros((6, 200, 200), bool)
    level[drawn, 90:100, 90:100] = True
    assert middle_slab(level) == 2
    assert cut_level(hu, level) is None


def test_the_middle_is_that_of_the_body_and_of_a_mask_of_four_slabs() -> None:
    level = np.zeros((20, 60, 60), bool)
    level[6:15, 10:35, 20:40] = True  # the body
    level[2:9, 35:55, 28:32] = True  # a process that hangs lower
    assert middle_slab(level) == 10
    four = np.zeros_like(level)
    four[8:12] = level[8:12]
    assert middle_slab(four) == 10


def test_a_slice_lies_in_its_slab() -> None:
    placed = SlabPlacement((1.0, 0.0, 0.0), (3.0, 1.0, 1.0), (30, 9, 9))
    assert [round(placed.slab_at(index)) for index in (0, 1, 2, 3, 4)] == [0, 0, 0, 1, 1]


def test_mosaics_are_taken_apart_and_laid_again() -> None:
    crops = torch.arange(2 * 4 * CROP * CROP, dtype=torch.float32).reshape(2, 4, CROP, CROP)
    laid = torch.as_tensor(mosaic(crops.numpy(), 56))[None]
    apart = as_crops(laid)
    assert apart.shape == (8, 28, 28)
    assert torch.equal(as_mosaics(apart, laid.shape), laid)
    assert torch.equal(apart[1], laid[0, 0, :28, 28:])
    assert torch.equal(apart[2], laid[0, 0, 28:, :28])

"""A CT series on slabs: what is there stays where it is, whatever grid it came on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.records import PADDING_HU, VolumeRecord
from shared.tasks.ct.projections import frontal, sagittal
from shared.tasks.ct.slabs import (
    AIR_HU,
    BEHIND_MM,
    FRAME,
    PIXEL_MM,
    SLAB_MM,
    SlabsError,
    find_body,
    regions_of_series,
    regions_to_slabs,
    to_slabs,
)

GRIDS = [(1.0, 0.7, 0.7), (3.0, 0.75, 0.75), (2.5, 0.98, 0.98), (5.0, 0.6, 0.6)]
#: Middle of the made-up body from the field's first voxel, and its half axes, mm (Y, X).
MIDDLE, HALF = (170.0, 190.0), (100.0, 150.0)
#: A block of bone: centre and half sides, mm (Z, Y, X).
BONE, SIDES = (45.0, 225.0, 195.0), (13.0, 15.0, 22.0)


def made_up(spacing: tuple[float, float, float]) -> tuple[VolumeRecord, NDArray[np.bool_]]:
    """90 mm of a body on a table, a block of bone in it; and where the bone is."""
    z, y, x = (
        np.arange(round(size / step)) * step + step / 2
        for size, step in zip((90, 350, 380), spacing, strict=True)
    )
    deep, rows, columns = z[:, None, None], y[None, :, None], x[None, None, :]
    body = ((rows - MIDDLE[0]) / HALF[0]) ** 2 + ((columns - MIDDLE[1]) / HALF[1]) ** 2 < 1
    hu = np.full((len(z), len(y), len(x)), AIR_HU, np.int16)
    hu[:, (y > 285) & (y < 292)] = 200  # the table
    hu[np.broadcast_to(body, hu.shape)] = 40
    bone = np.ones(hu.shape, bool)
    for axis, middle, half in zip((deep, rows, columns), BONE, SIDES, strict=True):
        bone &= np.abs(axis - middle) < half
    hu[bone] = 600
    return VolumeRecord(hu, spacing, slice_thickness_mm=spacing[0]), bone


def middle_of(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray([np.mean(one) for one in np.nonzero(mask)])


@pytest.mark.parametrize("grid", GRIDS)
def test_bone_is_where_it_was_and_as_large(grid: tuple[float, float, float]) -> None:
    volume, bone = made_up(grid)
    slabs = to_slabs(volume)
    assert slabs.hu.shape == (30, *FRAME)
    found = slabs.hu > 320
    assert found.sum() * SLAB_MM * PIXEL_MM**2 == pytest.approx(
        bone.sum() * np.prod(grid), rel=0.12
    )
    placed = slabs.placed
    back = [f + s * m for f, s, m in zip(placed.first, placed.step, middle_of(found), strict=True)]
    off = (np.asarray(back) - middle_of(bone)) * grid
    assert np.abs(off).max() < 0.6
    assert np.median(slabs.hu[found]) == pytest.approx(600, abs=5)


@pytest.mark.parametrize("grid", GRIDS)
def test_the_frame_is_laid_by_the_body_and_not_by_the_table(
    grid: tuple[float, float, float],
) -> None:
    back, middle = find_body(made_up(grid)[0])
    assert (back + 0.5) * grid[1] == pytest.approx(MIDDLE[0] + HALF[0], abs=7)
    assert (middle + 0.5) * grid[2] == pytest.approx(MIDDLE[1], abs=4)
    rows = np.flatnonzero((to_slabs(made_up(grid)[0]).hu[15] > 0).any(1))
    # The skin, then what is behind it: the table stands in the frame's last rows at most.
    assert rows[0] == pytest.approx(FRAME[0] - (2 * HALF[0] + BEHIND_MM) / PIXEL_MM, abs=12)


def test_a_slab_is_the_mean_of_what_lies_in_it() -> None:
    volume, _ = made_up((1.0, 0.75, 0.75))
    inside = volume.hu == 40
    steps = np.arange(len(volume.hu), dtype=np.int16)[:, None, None]
    volume.hu[:] = np.where(inside, 10 * steps, volume.hu)
    slabs = to_slabs(volume)
    middle = slabs.hu[:, FRAME[0] - 150, FRAME[1] // 2 - 120]
    assert middle == pytest.approx(10 * (1 + 3 * np.arange(30)), abs=0.01)


def test_what_is_not_scanned_is_air() -> None:
    volume, _ = made_up((3.0, 0.75, 0.75))
    volume.hu[:, :, -80:] = PADDING_HU
    slabs = to_slabs(replace(volume, hu=volume.hu[:, 60:]))
    assert slabs.hu.min() == AIR_HU
    assert (slabs.hu[:, 0] == AIR_HU).all()


@pytest.mark.parametrize("grid", GRIDS)
def test_outlines_go_there_and_back(grid: tuple[float, float, float]) -> None:
    volume, bone = made_up(grid)
    placed = to_slabs(volume).placed
    there = regions_to_slabs(np.where(bone, 21, 0).astype(np.uint8), placed)
    assert set(np.unique(there)) == {0, 21}
    assert (there == 21).sum() * SLAB_MM * PIXEL_MM**2 == pytest.approx(
        bone.sum() * np.prod(grid), rel=0.2
    )
    back = regions_of_series(there, placed)
    assert back.shape == volume.hu.shape
    both = 2 * np.sum((back == 21) & bone) / (np.sum(back == 21) + bone.sum())
    assert both > 0.9


@pytest.mark.parametrize("step", [1.0, 2.5, 3.0, 4.0, 5.0])
@pytest.mark.parametrize("lowest", range(3, 9))
def test_four_outlined_slabs_are_found_again(step: float, lowest: int) -> None:
    """Where slices are thicker than slabs, two slabs share one."""
    volume, _ = made_up((step, 2.0, 2.0))
    placed = to_slabs(volume).placed
    outlined = np.zeros((30, *FRAME), np.uint8)
    outlined[lowest : lowest + 4, 200:240, 180:220] = 21
    again = regions_to_slabs(regions_of_series(outlined, placed), placed)
    assert set(range(lowest, lowest + 4)) <= set(np.flatnonzero(again.any((1, 2))))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slice_thickness_mm": 7.0}, r"its slices are 7 mm thick \(must be at most 5\)"),
        ({"spacing_mm": (6.0, 1.0, 1.0)}, "its slices are 6 mm thick"),
        ({"hu": np.zeros((2, 64, 64), np.int16), "spacing_mm": (1.0, 1.0, 1.0)}, "2 mm high"),
        ({"hu": np.zeros((600, 4, 4), np.int16), "spacing_mm": (5.0, 1.0, 1.0)}, "3000 mm high"),
        ({"hu": np.full((9, 64, 64), -1000, np.int16)}, "no body is in the field"),
    ],
)
def test_what_gives_no_slabs_says_why(change: dict[str, object], said: str) -> None:
    volume, _ = made_up((3.0, 2.0, 2.0))
    with pytest.raises(SlabsError, match=said):
        to_slabs(replace(volume, **change))  # type: ignore[arg-type]


def test_a_thickness_that_rounding_made_is_as_good_as_the_thickest() -> None:
    volume, _ = made_up((5.0003, 2.0, 2.0))
    assert len(to_slabs(volume).hu) == 30


def test_projections_show_bone_and_not_the_table_in_front_of_it() -> None:
    volume, _ = made_up((3.0, 0.75, 0.75))
    hu = to_slabs(volume).hu
    front, side = frontal(hu), sagittal(hu)
    assert front.shape == side.shape == (30, 98)
    for shown, wide in ((front, SIDES[2]), (side, SIDES[1])):
        rows, columns = np.nonzero(shown > 0.6)
        assert len(set(rows)) * SLAB_MM == pytest.approx(2 * SIDES[0], abs=SLAB_MM)
        assert len(set(columns)) * SLAB_MM == pytest.approx(2 * wide, abs=2 * SLAB_MM)
    assert 0 <= min(front.min(), side.min()) <= max(front.max(), side.max()) <= 1

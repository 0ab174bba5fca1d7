"""Four slabs a level, and what somebody drew on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.regions import code_of
from shared.tasks.ct.level_slabs import (
    OFFSETS,
    body_middles,
    drawn_on_slab,
    drawn_slices,
    middle_slices,
    own_bone,
    slabs_of_levels,
)
from shared.tasks.ct.slabs import FRAME, PIXEL_MM, SlabPlacement
from tests.shared.spine_standins import drawn_only_on, spine_ct

L1 = code_of("L1", "volume")
#: Slices of 1, 3 and 5 mm on slabs of 3 mm.
STEPS = (3.0, 1.0, 0.6)


def placed(step: float, first: float = 0.0) -> SlabPlacement:
    return SlabPlacement((first, 0.0, 0.0), (step, 1.0, 1.0), (60, *FRAME))


@pytest.mark.parametrize("step", STEPS)
def test_four_slabs_lie_around_the_middle_and_higher_ones_nearer_to_the_head(step: float) -> None:
    [one] = slabs_of_levels({"L2": 12}, placed(step), 100)
    middle = round(12 / step)
    assert one.slabs == (middle + 1, middle, middle - 1, middle - 2)
    assert len(one.slabs) == len(OFFSETS)


def test_what_falls_outside_of_the_series_is_missing() -> None:
    low, high = slabs_of_levels({"L4": 1, "L1": 9}, placed(1.0), 10)[::-1]
    assert low.slabs == (2, 1, 0, None)
    assert high.slabs == (None, 9, 8, 7)


def test_the_middle_of_a_drawn_level_is_that_of_its_body() -> None:
    regions = np.zeros((40, 60, 30), np.uint8)
    regions[20:31, 10:30, 5:25] = L1  # the body: its middle is slice 25
    regions[8:22, 45:62, 13:17] = L1  # the spinous process hangs down
    assert body_middles(regions, ["L1", "L2"]) == {"L1": 25}


def test_a_level_drawn_on_one_slice_has_its_middle_there() -> None:
    regions = np.zeros((40, 60, 30), np.uint8)
    regions[17, 10:50, 5:25] = L1
    assert body_middles(regions, ["L1"]) == {"L1": 17}


def test_marks_count_before_outlines() -> None:
    volume = spine_ct(np.random.default_rng(0))
    assert middle_slices(volume) == volume.marked_slices
    some = replace(volume, marked_slices={"L1": 18})
    found = middle_slices(some)
    assert found["L1"] == 18
    assert found["L3"] == volume.marked_slices["L3"]
    assert middle_slices(replace(volume, regions=None, marked_slices={})) == {}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("first", [0.0, 0.4])
def test_a_slice_that_somebody_drew_annotates_the_slab_that_holds_it_and_no_neighbour(
    step: float, first: float
) -> None:
    regions = np.zeros((60, *FRAME), np.uint8)
    regions[31, 100:120, 100:120] = L1
    drawn = drawn_slices(regions)
    assert drawn.tolist() == [31]
    where = placed(step, first)
    [one] = slabs_of_levels({"L1": 31}, where, 200)
    found = {
        offset: drawn_on_slab(regions, drawn, where, slab)
        for offset, slab in zip(OFFSETS, one.slabs, strict=True)
        if slab is not None
    }
    middle = found[0]
    assert middle is not None
    assert (middle[100:120, 100:120] == L1).all()
    assert int((middle > 0).sum()) == 400
    if step >= 1:
        assert all(found[offset] is None for offset in (1, -1, -2))


def test_where_nobody_drew_nothing_is_annotated() -> None:
    volume = spine_ct(np.random.default_rng(0))
    assert drawn_slices(None).tolist() == []
    assert drawn_slices(drawn_only_on(volume, [4])).tolist() == [4]


def pieces(pedicles: bool, missed: bool = False) -> dict[str, NDArray[np.bool_]]:
    """Bone on four slabs: a body, its arch, the process of the level above, lime before it."""
    y, x = (axis * PIXEL_MM for axis in np.mgrid[: FRAME[0], : FRAME[1]])
    x = x - FRAME[1] * PIXEL_MM / 2
    body = np.tile((x / 24) ** 2 + ((y - 150) / 16) ** 2 <= 1, (4, 1, 1))  # its back is at 166 mm
    if missed:  # on the lowest slab all but the rim, as where the core is dense
        body[3] &= (x / 20) ** 2 + ((y - 150) / 12) ** 2 > 1
        body[3] &= (y < 160) | (np.abs(x) > 15)
    legs = np.abs(np.abs(x) - 0.7 * (y - 182)) <= 3
    arch = np.tile(
        (np.abs(x) <= 4) & (y > 188) & (y < 205) | legs & (y > 182) & (y < 200), (4, 1, 1)
    )
    feet = np.zeros_like(arch)
    feet[0] = (np.abs(np.abs(x) - 14) <= 4) & (y > 160) & (y < (204 if pedicles else 170))
    above = np.zeros_like(arch)
    above[0] = (x / 4) ** 2 + ((y - 215) / 6) ** 2 <= 1
    lime = np.tile((x / 3) ** 2 + ((y - 120) / 3) ** 2 <= 1, (4, 1, 1))
    return {"body": body | feet, "arch": arch, "above": above, "lime": lime}


@pytest.mark.parametrize(("pedicles", "missed"), [(True, False), (False, False), (False, True)])
def test_the_arch_is_a_levels_own_where_its_pedicles_lie_above_the_slabs(
    pedicles: bool, missed: bool
) -> None:
    some = pieces(pedicles, missed)
    own = own_bone(np.logical_or.reduce(list(some.values())))
    assert own is not None
    assert not (own & (some["above"] | some["lime"])).any()
    for name in ("body", "arch"):
        assert own[some[name]].mean() > 0.97, name


def test_a_body_without_an_arch_in_reach_stands_alone() -> None:
    some = pieces(pedicles=False)
    own = own_bone(some["body"] | some["above"] | some["lime"])
    assert own is not None
    assert np.array_equal(own, some["body"])


def test_what_only_reaches_in_behind_a_body_is_another_levels() -> None:
    some = pieces(pedicles=False)
    reaching = some["above"].copy()
    reaching[0, 252 : round(210 / PIXEL_MM), FRAME[1] // 2] = (
        True  # 189 mm: a thread to the process
    )
    own = own_bone(some["body"] | reaching)
    assert own is not None
    assert np.array_equal(own, some["body"])


def test_a_speck_is_no_vertebra() -> None:
    assert own_bone(np.zeros((4, *FRAME), bool)) is None
    assert own_bone(pieces(pedicles=False)["lime"]) is None

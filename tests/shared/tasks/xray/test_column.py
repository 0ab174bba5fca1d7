"""Where L1 to L4 are on a film, and when that cannot be told."""

from __future__ import annotations

import numpy as np
import pytest

from shared.records import VertebraBox
from shared.regions import LUMBAR, REGION_CODES, UNNAMED_VERTEBRA
from shared.tasks.xray.column import NoColumnError, column_of_boxes, find_column, levels_of
from tests.shared.tasks.xray.films import HIGH, L5_HIGH, marked_column


def test_levels_are_counted_from_the_lowest_vertebra() -> None:
    regions = marked_column(vertebrae=8, top=20)
    column = find_column(regions)
    bottom = 20 + 7 * HIGH  # of L4
    assert column.bottom == pytest.approx(bottom, abs=2)
    assert column.top == pytest.approx(bottom - 4 * HIGH, abs=3)
    assert column.middle == pytest.approx(120, abs=0.6)
    assert not column.named


def test_levels_that_somebody_named_count_before_counting() -> None:
    regions = marked_column(vertebrae=6, top=30)
    for number, name in enumerate(LUMBAR):
        first = 30 + number * HIGH  # the lowest two of the six have no name
        regions[first : first + HIGH][regions[first : first + HIGH] > 0] = REGION_CODES[name]
    column = find_column(regions)
    assert (column.top, column.bottom) == (30, 30 + 4 * HIGH)
    assert column.named
    assert column.seen == 4


def test_a_named_vertebra_that_is_missing_is_as_high_as_the_others() -> None:
    regions = np.zeros((300, 100), np.uint8)
    for number, name in enumerate(LUMBAR):
        if name != "L1":
            regions[50 + number * 30 : 80 + number * 30, 30:70] = REGION_CODES[name]
    assert find_column(regions).top == pytest.approx(50)


def test_pixels_that_are_no_squares_change_no_level() -> None:
    regions = marked_column(vertebrae=7)
    squeezed = regions[::2]
    whole, half = find_column(regions), find_column(squeezed, aspect=2.0)
    assert half.top == pytest.approx(whole.top / 2, abs=1.5)
    assert half.bottom == pytest.approx(whole.bottom / 2, abs=1.5)


def test_gaps_between_boxes_are_no_end_of_the_column() -> None:
    regions = marked_column(vertebrae=7)
    whole = find_column(regions)
    regions[40 + HIGH - 2 : 40 + HIGH + 1] = 0
    assert find_column(regions).bottom == whole.bottom


@pytest.mark.parametrize(
    ("regions", "why"),
    [
        (np.zeros((200, 100), np.uint8), "no vertebrae are recognised"),
        (marked_column(vertebrae=3), "fewer than three of the vertebrae L1 to L4"),
        (marked_column(vertebrae=1), "fewer than three of the vertebrae L1 to L4"),
        (marked_column(vertebrae=7, shape=(40 + 6 * HIGH + 10, 240)), "the lower end of"),
        (np.ascontiguousarray(np.rot90(marked_column(vertebrae=7))), "fewer than three|no upright"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_is_refused_in_half_a_sentence(
    regions: np.ndarray[tuple[int, int], np.dtype[np.uint8]], why: str
) -> None:
    with pytest.raises(NoColumnError, match=why):
        find_column(regions)


def test_fewer_than_three_named_vertebrae_are_not_assessed() -> None:
    regions = np.zeros((300, 100), np.uint8)
    regions[50:80, 30:70], regions[80:110, 30:70] = REGION_CODES["L1"], REGION_CODES["L2"]
    with pytest.raises(NoColumnError, match="fewer than three"):
        find_column(regions)


def test_the_named_map_has_each_level_where_it_was_counted() -> None:
    regions = marked_column(vertebrae=7)
    named = levels_of(regions, find_column(regions))
    rows = np.flatnonzero((named == REGION_CODES["L3"]).any(1))
    assert rows[0] == pytest.approx(40 + 4 * HIGH, abs=3)
    assert len(rows) == pytest.approx(HIGH, abs=2)
    below = 40 + 6 * HIGH + L5_HIGH - 3
    assert named[below, 120] == UNNAMED_VERTEBRA
    assert not named[regions == 0].any()


def boxes(*names: str) -> list[VertebraBox]:
    """Boxes with gaps of 4 between them, one under the other, 30 rows apart."""
    return [
        VertebraBox(name, 40.0, 10 + 30.0 * row, 80.0, 36 + 30.0 * row)
        for row, name in enumerate(names)
    ]


def test_of_boxes_without_names_the_lowest_is_an_l5() -> None:
    column = column_of_boxes(boxes(*[""] * 7))
    assert (column.top, column.bottom) == pytest.approx((68, 188))  # rows 2 to 5
    assert (column.middle, column.named) == (60, False)


def test_names_of_boxes_count_before_their_order() -> None:
    column = column_of_boxes(boxes("T12", "L1", "L2", "L3", "L4"))
    assert (column.top, column.bottom) == pytest.approx((38, 158))
    assert column.named
    without = column_of_boxes(
        [one for one in boxes("L1", "L2", "L3", "L4") if one.vertebra != "L2"]
    )
    assert (without.top, without.bottom) == pytest.approx((8, 128))


@pytest.mark.parametrize(
    "some", [boxes("", "", ""), boxes("L1", "L2", "", ""), boxes("T11", "T12")]
)
def test_too_few_boxes_are_no_lumbar_spine(some: list[VertebraBox]) -> None:
    with pytest.raises(NoColumnError, match="fewer than three"):
        column_of_boxes(some)


def test_boxes_beside_each_other_are_no_column() -> None:
    some = [VertebraBox("", 60.0 * n, 10 + 3.0 * n, 40 + 60.0 * n, 40 + 3.0 * n) for n in range(6)]
    with pytest.raises(NoColumnError, match="no upright column"):
        column_of_boxes(some)

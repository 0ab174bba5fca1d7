"""Whether all slices of a series are there, as far as headers and places can say it."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from shared.dicom.ct.completeness import SliceTold, judge_completeness, of_frames
from shared.dicom.ct.slices import told_of


def series(
    numbers: list[int], said: int | None = None, apart: float | None = None
) -> list[SliceTold]:
    return [SliceTold(number, 1, said, apart) for number in numbers]


def places(count: int, step: float = 2.5) -> list[float]:
    return [100 + step * index for index in range(count)]


@pytest.mark.parametrize(
    ("told", "offsets", "state", "why"),
    [
        (series([1, 2, 3, 4]), places(4), "unknown", ""),  # a lost end shows nowhere
        (series([0, 1, 2, 3]), places(4), "unknown", ""),
        (series([1, 2, 3, 4], said=4), places(4), "whole", "as many"),
        (series([1, 2, 3], said=4), places(3), "incomplete", "3 slices of 4"),
        (series([2, 3, 4, 5], said=4), places(4), "whole", ""),  # a scout was number 1
        (series([3, 4, 5]), places(3), "incomplete", "begin at 3"),
        (series([1, 2, 5]), places(3), "incomplete", "from 1 to 5 and 2 of them"),
        (series([1, 1, 2, 2]), places(4), "unknown", ""),  # numbers given twice show nothing
        (series([1, 2, 3], apart=2.5), places(3, 5.0), "incomplete", "5.00 mm apart where 2.50"),
        (series([1, 2, 3], apart=5.0), places(3, 5.0), "unknown", ""),
        (series([1, 2, 3], apart=2.5, said=3), places(3, 5.0), "whole", ""),  # acquired so
        (series([1, 2, 3]), [0.0, 1.0, 3.0], "incomplete", "1.00 to 2.00 mm apart"),
        (series([1, 2, 3]), [0.0, 0.1, 0.3], "unknown", ""),  # positions with one decimal
    ],
)
def test_what_shows_it(told: list[SliceTold], offsets: list[float], state: str, why: str) -> None:
    found = judge_completeness(told, offsets)
    assert found.completeness == state
    assert why in found.why


def test_each_acquisition_has_its_own_count() -> None:
    first = [SliceTold(number, 1, 3) for number in (1, 2, 3)]
    second = [SliceTold(number, 2, 3) for number in (4, 5)]
    assert judge_completeness(first + second, places(5)).completeness == "incomplete"
    # Both are there, and nobody says that there is no third.
    second.append(SliceTold(6, 2, 3))
    assert judge_completeness(first + second, places(6)).completeness == "unknown"


def test_a_gap_that_was_declared_for_a_distance_shows_nothing() -> None:
    told = series([1, 2, 3], apart=1.0)
    assert judge_completeness(told, places(3, 6.0), thickness_mm=5.0).completeness == "unknown"
    assert judge_completeness(told, places(3, 2.0), thickness_mm=5.0).completeness == "incomplete"


def test_headers_are_read_and_what_cannot_be_is_not_said() -> None:
    dataset = Dataset()
    dataset.InstanceNumber, dataset.AcquisitionNumber = 7, 2
    dataset.add_new("ImagesInAcquisition", "IS", "40")
    dataset.SliceThickness = "3"
    assert told_of(dataset) == SliceTold(7, 2, 40, 3.0)
    dataset.SpacingBetweenSlices = "-1.5"
    assert told_of(dataset).apart_mm == 1.5
    dataset.add_new("ImagesInAcquisition", "IS", "0")
    assert told_of(dataset).said is None
    assert told_of(Dataset()) == SliceTold()
    assert of_frames(SliceTold(7, 2, 40, 3.0), 2) == [SliceTold(None, 2, None, 3.0)] * 2

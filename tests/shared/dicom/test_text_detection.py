"""The opening that letters stand out from is scipy's, at any size of a patch."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from shared.dicom.phi.text_detection import STROKE, _opened, rows_in
from tests.shared.planted import write_text


@pytest.mark.parametrize("shape", [(16, 32), (48, 80), (3, 5), (1, 40), (14, 15)])
def test_opening_is_that_of_scipy_to_the_bit(shape: tuple[int, int]) -> None:
    patch = np.random.default_rng(sum(shape)).random(shape).astype(np.float32)
    same = ndimage.grey_opening(patch, size=(STROKE, STROKE))
    assert np.array_equal(_opened(patch), same)


def test_letters_are_counted_where_they_stand() -> None:
    patch = np.full((64, 200), 0.2, np.float32)
    drawn = write_text(patch, "OBERHAUSER", 20, 0.9, 20, 10)
    row = max(rows_in(np.asarray(drawn, np.float32), 0.008), key=lambda row: row.letters)
    assert 8 <= row.letters <= 11
    assert row.even > 0.9
    written = np.argwhere(np.asarray(drawn) > 0.5)
    assert row.place[0].start == written[:, 0].min()
    assert row.place[0].stop == written[:, 0].max() + 1


def test_a_patch_of_one_value_has_no_letters() -> None:
    assert rows_in(np.full((32, 32), 0.5, np.float32), 0.008) == []

"""Frames of packed bits are read the same whether few or many of them are set."""

from __future__ import annotations

import numpy as np
import pytest

from shared.dicom.segmentation import _native_frame, _Places
from shared.seeds import numpy_generator

FRAMES = 5


@pytest.mark.parametrize("shape", [(7, 9), (8, 8), (13, 5), (40, 33)])
@pytest.mark.parametrize("share", [0.0, 0.003, 0.02, 0.3, 1.0])
def test_frames_of_packed_bits_are_what_was_packed(shape: tuple[int, int], share: float) -> None:
    """Frames that do not begin at a byte too: nothing of the frames beside them is taken."""
    drawn = numpy_generator(1, "packed bits", *shape).random((FRAMES, *shape)) < share
    data = np.packbits(drawn.ravel(), bitorder="little").tobytes()
    for number in range(FRAMES):
        frame = _native_frame(data, number, shape, 1)
        assert frame.shape == shape
        found = np.zeros(shape, bool)
        if isinstance(frame, _Places):
            found[frame.rows, frame.columns] = True
        else:
            found = frame.astype(bool)
        assert np.array_equal(found, drawn[number])


def test_few_set_bits_are_read_as_places_and_many_as_pixels() -> None:
    """Both ways are used, else the test above would hold one against itself."""
    few, many = np.zeros(64, np.uint8), np.ones(64, np.uint8)
    few[3] = 1
    kinds = [
        type(_native_frame(np.packbits(bits, bitorder="little").tobytes(), 0, (8, 8), 1))
        for bits in (few, many)
    ]
    assert kinds == [np.ndarray, np.ndarray]  # one byte in eight is not few
    wide = np.zeros(256, np.uint8)
    wide[3] = 1
    assert isinstance(
        _native_frame(np.packbits(wide, bitorder="little").tobytes(), 0, (16, 16), 1), _Places
    )

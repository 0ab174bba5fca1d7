"""Frames of packed bits are read the same whether few or many of them are set, and where."""

from __future__ import annotations

import numpy as np
import pytest

from shared.dicom.masks.segmentation import _native_frame, _Part
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
        assert isinstance(frame, _Part)
        (row, column), (rows, columns) = frame.first, frame.mask.shape
        found[row : row + rows, column : column + columns] = frame.mask
        assert np.array_equal(found, drawn[number])


def test_only_the_part_of_a_frame_that_holds_something_is_kept() -> None:
    """A segment of a large image is a small part of it, and its frames are many."""
    drawn = np.zeros((3, 40, 50), bool)
    drawn[0] = drawn[2] = True
    drawn[1, 10:14, 20:31] = True
    data = np.packbits(drawn.ravel(), bitorder="little").tobytes()
    frame = _native_frame(data, 1, (40, 50), 1)
    assert isinstance(frame, _Part)
    assert frame.mask.shape == (4, 11)
    assert frame.mask.all()
    assert (frame.first, frame.shape) == ((10, 20), (40, 50))

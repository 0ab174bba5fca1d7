"""Short cuts in reading give what the long way gives, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from scipy import ndimage

from shared.dicom.pixels.margins import SMALLEST_MARGIN, THINNEST_STEP, unscanned_margin
from shared.dicom.pixels.native import by_table, native_values
from shared.seeds import numpy_generator


def image(bits: int, used: int, sign: int) -> Dataset:
    generator = numpy_generator(bits, used, "native", sign)
    stored = generator.integers(0, 2**bits, (7, 5)).astype(f"<u{bits // 8}")  # unused bits too
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 7, 5, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, used, used - 1
    dataset.PixelRepresentation = sign
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OW"
    return dataset


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize(("bits", "used"), [(8, 8), (8, 7), (16, 16), (16, 12), (16, 1)])
def test_uncompressed_pixels_are_those_of_pydicom(bits: int, used: int, sign: int) -> None:
    dataset = image(bits, used, sign)
    found = native_values(dataset, (7, 5))
    assert found is not None
    assert found.dtype == dataset.pixel_array.dtype
    assert np.array_equal(found, dataset.pixel_array)


def test_a_decoder_is_asked_for_everything_else() -> None:
    dataset = image(16, 16, 0)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert native_values(dataset, (7, 5)) is None
    unknown = image(16, 16, 0)
    del unknown.PixelRepresentation
    assert native_values(unknown, (7, 5)) is None


@pytest.mark.parametrize("kind", ["u1", "i2", "u2"])
@pytest.mark.parametrize("levels", [1, 40, 120])
def test_a_table_gives_what_the_function_gives(kind: str, levels: int) -> None:
    stored = numpy_generator(levels, kind).integers(7, 7 + levels, (90, 70)).astype(kind)
    stored = stored - 50 if kind == "i2" else stored
    asked: list[int] = []

    def function(values: NDArray[Any]) -> NDArray[np.float32]:
        asked.append(values.size)
        return np.asarray((values.astype(np.float64) * 0.37 - 3).clip(0, 30) / 7, np.float32)

    found = by_table(function, stored)
    assert max(asked) <= levels
    assert np.array_equal(found, function(stored))


def slowly(saturated: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The definition, step by step."""
    runs = np.zeros(saturated.shape, bool)
    for flipped in (False, True):
        for axis in (0, 1):
            view = np.flip(saturated, axis) if flipped else saturated
            run = np.logical_and.accumulate(view, axis=axis)
            runs |= np.flip(run, axis) if flipped else run
    border = THINNEST_STEP
    padded = np.pad(runs, border, mode="edge")
    steps = ndimage.binary_opening(padded, np.ones((THINNEST_STEP, THINNEST_STEP), bool))
    labels, count = ndimage.label(steps[border:-border, border:-border])
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    large = sizes >= SMALLEST_MARGIN
    large[0] = False
    return np.asarray(large[labels])


@given(st.integers(0, 10_000), st.integers(3, 40), st.integers(3, 40), st.integers(0, 6))
def test_margins_are_those_of_the_definition(
    seed: int, rows: int, columns: int, blocks: int
) -> None:
    generator = numpy_generator(seed, "margins")
    saturated = generator.random((rows, columns)) < 0.05
    for _ in range(blocks):
        top, left = int(generator.integers(0, rows)), int(generator.integers(0, columns))
        height, width = generator.integers(1, rows + 1), generator.integers(1, columns + 1)
        if generator.random() < 0.7:  # most blocks touch an edge
            top, left = (0, left) if generator.random() < 0.5 else (top, 0)
        saturated[top : top + height, left : left + width] = True
    if generator.random() < 0.5:
        saturated = saturated[::-1, ::-1]
    assert np.array_equal(unscanned_margin(saturated), slowly(saturated))

"""Two short cuts with the same result: uncompressed pixels, and functions of the grey value.

Taking studies in is mostly this; a generic decoder and arithmetic on every pixel in double
precision cost several times as much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from shared.dicom.attributes import number_of

NATIVE: Final = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
#: A table is worth it where an image has this many pixels for each entry.
PIXELS_PER_ENTRY: Final = 4


def native_values(dataset: Dataset, shape: tuple[int, int], frame: int = 0) -> NDArray[Any] | None:
    """Stored values of one frame of uncompressed pixels, as pydicom gives them.

    Parameters
    ----------
    dataset : Dataset
        With its pixels; one sample a pixel.
    shape : (int, int)
        Rows and columns, checked against the length of the pixel data.
    frame : int
        Index of the frame.

    Returns
    -------
    ndarray of integer, shape (H, W), or None
        Read-only if no bit had to be cleared. None where a decoder has to be asked.
    """
    bits, used = dataset.get("BitsAllocated"), dataset.get("BitsStored")
    sign = dataset.get("PixelRepresentation")
    if (
        dataset.file_meta.TransferSyntaxUID not in NATIVE
        or bits not in (8, 16)
        or sign not in (0, 1)
        or not isinstance(used, int)
        or not 1 <= used <= bits
    ):
        return None
    kind = np.dtype(f"<{'i' if sign else 'u'}{bits // 8}")
    size = shape[0] * shape[1]
    data = dataset.PixelData
    stored = np.frombuffer(data, kind, count=size, offset=frame * size * kind.itemsize)
    return without_unused_bits(dataset, stored).reshape(shape)


def without_unused_bits(dataset: Dataset, stored: NDArray[Any]) -> NDArray[Any]:
    """Stored values without what lies in the bits beside them (PS3.5, 8.1.1).

    Old files have overlays there, or let the value end at the highest bit; a decoder gives
    them as part of the value.

    Parameters
    ----------
    dataset : Dataset
        What says which bits are used.
    stored : ndarray of integer
        As decoded.

    Returns
    -------
    ndarray of integer
        Of the same kind; the same array where every bit is used.
    """
    width, used = 8 * stored.dtype.itemsize, int(dataset.BitsStored)
    high = number_of(dataset, "HighBit")
    top = used - 1 if high is None or not used - 1 <= high < width else int(high)
    if used >= width:
        return stored
    return np.right_shift(np.left_shift(stored, width - 1 - top), width - used)


def by_table(
    function: Callable[[NDArray[Any]], NDArray[np.float32]], stored: NDArray[Any]
) -> NDArray[np.float32]:
    """Apply a function of single values to an image: each value there is once, then looked up.

    Parameters
    ----------
    function : callable
        Of an array of stored values; each result depends on its own value only.
    stored : ndarray of integer, shape (H, W)
        Stored values.

    Returns
    -------
    ndarray of float32, shape (H, W)
        ``function(stored)``, bit by bit.
    """
    low, high = int(stored.min()), int(stored.max())
    if (high - low + 1) * PIXELS_PER_ENTRY > stored.size:
        return function(stored)
    values = np.arange(low, high + 1).astype(stored.dtype)
    table = function(values)
    places = stored if low == 0 else np.subtract(stored, low, dtype=np.int32)
    return np.take(table, places)

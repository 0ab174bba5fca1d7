"""Pixels in their meaning: modality LUT, then VOI, then the polarity, to [0, 1].

The scale follows from the file's attributes and never from the image's own
smallest and largest value, because the grey value carries the bone density.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from .attributes import number_of, text_of, value_of
from .native import by_table, native_values
from .verdicts import SetAsideError

#: A whole-body projection at 0.25 mm has about 20 million pixels.
MOST_PIXELS: Final = 64_000_000
POLARITIES: Final = ("MONOCHROME1", "MONOCHROME2")


def check_size(dataset: Dataset) -> tuple[int, int]:
    """Check what a data set says of its pixels against what it holds, before decoding.

    Returns
    -------
    (int, int)
        Rows, columns.

    Raises
    ------
    SetAsideError
        If the pixels are missing, too few, too many or of a kind that is not read.
    """
    rows, columns = (int(number_of(dataset, k) or 0) for k in ("Rows", "Columns"))
    if "PixelData" not in dataset or not dataset.PixelData or rows < 1 or columns < 1:
        raise SetAsideError("pixels_missing")
    if rows * columns > MOST_PIXELS:
        raise SetAsideError("image_too_large", f"{rows} x {columns}")
    if int(number_of(dataset, "NumberOfFrames") or 1) != 1:
        raise SetAsideError("several_frames")
    if int(number_of(dataset, "SamplesPerPixel") or 1) != 1:
        raise SetAsideError("report_page", "in colour")
    bits = int(number_of(dataset, "BitsAllocated") or 0)
    stored = int(number_of(dataset, "BitsStored") or 0)
    if bits not in (8, 16) or not 1 <= stored <= bits:
        raise SetAsideError("pixels_damaged", f"{stored} bits stored in {bits}")
    if text_of(dataset, "PhotometricInterpretation") not in POLARITIES:
        raise SetAsideError("pixels_damaged", "neither MONOCHROME1 nor MONOCHROME2")
    if not UID(dataset.file_meta.TransferSyntaxUID).is_compressed:
        expected, found = rows * columns * bits // 8, len(dataset.PixelData)
        if found < expected:
            raise SetAsideError("pixels_truncated", f"{found} of {expected} bytes")
        if found >= expected + columns * bits // 8:
            raise SetAsideError("size_mismatch", f"{found} bytes for {expected}")
    return rows, columns


def stored_values(dataset: Dataset) -> NDArray[Any]:
    """Decode the stored values, shape (H, W), integer.

    Raises
    ------
    SetAsideError
        If the pixels cannot be had.
    """
    shape = check_size(dataset)
    try:
        native = native_values(dataset, shape)
        stored = np.asarray(dataset.pixel_array) if native is None else native
    except Exception as error:  # each decoder has its own kinds
        raise SetAsideError("pixels_damaged", type(error).__name__) from None
    if stored.shape != shape:
        raise SetAsideError("pixels_damaged", f"decodes to {stored.shape}")
    return stored


def unit_values(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.float32]:
    """Stored values as display values in [0, 1], dense bone bright; padding becomes NaN.

    Without a window the range that the bits allow is mapped to [0, 1]; with one,
    by PS3.3 C.11.2.1.2 (LINEAR or LINEAR_EXACT).

    Parameters
    ----------
    dataset : Dataset
        The attributes.
    stored : ndarray, shape (H, W)
        From `stored_values`.

    Raises
    ------
    SetAsideError
        If a lookup table or another function is needed.
    """
    if value_of(dataset, "ModalityLUTSequence") or value_of(dataset, "VOILUTSequence"):
        raise SetAsideError("lut_unsupported")
    return by_table(lambda values: _unit(dataset, values), stored)


def _unit(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.float32]:
    """`unit_values` of any array; each depends on its own stored value only."""
    bits = int(dataset.BitsStored)
    signed = int(number_of(dataset, "PixelRepresentation") or 0) == 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope = number_of(dataset, "RescaleSlope") or 1.0
    intercept = number_of(dataset, "RescaleIntercept") or 0.0
    values = stored.astype(np.float64) * slope + intercept
    centre, width = number_of(dataset, "WindowCenter"), number_of(dataset, "WindowWidth")
    if centre is not None and width is not None:
        unit = _window(values, centre, width, text_of(dataset, "VOILUTFunction") or "LINEAR")
    else:
        bottom, top = sorted((low * slope + intercept, high * slope + intercept))
        unit = (values - bottom) / (top - bottom)
    unit = np.clip(unit, 0.0, 1.0)
    if text_of(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        unit = 1.0 - unit
    result = unit.astype(np.float32)
    result[_padding(dataset, stored)] = np.nan
    return result


def _window(values: NDArray[Any], centre: float, width: float, function: str) -> NDArray[Any]:
    """Map a window to [0, 1]."""
    if function == "LINEAR" and width > 1:
        return (values - (centre - 0.5)) / (width - 1) + 0.5
    if function == "LINEAR_EXACT" and width > 0:
        return (values - centre) / width + 0.5
    raise SetAsideError("lut_unsupported", f"window {function} of width {width:g}")


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the file says that nothing was measured (PixelPaddingValue, Range Limit)."""
    value = number_of(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = number_of(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return np.asarray((stored >= low) & (stored <= high))

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

from shared.dicom.attributes import number_of, numbers_of, text_of, value_of, written_numbers
from shared.dicom.verdicts import SetAsideError

from .codestreams import check_codestream, decoded_frame
from .native import by_table, native_values, without_unused_bits
from .shutters import outside_shutter

#: A whole-body projection at 0.25 mm has about 20 million pixels, a film of 43 by 43 cm at
#: 0.1 mm 18 million. Reading one of so many takes less than 1 GB.
MOST_PIXELS: Final = 40_000_000
POLARITIES: Final = ("MONOCHROME1", "MONOCHROME2")
#: Transfer syntaxes that lose something, and those that may.
LOSSY: Final = frozenset(
    {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"}
)
MAYBE_LOSSY: Final = frozenset({"1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"})
#: Most entries and bits that a lookup table has (PS3.3 C.11.1.1.1, C.11.2.1.1).
LUT_ENTRIES: Final = 65536
LUT_BITS: Final = range(8, 17)


def is_lossy(dataset: Dataset) -> bool:
    """Whether the image was compressed with loss at any time.

    The file's own word counts (PS3.3 C.7.6.1.1.5), and so does a transfer syntax that
    cannot be without loss; of one that can, the file must say that it was.
    """
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    said = text_of(dataset, "LossyImageCompression")
    return said == "01" or syntax in LOSSY or (syntax in MAYBE_LOSSY and said != "00")


def check_size(dataset: Dataset, frame: int | None = None) -> tuple[int, int]:
    """Check what a data set says of its pixels against what it holds, before decoding.

    Parameters
    ----------
    dataset : Dataset
        With its pixels.
    frame : int or None
        Index of the frame that is wanted, of a file with several; None = there must be one.

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
    frames = int(number_of(dataset, "NumberOfFrames") or 1)
    if frames < 1 or (frames > 1 and frame is None):
        raise SetAsideError("several_frames")
    if int(number_of(dataset, "SamplesPerPixel") or 1) != 1:
        raise SetAsideError("report_page", "in colour")
    bits = int(number_of(dataset, "BitsAllocated") or 0)
    stored = int(number_of(dataset, "BitsStored") or 0)
    if bits not in (8, 16) or not 1 <= stored <= bits:
        raise SetAsideError("pixels_damaged", f"{stored} bits stored in {bits}")
    if text_of(dataset, "PhotometricInterpretation") not in POLARITIES:
        raise SetAsideError("pixels_damaged", "neither MONOCHROME1 nor MONOCHROME2")
    if UID(dataset.file_meta.TransferSyntaxUID).is_compressed:
        check_codestream(dataset, frame or 0, (rows, columns), bits)
        return rows, columns
    expected, found = frames * rows * columns * bits // 8, len(dataset.PixelData)
    if found < expected:
        raise SetAsideError("pixels_truncated", f"{found} of {expected} bytes")
    if found >= expected + columns * bits // 8:
        raise SetAsideError("size_mismatch", f"{found} bytes for {expected}")
    return rows, columns


def stored_values(dataset: Dataset, frame: int | None = None) -> NDArray[Any]:
    """Decode the stored values, shape (H, W), integer; bits beside them are cleared.

    Parameters
    ----------
    dataset : Dataset
        With its pixels.
    frame : int or None
        Index of the frame, of a file with several; None = there must be one.

    Raises
    ------
    SetAsideError
        If the pixels cannot be had.
    """
    shape = check_size(dataset, frame)
    try:
        stored = native_values(dataset, shape, frame or 0)
        if stored is None:
            stored = without_unused_bits(dataset, decoded_frame(dataset, frame or 0))
    except SetAsideError:
        raise
    except Exception as error:  # each decoder has its own kinds
        raise SetAsideError("pixels_damaged", type(error).__name__) from None
    if stored.shape != shape:
        raise SetAsideError("pixels_damaged", f"decodes to {stored.shape}")
    return stored


def unit_values(
    dataset: Dataset, stored: NDArray[Any], *, inverted: bool = False
) -> NDArray[np.float32]:
    """Stored values as display values in [0, 1], dense bone bright; padding becomes NaN.

    Modality LUT or rescale; then VOI LUT or window (PS3.3 C.11.2: LINEAR, LINEAR_EXACT,
    SIGMOID); then MONOCHROME1 is inverted. PresentationLUTShape repeats what the
    photometric interpretation says where files are right, so it is not applied again.
    Without VOI the range that the bits allow is mapped to [0, 1]. Behind a shutter
    nothing was measured.

    Parameters
    ----------
    dataset : Dataset
        The attributes.
    stored : ndarray, shape (H, W)
        From `stored_values`.
    inverted : bool
        Invert once more: for makers whose files say the opposite of what they mean.

    Raises
    ------
    SetAsideError
        If a lookup table is broken or a function is none of these.
    """
    blank = outside_shutter(dataset, (stored.shape[0], stored.shape[1]))
    padding = padding_of(dataset, stored)
    result = by_table(lambda values: _unit(dataset, values, inverted), stored)
    for mask in (blank, padding):
        if mask is not None:
            result[mask] = np.nan
    return result


def _unit(dataset: Dataset, stored: NDArray[Any], inverted: bool) -> NDArray[np.float32]:
    """Display values of stored values; each depends on its own stored value only."""
    values, bottom, top = _modality(dataset, stored)
    unit = np.clip(_voi(dataset, values, bottom, top), 0.0, 1.0)
    if (text_of(dataset, "PhotometricInterpretation") == "MONOCHROME1") != inverted:
        unit = 1.0 - unit
    return unit.astype(np.float32)


def _modality(dataset: Dataset, stored: NDArray[Any]) -> tuple[NDArray[Any], float, float]:
    """Modality values, and the lowest and highest that there can be."""
    tables = value_of(dataset, "ModalityLUTSequence")
    if tables:
        table, first = _table(tables[0], signed=stored.dtype.kind == "i")
        return _looked_up(stored, table, first), 0.0, float(table.max())
    bits = int(dataset.BitsStored)
    signed = int(number_of(dataset, "PixelRepresentation") or 0) == 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    _check_understood(dataset, "RescaleSlope", "RescaleIntercept")
    slope = number_of(dataset, "RescaleSlope") or 1.0
    intercept = number_of(dataset, "RescaleIntercept") or 0.0
    bottom, top = sorted((low * slope + intercept, high * slope + intercept))
    return stored.astype(np.float64) * slope + intercept, bottom, top


def _check_understood(dataset: Dataset, *keywords: str) -> None:
    """Refuse numbers that are there and cannot be told: without them the scale is another one."""
    for keyword in keywords:
        problem = written_numbers(dataset, keyword).problem
        if problem:
            raise SetAsideError("lut_unsupported", f"{keyword} {problem}")


def _voi(dataset: Dataset, values: NDArray[Any], bottom: float, top: float) -> NDArray[Any]:
    """Values of interest on [0, 1]: by lookup table, else by window, else all."""
    tables = value_of(dataset, "VOILUTSequence")
    if tables:
        table, first = _table(tables[0], signed=bottom < 0)
        bits = int(numbers_of(tables[0], "LUTDescriptor")[2])
        # Some makers write 16 where the entries have fewer bits: none is above the range.
        return _looked_up(np.rint(values), table, first) / max(2**bits - 1, int(table.max()))
    _check_understood(dataset, "WindowCenter", "WindowWidth")
    centre, width = number_of(dataset, "WindowCenter"), number_of(dataset, "WindowWidth")
    if centre is not None and width is not None:
        return _window(values, centre, width, text_of(dataset, "VOILUTFunction") or "LINEAR")
    if top <= bottom:
        raise SetAsideError("lut_unsupported", "no range of values")
    return (values - bottom) / (top - bottom)


def _table(item: Dataset, *, signed: bool) -> tuple[NDArray[Any], int]:
    """Entries of a lookup table, and the value that the first one is for."""
    descriptor = [int(number) for number in numbers_of(item, "LUTDescriptor")]
    if len(descriptor) != 3 or descriptor[2] not in LUT_BITS:
        raise SetAsideError("lut_unsupported", "table without descriptor")
    entries, first = descriptor[0] % LUT_ENTRIES or LUT_ENTRIES, descriptor[1]
    if signed and first >= 2**15:
        first -= 2**16
    data = value_of(item, "LUTData")
    if isinstance(data, (bytes, bytearray)):
        wide = len(data) >= 2 * entries
        table = np.frombuffer(bytes(data), "<u2" if wide else "u1").astype(np.int64)
    else:
        table = np.array(numbers_of(item, "LUTData"), dtype=np.int64)
    if len(table) < entries or table.size == 0:
        raise SetAsideError("lut_unsupported", f"{len(table)} of {entries} entries")
    return table[:entries], first


def _looked_up(values: NDArray[Any], table: NDArray[Any], first: int) -> NDArray[Any]:
    """Entry of each value; beyond its ends a table goes on as it ends."""
    places = np.clip(values.astype(np.int64) - first, 0, len(table) - 1)
    return np.asarray(table[places].astype(np.float64))


def _window(values: NDArray[Any], centre: float, width: float, function: str) -> NDArray[Any]:
    """Map a window to [0, 1]."""
    if function == "LINEAR" and width > 1:
        return (values - (centre - 0.5)) / (width - 1) + 0.5
    if function == "LINEAR_EXACT" and width > 0:
        return (values - centre) / width + 0.5
    if function == "SIGMOID" and width > 0:
        power = np.clip(-4 * (values - centre) / width, -50, 50)
        return np.asarray(1 / (1 + np.exp(power)))
    raise SetAsideError("lut_unsupported", f"window {function[:16]} of width {width:g}")


def padding_of(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where the file says that nothing was measured (PixelPaddingValue, Range Limit).

    Parameters
    ----------
    dataset : Dataset
        The attributes.
    stored : ndarray
        From `stored_values`.

    Returns
    -------
    ndarray of bool or None
        None if the file names no such value.
    """
    value = number_of(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = number_of(dataset, "PixelPaddingRangeLimit")
    if limit is None:
        # Some makers write -2000 as unsigned and the other way round.
        around = 2 ** int(dataset.BitsAllocated)
        wrapped = {value, value + around, value - around}
        info = np.iinfo(stored.dtype)
        result = np.zeros(stored.shape, bool)
        for candidate in wrapped:
            if info.min <= candidate <= info.max:
                result |= stored == candidate
        return result
    low, high = sorted((value, limit))
    return np.asarray((stored >= low) & (stored <= high))

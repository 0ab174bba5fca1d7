"""The bytes of a DICOM file as a data set, with bounds on what a hostile one can cost."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Final

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from .attributes import number_of, text_of
from .elements import META_PLACE, begins_with_meta, has_too_many_elements, is_bare, is_preambled
from .values.character_sets import settle_character_set
from .verdicts import SetAsideError

#: What one step of the parser reads is one of these at least: an attribute's head or its
#: value. An image has hundreds of attributes, a mask of a large volume some ten thousand
#: frames of dozens each; a file that is nothing but attributes would fill the memory.
MOST_READS: Final = 1_000_000
#: Bytes of one attribute besides pixels. Sequences are taken apart when they are asked for.
LARGEST_VALUE: Final = 16 * 1024 * 1024
#: What old media lack before the file meta group.
PREAMBLE: Final = bytes(128) + b"DICM"
#: Name of the transfer syntax whose inflated size is bounded by nothing of its own.
DEFLATED: Final = str(DeflatedExplicitVRLittleEndian).encode()
#: Bytes that a data set inflates to at most, and times its size; a small one may be all zeros.
LARGEST_INFLATED: Final = 256 * 1024 * 1024
LARGEST_RATIO: Final = 200
SMALL_ENOUGH: Final = 16 * 1024 * 1024
#: GE's "implicit VR, big endian pixels".
GE_SWAPPED: Final = "1.2.840.113619.5.2"
WORD_BITS: Final = 16
PIXEL_DATA: Final = 0x7FE00010


class _CountedReads(BytesIO):
    """Bytes of a file that end the parsing when it is read in too many pieces."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `BytesIO` does, and count."""
        self.reads += 1
        if self.reads > MOST_READS:
            raise SetAsideError("header_too_large")
        return super().read(size)


def parse(data: bytes, *, pixels: bool) -> Dataset:
    """Parse the bytes of a DICOM file: with preamble, without, or a bare data set.

    A SOP class that is missing is filled from the file meta group, which says the same by
    definition (PS3.10 7.1). What was deflated, or has GE's swapped pixels, comes as a plain
    data set in little endian.

    Raises
    ------
    SetAsideError
        If it is none, or damaged, or of an encoding that is not read.
    """
    bare = is_bare(data)
    try:
        if begins_with_meta(data):
            data = PREAMBLE + data
        if not bare and not is_preambled(data):
            raise SetAsideError("not_dicom")
        # A search is quicker than parsing, and what does not name it cannot be it.
        if not bare and DEFLATED in data:
            data = _inflated(data)
        if has_too_many_elements(data):
            raise SetAsideError("header_too_large")
        dataset = _read(data, force=bare, pixels=pixels)
        _settle_syntax(dataset)
        _check_values(dataset)
        settle_character_set(dataset)
    except SetAsideError:
        raise
    except InvalidDicomError:
        raise SetAsideError("not_dicom") from None
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise SetAsideError("damaged", type(error).__name__) from None
    same = text_of(dataset.file_meta, "MediaStorageSOPClassUID")
    if not text_of(dataset, "SOPClassUID") and same:
        dataset.SOPClassUID = UID(same)
    if "SOPClassUID" not in dataset:
        raise SetAsideError("damaged" if not bare else "not_dicom")
    return dataset


def _read(data: bytes, *, force: bool, pixels: bool) -> Dataset:
    """Parse by pydicom, in a bounded number of reads."""
    stream = _CountedReads(data)
    try:
        return dcmread(stream, force=force, stop_before_pixels=not pixels)
    except Exception:
        # What the stream raised may come out as an error of the parser's own.
        if stream.reads > MOST_READS:
            raise SetAsideError("header_too_large") from None
        raise


def _settle_syntax(dataset: Dataset) -> None:
    """Name the encoding of what the file does not name, and put GE's pixels in order.

    GE's private syntax is implicit VR in little endian but for its pixels, whose words are
    in big endian.
    """
    meta = dataset.file_meta
    pixels = dataset.get_item(PIXEL_DATA)
    if "TransferSyntaxUID" not in meta:
        implicit, _ = dataset.original_encoding
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        if pixels is not None and dataset["PixelData"].is_undefined_length:
            raise SetAsideError("transfer_syntax", "compressed, and no transfer syntax is given")
    elif meta.TransferSyntaxUID == GE_SWAPPED:
        if number_of(dataset, "BitsAllocated") != WORD_BITS and text_of(dataset, "Rows"):
            raise SetAsideError("transfer_syntax", f"GE private, {GE_SWAPPED}, not of 16 bits")
        meta.TransferSyntaxUID = ImplicitVRLittleEndian
        if pixels is not None and pixels.value:
            words = np.frombuffer(pixels.value[: len(pixels.value) // 2 * 2], ">u2")
            dataset.PixelData = words.astype("<u2").tobytes()


def _check_values(dataset: Dataset) -> None:
    """Refuse attributes of a size that no image has; nothing of them is taken apart."""
    for tag in dataset.keys():  # noqa: SIM118 (a data set iterates over its elements, converted)
        element = dataset.get_item(tag)
        value = getattr(element, "value", None)
        if tag != PIXEL_DATA and isinstance(value, bytes) and len(value) > LARGEST_VALUE:
            raise SetAsideError("header_too_large")


def most_inflated(packed: int) -> int:
    """Bytes that so many packed ones come to at most; more, and large, is a bomb."""
    return max(SMALL_ENOUGH, packed * LARGEST_RATIO)


def _inflated(data: bytes) -> bytes:
    """Undo the deflation of a data set, within what an image has; what has none stays as it is.

    The file meta group is read exactly as `dcmread` reads it, wherever in it the transfer
    syntax stands and however long the elements before it are: two readers that disagree
    would let a file past.
    """
    stream = BytesIO(data)
    meta = _file_meta(stream, implicit=False)
    try:
        next(iter(meta), None)
    except NotImplementedError:  # so does `dcmread` tell that the group is in implicit VR
        meta = _file_meta(stream, implicit=True)
    if DEFLATED.decode() not in text_of(meta, "TransferSyntaxUID").split("\\"):
        return data
    place = stream.tell()
    most = min(LARGEST_INFLATED, most_inflated(len(data) - place))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # without a head (RFC 1951)
    inflated = inflater.decompress(memoryview(data)[place:], most)
    if inflater.unconsumed_tail:
        raise SetAsideError("file_too_large", "deflated")
    if not inflater.eof:
        raise SetAsideError("damaged", "deflated data cut off")
    plain = str(ExplicitVRLittleEndian).encode().ljust(len(DEFLATED), b"\0")
    return data[:place].replace(DEFLATED, plain) + inflated


def _file_meta(stream: BytesIO, *, implicit: bool) -> Dataset:
    stream.seek(META_PLACE)
    return read_dataset(stream, implicit, True, stop_when=lambda tag, *_: tag >> 16 != 2)

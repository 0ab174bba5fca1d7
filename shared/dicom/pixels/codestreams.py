"""What a compressed image says of its own size, before a decoder believes it.

A few bytes can claim gigapixels. The size that stands in the compressed stream must be
the one of the data set's attributes, which is bounded; otherwise nothing is decoded.
"""

from __future__ import annotations

import struct
from typing import Final

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID, RLELossless

from shared.dicom.attributes import number_of
from shared.dicom.verdicts import SetAsideError

#: Start of a JPEG 2000 codestream and its size marker (ISO 15444-1 A.5).
J2K_START: Final = b"\xff\x4f\xff\x51"
#: Boxes of a JP2 file before the codestream are short.
J2K_SEARCH: Final = 4096
#: JPEG start-of-frame markers; not those of Huffman and arithmetic tables.
JPEG_FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
#: Sizes beside the image's own that a stream may have: none.
RLE_HEADER: Final = 64
JPEG_BITS: Final = {"1.2.840.10008.1.2.4.50": 8, "1.2.840.10008.1.2.4.51": 8}


def check_codestream(dataset: Dataset, frame: int, shape: tuple[int, int], bits: int) -> None:
    """Check that a compressed frame decodes to what the attributes say.

    Parameters
    ----------
    dataset : Dataset
        With its pixels, compressed.
    frame : int
        Index of the frame.
    shape : (int, int)
        Rows, columns.
    bits : int
        Bits allocated.

    Raises
    ------
    SetAsideError
        If no decoder is there, or the stream says another size.
    """
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise SetAsideError("transfer_syntax", syntax.name[:60])
    frames = int(number_of(dataset, "NumberOfFrames") or 1)
    try:
        stream = get_frame(dataset.PixelData, frame, number_of_frames=frames)
    except Exception as error:  # broken items, too few of them
        raise SetAsideError("pixels_damaged", type(error).__name__) from None
    if syntax == RLELossless:
        _check_rle(stream, shape[0] * shape[1], bits // 8)
        return
    found, depth = _j2k_size(stream) or _jpeg_size(stream) or (None, 0)
    if found is None:
        raise SetAsideError("pixels_damaged", "no size in the compressed image")
    if found != (*shape, 1):
        raise SetAsideError("pixels_damaged", f"compressed image of {found}, not {(*shape, 1)}")
    if depth > JPEG_BITS.get(str(syntax), 16):
        raise SetAsideError("transfer_syntax", f"JPEG of {depth} bits")


def _j2k_size(stream: bytes) -> tuple[tuple[int, int, int], int] | None:
    """((rows, columns, components), bits) of a JPEG 2000 codestream."""
    start = stream[:J2K_SEARCH].find(J2K_START)
    if start < 0 or len(stream) < start + 43:
        return None
    width, height, left, top = struct.unpack_from(">4I", stream, start + 8)
    (components,) = struct.unpack_from(">H", stream, start + 40)
    return (height - top, width - left, components), (stream[start + 42] & 0x7F) + 1


def _jpeg_size(stream: bytes) -> tuple[tuple[int, int, int], int] | None:
    """((rows, columns, components), bits) of a JPEG or JPEG-LS stream."""
    if stream[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 < len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        (length,) = struct.unpack_from(">H", stream, place + 2)
        if marker in JPEG_FRAMES:
            depth, rows, columns, components = struct.unpack_from(">BHHB", stream, place + 4)
            return (rows, columns, components), depth
        if length < 2:
            return None
        place += 2 + length
    return None


def _check_rle(stream: bytes, pixels: int, planes: int) -> None:
    """Check the number of segments and what each unpacks to (PS3.5 G)."""
    if len(stream) < RLE_HEADER:
        raise SetAsideError("pixels_truncated")
    count, *starts = struct.unpack_from("<16I", stream)
    if count != planes:
        raise SetAsideError("pixels_damaged", f"{count} planes, not {planes}")
    ends = [*starts[1:count], len(stream)]
    for start, end in zip(starts[:count], ends, strict=True):
        if not RLE_HEADER <= start < end <= len(stream):
            raise SetAsideError("pixels_damaged", "planes out of place")
        size = _unpacked_size(stream[start:end], pixels)
        if size < pixels:
            raise SetAsideError("pixels_truncated", f"{size} of {pixels} pixels")


def _unpacked_size(segment: bytes, pixels: int) -> int:
    """Bytes that a segment unpacks to.

    A segment that goes on for more than a padding byte after the image is none.
    """
    place = size = 0
    length = len(segment)
    while place < length:
        head = segment[place]
        if head > 128:
            size += 257 - head
            place += 2
        elif head < 128:
            size += head + 1
            place += head + 2
        else:
            place += 1
        if size > pixels + 128:
            raise SetAsideError("pixels_damaged", "unpacks to more than the image")
    return size

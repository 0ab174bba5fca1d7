"""What a compressed image says of its own size, before a decoder believes it.

A few bytes can claim gigapixels. The size that stands in the compressed stream must be
the one of the data set's attributes, which is bounded; otherwise nothing is decoded.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from shared.dicom.attributes import number_of
from shared.dicom.verdicts import SetAsideError

from .decoding import decode_apart

#: Start of a JPEG 2000 codestream and its size marker (ISO 15444-1 A.5).
J2K_START: Final = b"\xff\x4f\xff\x51"
#: Boxes of a JP2 file before the codestream are short.
J2K_SEARCH: Final = 4096
#: JPEG start-of-frame markers; not those of Huffman and arithmetic tables.
JPEG_FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
#: Sizes beside the image's own that a stream may have: none.
RLE_HEADER: Final = 64
JPEG_BITS: Final = {"1.2.840.10008.1.2.4.50": 8, "1.2.840.10008.1.2.4.51": 12}
#: What decodes each compression, so that the same file gives the same values wherever it is
#: read: some of these libraries decode each other's, and some do so in other arithmetic.
DECODERS: Final = {
    str(RLELossless): "pydicom",
    str(JPEGBaseline8Bit): "pillow",
    str(JPEGExtended12Bit): "gdcm",
    str(JPEGLossless): "gdcm",
    str(JPEGLosslessSV1): "gdcm",
    str(JPEGLSLossless): "gdcm",
    str(JPEGLSNearLossless): "gdcm",
    str(JPEG2000Lossless): "pylibjpeg",
    str(JPEG2000): "pylibjpeg",
    str(HTJ2KLossless): "pylibjpeg",
    str(HTJ2KLosslessRPCL): "pylibjpeg",
    str(HTJ2K): "pylibjpeg",
}
#: Decoded in a process of its own.
APART: Final = "gdcm"
BYTE_BITS: Final = 8
#: Start-of-frame markers that the JPEG and JPEG-LS compressions have.
FRAMES_OF: Final = {
    str(JPEGBaseline8Bit): (0xC0,),
    str(JPEGExtended12Bit): (0xC0, 0xC1),
    str(JPEGLossless): (0xC3,),
    str(JPEGLosslessSV1): (0xC3,),
    str(JPEGLSLossless): (0xF7,),
    str(JPEGLSNearLossless): (0xF7,),
}


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
    if not is_decoded(syntax):
        raise SetAsideError("transfer_syntax", syntax.name[:60])
    frames = int(number_of(dataset, "NumberOfFrames") or 1)
    try:
        stream = get_frame(dataset.PixelData, frame, number_of_frames=frames)
    except Exception as error:  # broken items, too few of them
        raise SetAsideError("pixels_damaged", type(error).__name__) from None
    if syntax == RLELossless:
        _check_rle(stream, shape[0] * shape[1], bits // 8)
        return
    frames_of = FRAMES_OF.get(str(syntax))
    said = _j2k_size(stream) if frames_of is None else _jpeg_size(stream, frames_of)
    if said is None:
        raise SetAsideError("pixels_damaged", "no size in the compressed image")
    found, depth = said
    if found != (*shape, 1):
        raise SetAsideError("pixels_damaged", f"compressed image of {found}, not {(*shape, 1)}")
    if depth > JPEG_BITS.get(str(syntax), 16):
        raise SetAsideError("transfer_syntax", f"JPEG of {depth} bits")


def decoded_frame(dataset: Dataset, frame: int) -> NDArray[Any]:
    """Decode one frame by the one decoder that is used for its compression.

    Parameters
    ----------
    dataset : Dataset
        With its pixels.
    frame : int
        Index of the frame.

    Returns
    -------
    ndarray of integer
        As the decoder gives it, bits beside the stored ones included.
    """
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    decoder = DECODERS.get(syntax, "")
    if decoder == APART:
        return _decoded_apart(dataset, frame, syntax)
    return np.asarray(pixel_array(dataset, index=frame, decoding_plugin=decoder))


def _decoded_apart(dataset: Dataset, frame: int, syntax: str) -> NDArray[Any]:
    """One frame of JPEG lossless or JPEG-LS, of the kind that its attributes say."""
    frames = int(number_of(dataset, "NumberOfFrames") or 1)
    stream = get_frame(dataset.PixelData, frame, number_of_frames=frames)
    said = _jpeg_size(stream, FRAMES_OF[syntax])
    shape = (int(dataset.Rows), int(dataset.Columns))
    if said is None or said[0] != (*shape, 1):
        raise SetAsideError("pixels_damaged", "no size in the compressed image")
    values = decode_apart(stream, syntax, shape, said[1])
    stored = np.frombuffer(values, "<u2" if said[1] > BYTE_BITS else "u1").reshape(shape)
    if not number_of(dataset, "PixelRepresentation"):
        return stored
    if int(dataset.BitsStored) > 8 * stored.itemsize:
        return stored.astype(np.int16)
    return stored.view(f"<i{stored.itemsize}")


def is_decoded(syntax: UID) -> bool:
    """Tell whether a compression has a decoder here."""
    name = DECODERS.get(str(syntax))
    return name is not None and name in get_decoder(syntax).available_plugins


def _j2k_size(stream: bytes) -> tuple[tuple[int, int, int], int] | None:
    """((rows, columns, components), bits) of a JPEG 2000 codestream."""
    start = stream[:J2K_SEARCH].find(J2K_START)
    if start < 0 or len(stream) < start + 43:
        return None
    width, height, left, top = struct.unpack_from(">4I", stream, start + 8)
    (components,) = struct.unpack_from(">H", stream, start + 40)
    return (height - top, width - left, components), (stream[start + 42] & 0x7F) + 1


def _jpeg_size(stream: bytes, frames: tuple[int, ...]) -> tuple[tuple[int, int, int], int] | None:
    """((rows, columns, components), bits) of a JPEG or JPEG-LS stream with such a frame."""
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
            return ((rows, columns, components), depth) if marker in frames else None
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

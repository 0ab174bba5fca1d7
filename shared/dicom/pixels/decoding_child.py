"""The process that decodes JPEG lossless, JPEG-LS and JPEG of 12 bits: only GDCM is imported.

It is run as a file.

Each request is a line of JSON and the compressed frame; the answer is a length (-1: it cannot
be decoded) and the values, 8 or 16 bits each by the stream's precision, in little endian.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import struct
import sys
from typing import Any, BinaryIO

#: A frame has at most 40 million values of 16 bits; the library holds it a few times.
MOST_BYTES = 2 * 1024**3


def decoded(asked: dict[str, Any], stream: bytes) -> bytes | None:
    """Values of a frame by GDCM, every bit of the stream's precision; None if it refuses."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((asked["columns"], asked["rows"], 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    syntax = gdcm.TransferSyntax.GetTSType(asked["syntax"])
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    precision = asked["precision"]
    width = 8 if precision <= 8 else 16
    image.SetPixelFormat(gdcm.PixelFormat(1, width, precision, precision - 1, 0))
    text = image.GetBuffer()  # bytes as text, in the way of its wrapper
    if text is None:
        return None
    values = bytes(text.encode("utf-8", "surrogateescape"))
    return values if len(values) == asked["rows"] * asked["columns"] * width // 8 else None


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Decode what is asked for until nobody asks any more."""
    while line := requests.readline():
        asked = json.loads(line)
        stream = requests.read(asked["length"])
        values: bytes | None = None
        with contextlib.suppress(Exception):  # a decoder's errors have no kind in common
            values = decoded(asked, stream)
        answers.write(struct.pack("<q", -1 if values is None else len(values)))
        answers.write(values or b"")
        answers.flush()


def main() -> None:
    """Serve, within bounds; what libraries print goes nowhere."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()

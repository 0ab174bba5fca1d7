"""What a file says, apart from how it is written: by this the door knows it again.

An object that comes from a PACS is not the file that the scanner wrote: the file meta
group is new, and a sender may write the data set in explicit VR where it was implicit.
"""

from __future__ import annotations

import hashlib
import warnings
from io import BytesIO
from typing import Any, Final

from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

#: 128 bytes of preamble and ``DICM``.
MAGIC: Final = slice(128, 132)
#: Trailing padding says nothing (PS3.10, 7.2).
PADDING: Final = 0xFFFCFFFC
FILE_META_GROUP: Final = 0x0002
DEEPEST: Final = 32


def content_digest(data: bytes) -> str:
    """SHA-256 of what a file holds, 64 hex digits.

    The same for one DICOM object in implicit and explicit VR (little endian), with any
    file meta group, and with sequences of given or open length. Another transfer syntax of
    the pixels is other content: whether they are the same cannot be told without decoding.
    Of what is no DICOM file, or a damaged one, it is the SHA-256 of the bytes.

    Parameters
    ----------
    data : bytes
        The whole file.
    """
    if data[MAGIC] != b"DICM":
        return hashlib.sha256(data).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(BytesIO(data))
            syntax = dataset.file_meta.TransferSyntaxUID
            if syntax in (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
                return hashlib.sha256(data).hexdigest()
            digest = hashlib.sha256(b"DICM")
            # Uncompressed pixels are the same bytes in either; a compressed stream is its own.
            digest.update(str(syntax).encode() if syntax.is_compressed else b"")
            _feed(digest, dataset, 0)
    except Exception:  # pydicom raises many kinds on damaged files
        return hashlib.sha256(data).hexdigest()
    return digest.hexdigest()


def _feed(digest: Any, dataset: Dataset, depth: int) -> None:
    """Add a data set's elements in the order of their tags, without their VRs."""
    if depth > DEEPEST:
        raise ValueError("sequences nested deeper than any scanner writes")
    for tag in sorted(dataset.keys()):
        if tag.element == 0 or tag.group == FILE_META_GROUP or tag == PADDING:
            continue
        element = dataset.get_item(tag)
        digest.update(int(tag).to_bytes(4, "big"))
        if (element.VR or _known_vr(tag)) == "SQ":
            items = dataset[tag].value
            digest.update(b"sequence" + len(items).to_bytes(4, "big"))
            for item in items:
                _feed(digest, item, depth + 1)
                digest.update(b"end")
            continue
        value = element.value
        raw = value if isinstance(value, bytes) else b"" if value is None else str(value).encode()
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)


def _known_vr(tag: Any) -> str:
    """VR of an element that was written without one."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"

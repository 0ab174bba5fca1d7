"""The bytes of a DICOM file as a data set, with bounds on what a hostile one can cost."""

from __future__ import annotations

from io import BytesIO
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from .attributes import text_of
from .values.character_sets import settle_character_set
from .verdicts import SetAsideError

#: What one step of the parser reads is one of these at least: an attribute's head or its
#: value. An image has hundreds of attributes, a mask of a large volume some ten thousand
#: frames of dozens each; a file that is nothing but attributes would fill the memory.
MOST_READS: Final = 1_000_000
#: Bytes of one attribute besides pixels. Sequences are taken apart when they are asked for.
LARGEST_VALUE: Final = 16 * 1024 * 1024
#: Media without preamble begin with an element of group 0008 in little endian.
BARE_DATASET: Final = b"\x08\x00"
#: Name of the transfer syntax whose inflated size is unbounded.
DEFLATED: Final = str(DeflatedExplicitVRLittleEndian).encode()
PIXEL_DATA: Final = 0x7FE00010
#: 128 bytes of preamble and ``DICM``; the file meta group follows.
PREAMBLE_BYTES: Final = 132


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
    """Parse the bytes of a DICOM file, preamble or not.

    A SOP class that is missing is filled from the file meta group, which says the same by
    definition (PS3.10 7.1).

    Raises
    ------
    SetAsideError
        If it is none, or damaged, or of an encoding that is not read.
    """
    bare = data[:2] == BARE_DATASET and data[128:132] != b"DICM"
    if not bare and data[128:132] != b"DICM":
        raise SetAsideError("not_dicom")
    try:
        # Inflated size is unbounded, and no scanner writes it: refused before parsing.
        # A search is quicker than parsing, and what does not name it cannot be it.
        if not bare and DEFLATED in data and _is_deflated(data):
            raise SetAsideError("transfer_syntax", "deflated")
        dataset = _read(data, force=bare, pixels=pixels)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
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


def _check_values(dataset: Dataset) -> None:
    """Refuse attributes of a size that no image has; nothing of them is taken apart."""
    for tag in dataset.keys():  # noqa: SIM118 (a data set iterates over its elements, converted)
        element = dataset.get_item(tag)
        value = getattr(element, "value", None)
        if tag != PIXEL_DATA and isinstance(value, bytes) and len(value) > LARGEST_VALUE:
            raise SetAsideError("header_too_large")


def _is_deflated(data: bytes) -> bool:
    """Tell by the whole file meta group whether the data set is deflated.

    The group is read exactly as `dcmread` reads it, wherever in it the transfer syntax
    stands and however long the elements before it are: two readers that disagree
    would let a file past. Nothing is inflated for it.
    """
    stream = BytesIO(data)
    meta = _file_meta(stream, implicit=False)
    try:
        next(iter(meta), None)
    except NotImplementedError:  # so does `dcmread` tell that the group is in implicit VR
        meta = _file_meta(stream, implicit=True)
    return str(DeflatedExplicitVRLittleEndian) in text_of(meta, "TransferSyntaxUID").split("\\")


def _file_meta(stream: BytesIO, *, implicit: bool) -> Dataset:
    stream.seek(PREAMBLE_BYTES)
    return read_dataset(stream, implicit, True, stop_when=lambda tag, *_: tag >> 16 != 2)

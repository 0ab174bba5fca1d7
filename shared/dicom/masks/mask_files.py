"""Masks in NRRD and NIfTI files: where they lie, and their values, within bounds.

Both kinds can be compressed without any limit and can point to other files. Here the
header says how large the values are, that is bounded, no more than that is unpacked, and
nothing beside the file itself is opened.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from shared.dicom.ct.geometry import MOST_VOXELS, Stack
from shared.dicom.verdicts import SetAsideError

NRRD: Final = b"NRRD000"
GZIP: Final = b"\x1f\x8b"
NIFTI_HEADER: Final = 348
NIFTI_MAGIC: Final = (b"n+1\x00", b"ni1\x00")
#: A header with its fields or extensions is a few kilobytes.
LONGEST_HEADER: Final = 1024 * 1024
#: Characters of one text of a header.
LONGEST_TEXT: Final = 256
#: Where NIfTI-1 has its description and the name of its intent.
NIFTI_TEXTS: Final = ((148, 228), (328, 344))
MOST_BYTES: Final = 1024 * 1024 * 1024
#: A mask's voxels may be off its series' by this part of one.
SAME_VOXEL: Final = 0.1
NRRD_TYPES: Final[dict[str, str]] = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1",
    "uchar": "u1", "unsigned char": "u1", "uint8": "u1", "uint8_t": "u1",
    "short": "i2", "short int": "i2", "signed short": "i2", "int16": "i2", "int16_t": "i2",
    "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2",
    "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4",
    "uint": "u4", "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4",
}  # fmt: skip
#: Factors from a NRRD space to DICOM's (x left, y back, z up).
NRRD_SPACES: Final[dict[str, tuple[int, int, int]]] = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
SEGMENT: Final = re.compile(r"Segment(\d{1,4})_(Name|LabelValue)")
#: Names of values in the header extension that TotalSegmentator and Connectome write.
NIFTI_NAME: Final = re.compile(
    r'<Label Key="(\d{1,5})"[^<>]{0,200}>(?:<!\[CDATA\[)?([^<>\]]{1,100})'
)


@dataclass(frozen=True)
class MaskGrid:
    """Where a mask lies and how its values are kept.

    Attributes
    ----------
    kind : str
        ``nrrd`` or ``nifti``.
    affine : tuple of 4 tuples of 4 float
        From array index (first axis fastest in the file) to patient coordinates, mm.
    shape : (int, int, int)
        Size along the axes.
    """

    kind: Literal["nrrd", "nifti"]
    affine: tuple[tuple[float, ...], ...]
    shape: tuple[int, int, int]

    def to_native(self, stack: Stack | None) -> NDArray[np.float64] | None:
        """Map from index to that of a series' grid (4, 4), None unless they are the same grid.

        They are if one is the other with axes swapped and reversed, within a tenth of a voxel.
        """
        if stack is None or stack.gaps:
            return None
        found = np.linalg.inv(stack.affine) @ np.array(self.affine)
        exact = np.rint(found)
        last = np.array(self.shape) - 1
        corners = np.array([[*(last * bits), 1] for bits in np.ndindex(2, 2, 2)]).T
        if np.abs((found - exact) @ corners)[:3].max() > SAME_VOXEL:
            return None
        ends = (exact @ corners)[:3]
        low, high = ends.min(axis=1), ends.max(axis=1)
        whole = (low == 0).all() and (high == np.array(stack.shape) - 1).all()
        return exact if whole else None

    def fits(self, stack: Stack | None) -> bool:
        """Say whether it is the grid of a series."""
        return self.to_native(stack) is not None


def loose_grid(data: bytes) -> MaskGrid | None:
    """Grid of a mask file; None if the bytes are neither NRRD nor NIfTI.

    Raises
    ------
    SetAsideError
        If it is one of a kind that is not read.
    """
    if data.startswith(NRRD):
        return _nrrd_grid(_nrrd_header(data)[0])
    head = _unpacked(data, NIFTI_HEADER) if data.startswith(GZIP) else data[:NIFTI_HEADER]
    if len(head) == NIFTI_HEADER and head[344:348] in NIFTI_MAGIC:
        return _nifti_grid(head)
    return None


def loose_values(data: bytes, grid: MaskGrid) -> tuple[NDArray[Any], dict[int, str]]:
    """Values of a mask, shape `grid.shape`, and the names that the file gives to them.

    Raises
    ------
    SetAsideError
        If they are not whole numbers or fewer than the header says.
    """
    if grid.kind == "nrrd":
        return _nrrd_values(data, grid)
    return _nifti_values(data, grid)


def said_of_itself(data: bytes, grid: MaskGrid) -> str:
    """Texts of a mask's header that may name the numbering of its values."""
    if grid.kind == "nrrd":
        header, _ = _nrrd_header(data)
        keys = [key for key in header if key == "content" or "scheme" in str(key).lower()]
        return "\n".join(str(header[key])[:LONGEST_TEXT] for key in keys)
    head = _unpacked(data, NIFTI_HEADER) if data.startswith(GZIP) else data[:NIFTI_HEADER]
    return "\n".join(head[first:last].decode("latin-1") for first, last in NIFTI_TEXTS)


def _unpacked(data: bytes, most: int) -> bytes:
    """First bytes of what was packed by gzip."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data, most)
    except zlib.error:
        raise SetAsideError("damaged", "gzip") from None


def _checked(
    kind: Literal["nrrd", "nifti"], affine: NDArray[Any], shape: tuple[int, ...]
) -> MaskGrid:
    """Make a grid of bounded size."""
    if len(shape) != 3 or min(shape) < 1 or not np.isfinite(affine).all():
        raise SetAsideError("mask_encoding", "not a volume")
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise SetAsideError("mask_encoding", "no grid")
    if np.prod(shape, dtype=float) > MOST_VOXELS:
        raise SetAsideError("series_too_large", " x ".join(map(str, shape)))
    rows = tuple(tuple(float(number) for number in row) for row in affine)
    return MaskGrid(kind, rows, (int(shape[0]), int(shape[1]), int(shape[2])))


def _nrrd_header(data: bytes) -> tuple[dict[str, Any], int]:
    """Fields of a NRRD header, and where its data begin."""
    import nrrd

    ends = [(data.find(end, 0, LONGEST_HEADER), len(end)) for end in (b"\n\n", b"\r\n\r\n")]
    found = [(place, size) for place, size in ends if place >= 0]
    if not found:
        raise SetAsideError("mask_encoding", "no end of the header")
    place, size = min(found)
    try:
        header = nrrd.read_header(BytesIO(data[: place + size]))
    except Exception as error:  # the library has several kinds
        raise SetAsideError("mask_encoding", type(error).__name__) from None
    if any(key in header for key in ("data file", "datafile")):
        raise SetAsideError("mask_encoding", "its data lie in another file")
    return dict(header), place + size


def _nrrd_grid(header: dict[str, Any]) -> MaskGrid:
    """Grid by the fields of a header."""
    factors = NRRD_SPACES.get(str(header.get("space", "")).lower())
    directions, origin = header.get("space directions"), header.get("space origin")
    if factors is None or directions is None or origin is None:
        raise SetAsideError("mask_encoding", "no patient coordinates")
    sizes = tuple(int(size) for size in header.get("sizes", ()))
    affine = np.eye(4)
    try:
        affine[:3, :3] = np.array(directions, float).T
        affine[:3, 3] = np.array(origin, float)
    except ValueError:
        raise SetAsideError("mask_encoding", "not a volume") from None
    affine[:3] *= np.array(factors, float)[:, None]
    return _checked("nrrd", affine, sizes)


def _nrrd_values(data: bytes, grid: MaskGrid) -> tuple[NDArray[Any], dict[int, str]]:
    header, start = _nrrd_header(data)
    kind = NRRD_TYPES.get(str(header.get("type", "")).lower())
    encoding = str(header.get("encoding", "")).lower()
    if kind is None or encoding not in ("raw", "gzip", "gz"):
        raise SetAsideError("mask_encoding", f"{encoding[:12]} {kind or 'of no whole numbers'}")
    if any(key in header for key in ("line skip", "byte skip", "lineskip", "byteskip")):
        raise SetAsideError("mask_encoding", "skips")
    order = ">" if str(header.get("endian", "little")).lower() == "big" else "<"
    dtype = np.dtype(order + kind)
    size = int(np.prod(grid.shape, dtype=np.int64)) * dtype.itemsize
    raw = data[start : start + size] if encoding == "raw" else _unpacked(data[start:], size)
    names: dict[str, dict[str, str]] = {}
    for key, value in header.items():
        match = SEGMENT.fullmatch(str(key))
        if match:
            names.setdefault(match[1], {})[match[2]] = str(value)
    by_value = {
        int(one["LabelValue"]): one.get("Name", "")
        for one in names.values()
        if one.get("LabelValue", "").isdigit()
    }
    return _shaped(raw, dtype, grid), by_value


def _nifti_grid(head: bytes) -> MaskGrid:
    """Grid by a NIfTI-1 header."""
    try:
        import nibabel
    except ImportError:
        raise SetAsideError("mask_encoding", "NIfTI needs nibabel") from None
    if head[344:348] == NIFTI_MAGIC[1]:
        raise SetAsideError("mask_encoding", "its data lie in another file")
    header = nibabel.Nifti1Header(head, check=False)
    shape = tuple(int(size) for size in header.get_data_shape())
    if not (int(header["sform_code"]) or int(header["qform_code"])):
        raise SetAsideError("mask_encoding", "no patient coordinates")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    # NIfTI: x to the right, y to the front.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(header.get_best_affine())
    return _checked("nifti", affine, shape)


def _nifti_values(data: bytes, grid: MaskGrid) -> tuple[NDArray[Any], dict[int, str]]:
    import nibabel

    packed = data.startswith(GZIP)
    head = _unpacked(data, LONGEST_HEADER) if packed else data[:LONGEST_HEADER]
    header = nibabel.Nifti1Header(head[:NIFTI_HEADER], check=False)
    dtype = header.get_data_dtype()
    start = int(header["vox_offset"])
    if dtype.kind not in "iuf" or not NIFTI_HEADER <= start <= LONGEST_HEADER:
        raise SetAsideError("mask_encoding", f"values of kind {dtype.kind}")
    slope, intercept = header.get_slope_inter()
    if (slope, intercept) not in ((None, None), (1, 0), (1, None)):
        raise SetAsideError("mask_encoding", "scaled values")
    size = int(np.prod(grid.shape, dtype=np.int64)) * dtype.itemsize
    if size > MOST_BYTES:
        raise SetAsideError("series_too_large")
    raw = _unpacked(data, start + size) if packed else data
    extension = head[NIFTI_HEADER:start].decode("utf-8", errors="replace")
    names = {int(value): name.strip() for value, name in NIFTI_NAME.findall(extension)}
    return _shaped(raw[start : start + size], dtype, grid), names


def _shaped(raw: bytes, dtype: np.dtype[Any], grid: MaskGrid) -> NDArray[Any]:
    """Bytes as an array, first axis fastest."""
    if len(raw) < int(np.prod(grid.shape, dtype=np.int64)) * dtype.itemsize:
        raise SetAsideError("pixels_truncated")
    return np.frombuffer(raw, dtype).reshape(grid.shape, order="F")

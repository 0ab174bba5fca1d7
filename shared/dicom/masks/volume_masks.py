"""Masks of a CT series, of whatever kind, as one map of lumbar levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from shared.dicom.ct.geometry import Stack
from shared.dicom.parsing import parse
from shared.dicom.study_files import ScannedFile
from shared.dicom.verdicts import FileVerdict, SetAsideError, judge
from shared.settings.pacs import MaskScheme, ReadingSettings

from .levels import codes_of_values, scheme_named
from .mask_files import MaskGrid, loose_values, said_of_itself
from .segmentation import read_levels

#: Values of a mask; more is an image.
LARGEST_VALUE: Final = 65535

#: Called with each data set that was parsed and the file that it is.
Parsed = Callable[[Dataset, ScannedFile], None]


def nobody_looks(_dataset: Dataset, _file: ScannedFile) -> None:
    """Do nothing with what was parsed."""


@dataclass(frozen=True)
class Drawn:
    """What masks of a series came to.

    Attributes
    ----------
    regions : ndarray of uint8, shape (Z, Y, X), or None
        Level codes on the grid of the volume; None if there are none.
    digests : list of str
        SHA-256 of the files that they came from.
    verdicts : list of FileVerdict
        One for each mask.
    """

    regions: NDArray[np.uint8] | None = None
    digests: list[str] = field(default_factory=list)
    verdicts: list[FileVerdict] = field(default_factory=list)


def read_drawn(
    masks: Sequence[ScannedFile],
    uids: list[str],
    stack: Stack,
    parsed: Parsed = nobody_looks,
    reading: ReadingSettings | None = None,
) -> Drawn:
    """Read masks of one series; several may each hold other levels.

    Parameters
    ----------
    masks : sequence of ScannedFile
        Those that belong to the series.
    uids : list of str
        Instance UID of each place that the stack was found from.
    stack : Stack
        The grid of the series.
    parsed : callable
        Called with each mask in DICOM that was parsed.
    reading : ReadingSettings or None
        What the site says of the numbers of its masks; None = nothing.
    """
    reading = reading or ReadingSettings()
    joined: NDArray[np.uint8] | None = None
    used: list[ScannedFile] = []
    verdicts: list[FileVerdict] = []
    levels: set[int] = set()
    for mask in masks:
        try:
            native = _native(mask, uids, stack, parsed, reading)
            mine = {int(code) for layer in native for code in np.unique(layer)} - {0}
            if not mine:
                raise SetAsideError("mask_unknown_regions", "no level in it")
        except SetAsideError as aside:
            verdicts.append(judge(mask.name, aside.reason, aside.detail))
            continue
        except Exception as error:  # one bad file never stops the batch
            verdicts.append(judge(mask.name, "damaged", type(error).__name__))
            continue
        if levels & mine or (joined is not None and np.any((joined != 0) & (native != 0))):
            reason = "mask_twice" if levels & mine else "mask_overlap"
            return Drawn(verdicts=verdicts + [judge(m.name, reason) for m in (*used, mask)] + [
                judge(m.name, reason) for m in masks[list(masks).index(mask) + 1 :]
            ])  # fmt: skip
        levels |= mine
        used.append(mask)
        joined = native if joined is None else np.maximum(joined, native)
    if joined is None:
        return Drawn(verdicts=verdicts)
    regions = stack.to_patient(joined, 0, labels=True)
    if not _in_order(regions):
        wrong = [judge(m.name, "mask_unknown_regions", "levels out of order") for m in used]
        return Drawn(verdicts=verdicts + wrong)
    return Drawn(regions, [m.digest for m in used], verdicts + [judge(m.name, "ok") for m in used])


def _native(
    mask: ScannedFile, uids: list[str], stack: Stack, parsed: Parsed, reading: ReadingSettings
) -> NDArray[np.uint8]:
    """Level codes of one mask as a native array."""
    data = mask.path.read_bytes()
    if mask.grid is None:
        dataset = parse(data, pixels=True)
        parsed(dataset, mask)
        return read_levels(dataset, uids, stack)
    file_name = PurePosixPath(mask.name).name
    own = scheme_named(file_name, said_of_itself(data, mask.grid))
    scheme = own or reading.scheme_of(file_name)
    return _from_values(data, mask.grid, stack, file_name, scheme)


def _from_values(
    data: bytes, grid: MaskGrid, stack: Stack, file_name: str, scheme: MaskScheme | None
) -> NDArray[np.uint8]:
    """Level codes of a mask without DICOM, turned to the axes of the series."""
    turn = grid.to_native(stack)
    if turn is None:
        raise SetAsideError("mask_other_grid")
    values, names = loose_values(data, grid)
    # Row i of the map says which of the file's axes native axis i is, and its direction.
    axes = np.abs(turn[:3, :3]).argmax(axis=1)
    native = values.transpose(axes)
    reverse = [turn[i, axis] < 0 for i, axis in enumerate(axes)]
    native = native[tuple(slice(None, None, -1 if is_so else 1) for is_so in reverse)]
    if native.dtype.kind == "f" and not all(np.array_equal(one, np.rint(one)) for one in native):
        raise SetAsideError("mask_unknown_regions", "not whole numbers")
    if native.min() < 0 or native.max() > LARGEST_VALUE:
        raise SetAsideError("mask_unknown_regions", "values that no mask has")
    present = {int(value) for layer in native for value in np.unique(layer)} - {0}
    if not present:
        raise SetAsideError("mask_unknown_regions", "nothing is drawn")
    codes = codes_of_values(present, names, file_name, scheme)
    table = np.zeros(max(present) + 1, np.uint8)
    for value, code in codes.items():
        table[value] = code
    result = np.empty(native.shape, np.uint8)
    for index, layer in enumerate(native):
        result[index] = table[layer.astype(np.int64)]
    return result


def _in_order(regions: NDArray[np.uint8]) -> bool:
    """Say whether a higher number lies nearer to the feet, as levels do."""
    heights: dict[int, list[tuple[int, int]]] = {}
    for index, layer in enumerate(regions):
        for code, count in zip(*np.unique(layer, return_counts=True), strict=True):
            if code:
                heights.setdefault(int(code), []).append((index, int(count)))
    centres = [
        sum(index * count for index, count in heights[code]) / sum(c for _, c in heights[code])
        for code in sorted(heights)
    ]
    return all(upper > lower for upper, lower in pairwise(centres))

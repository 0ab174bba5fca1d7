"""The pixels of an image as the flags read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.records import ImageRecord

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: With fewer scanned pixels nothing is told of an image.
FEWEST_PIXELS: Final = 1000


@dataclass(frozen=True)
class Picture:
    """One projection.

    Attributes
    ----------
    grey : ndarray of float32, shape (H, W)
        Grey values in [0, 1], 0 where the scanner did not look.
    scanned : ndarray of bool, shape (H, W)
    row_mm, column_mm : float
        Millimetres per pixel. Where a file has no spacing they are whatever the reader
        took, and so are the lengths that follow from them.
    """

    grey: Floats
    scanned: Mask
    row_mm: float
    column_mm: float

    @classmethod
    def of(cls, image: ImageRecord) -> Picture | None:
        """Read an image; None if next to nothing of it was scanned."""
        grey = np.asarray(image.pixels, dtype=np.float32)
        scanned = np.isfinite(grey)
        known = int(np.count_nonzero(scanned))
        if known < FEWEST_PIXELS:
            return None
        row_mm, column_mm = image.spacing_mm
        filled = grey if known == grey.size else np.where(scanned, grey, np.float32(0))
        whole = cls(filled, scanned, row_mm, column_mm)
        return whole.coarser(max(1, round(1 / row_mm)), max(1, round(1 / column_mm)))

    def coarser(self, rows: int, columns: int) -> Picture:
        """Average blocks of pixels: every threshold was set at about 1 mm a pixel."""
        if (rows, columns) == (1, 1):
            return self
        height, width = self.grey.shape[0] // rows, self.grey.shape[1] // columns

        def mean(values: NDArray[Any], kind: Any) -> Floats:
            # Rows first: whole lines are added at once, far faster than block by block.
            lines = values[: height * rows, : width * columns].reshape(
                height, rows, width * columns
            )
            blocks = lines.sum(axis=1, dtype=kind).reshape(height, width, columns)
            return np.asarray(blocks.sum(axis=2, dtype=np.float32) / np.float32(rows * columns))

        # Counts of up to 255 rows fit into bytes, which are added many at once.
        share = mean(self.scanned.view(np.uint8), np.uint8 if rows < 256 else np.float32)
        total = mean(self.grey, np.float32)
        scanned = share > 0.5
        grey = np.where(scanned, total / np.maximum(share, 0.5), 0).astype(np.float32)
        return Picture(grey, scanned, self.row_mm * rows, self.column_mm * columns)


def strength_of(value: float, threshold: float) -> float:
    """Strength of something that is objected to from a threshold on: there, 0.5."""
    return float(np.clip(0.5 * value / threshold, 0.0, 1.0))

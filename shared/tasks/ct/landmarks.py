"""Rows of the canvas on which levels are found: slabs, marks and logits as rows, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from shared.networks.levels import UNSEEN, with_nowhere
from shared.records import VolumeRecord
from shared.regions import LUMBAR, SACRUM
from shared.tasks.ct.level_slabs import middle_slices
from shared.tasks.ct.projections import frontal, sagittal
from shared.tasks.ct.slabs import SLAB_MM, SlabPlacement, Slabs

#: The upper end of L1, the middles of L1 to L4, the sacrum's upper end plate.
TOP: Final = "top of L1"
LANDMARKS: Final[tuple[str, ...]] = (TOP, *LUMBAR, SACRUM)
#: Rows and columns of the canvas: 672 mm, from thighs to chest, by 288 mm; row 0 is at the head.
CANVAS: Final = (224, 96)
#: Of the way from one middle to the next, half a body takes so much (a disc the rest).
HALF_BODY: Final = 0.40
#: A landmark's row is the mean of the rows so far around the likeliest one.
AROUND: Final = 3


@dataclass(frozen=True)
class Canvas:
    """How slabs lie on the canvas: in the middle; of more slabs than rows the middle ones.

    Attributes
    ----------
    slabs : int
        Of the series.
    """

    slabs: int

    @property
    def offset(self) -> int:
        """Row of the slab nearest to the head; negative if it is not on the canvas."""
        return (CANVAS[0] - self.slabs) // 2

    @property
    def scanned(self) -> tuple[int, int]:
        """First and last row with a slab."""
        return max(0, self.offset), min(CANVAS[0], self.offset + self.slabs) - 1

    def row_of(self, slab: float) -> float:
        """Row of a slab, counted from the feet."""
        return self.offset + self.slabs - 1 - slab

    def slab_of(self, row: float) -> float:
        """Slab of a row, counted from the feet."""
        return self.offset + self.slabs - 1 - row


def draw_canvas(slabs: Slabs) -> Tensor:
    """Draw both projections on the canvas, shape (2, 224, 96), in [0, 1]."""
    drawn = torch.zeros(2, *CANVAS)
    canvas = Canvas(len(slabs.hu))
    first, last = canvas.scanned
    for channel, picture in enumerate((frontal(slabs.hu), sagittal(slabs.hu))):
        aside = (picture.shape[1] - CANVAS[1]) // 2
        upright = picture[::-1, aside : aside + CANVAS[1]]
        inside = upright[first - canvas.offset : last + 1 - canvas.offset]
        drawn[channel, first : last + 1] = torch.from_numpy(inside.copy())
    return drawn


def slice_of_slab(slab: float, placed: SlabPlacement) -> int:
    """Slice of the series that lies nearest to a slab's place, inside of the series."""
    return min(max(round(placed.slice_at(slab)), 0), placed.original[0] - 1)


def marked_rows(volume: VolumeRecord, slabs: Slabs) -> dict[str, float]:
    """Rows of the landmarks that somebody marked by a slice, or drew.

    The upper end of L1 is where half a body ends, as the middles of L1 and L2 give it.
    """
    canvas = Canvas(len(slabs.hu))
    first, last = canvas.scanned
    marked = {name: at for name, at in volume.marked_slices.items() if name == SACRUM}
    rows = {
        name: canvas.row_of(slabs.placed.slab_at(place))
        for name, place in (marked | middle_slices(volume)).items()
    }
    if "L1" in rows and "L2" in rows:
        rows[TOP] = rows["L1"] - HALF_BODY * (rows["L2"] - rows["L1"])
    return {name: row for name, row in rows.items() if first <= row <= last}


@dataclass(frozen=True)
class FoundLandmark:
    """Where a network believes a landmark.

    Attributes
    ----------
    row : float
        Of the canvas.
    chance : float
        Probability of the rows around it.
    """

    row: float
    chance: float


def found_landmarks(output: Tensor, names: Sequence[str] = LANDMARKS) -> dict[str, FoundLandmark]:
    """Where a network believes the landmarks of one patient.

    Parameters
    ----------
    output : Tensor, shape (N, 224)
        Row logits in the order of `names`.
    names : sequence of str
        Of the N landmarks.
    """
    logits = output.detach().double().cpu()
    chances = with_nowhere(logits).softmax(1)[:, :-1].numpy()  # (N, 224)
    found = {}
    for name, each, seen in zip(names, chances, (logits > UNSEEN / 2).numpy(), strict=True):
        if not seen.any():
            found[name] = FoundLandmark(0.0, 0.0)
            continue
        best = int(each.argmax())
        rows = np.arange(max(0, best - AROUND), min(len(each), best + AROUND + 1))
        weight = each[rows]
        found[name] = FoundLandmark(
            float((rows * weight).sum() / weight.sum()), float(weight.sum())
        )
    return found


def way_mm(rows: Mapping[str, float], upper: str, lower: str) -> float:
    """Way down from one landmark to another, mm."""
    return (rows[lower] - rows[upper]) * SLAB_MM

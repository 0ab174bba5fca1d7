"""Overlap of masks, from sums that add up."""

from __future__ import annotations

import torch
from torch import Tensor


def dice(intersection: float, predicted: float, true: float) -> float:
    """Compute 2·|A∩B| / (|A| + |B|); two empty masks agree (1).

    Parameters
    ----------
    intersection, predicted, true : float
        Areas in pixels (any unit, the same for all three).

    Returns
    -------
    float
        In [0, 1].

    Notes
    -----
    Dice 1945, Ecology 26:297.
    """
    total = predicted + true
    return 1.0 if total == 0 else 2.0 * intersection / total


def overlaps(predicted: Tensor, true: Tensor, codes: tuple[int, ...]) -> Tensor:
    """Count pixels of a region that is the union of codes, per image.

    Parameters
    ----------
    predicted, true : Tensor of int64, shape (B, H, W)
        Region codes.
    codes : tuple of int
        Codes of the region.

    Returns
    -------
    Tensor of float64, shape (B, 3)
        Pixels of the intersection, of the prediction and of the truth.
    """
    a, b = predicted == codes[0], true == codes[0]
    for code in codes[1:]:
        a, b = a | (predicted == code), b | (true == code)
    counts = [(a & b).flatten(1).sum(1), a.flatten(1).sum(1), b.flatten(1).sum(1)]
    return torch.stack(counts, dim=1).double()

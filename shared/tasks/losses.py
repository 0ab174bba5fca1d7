"""Losses that several tasks share, one value a unit, not weighted yet."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

#: Added to both sides of the soft Dice, in pixels.
SMOOTHING: Final = 1.0
#: Knee of `huber`, in units of its error: beyond it an error counts linearly.
HUBER_KNEE: Final = 1.0


def huber(error: Tensor) -> Tensor:
    """Huber loss of absolute errors, of the same shape."""
    linear = HUBER_KNEE * (error - 0.5 * HUBER_KNEE)
    return torch.where(error < HUBER_KNEE, 0.5 * error.square(), linear)


def structure_logit(output: Tensor) -> Tensor:
    """Logit of a structure against background, (B, 2, H, W) -> (B, H·W)."""
    return (output[:, 1] - output[:, 0]).float().flatten(1)


def overlap_loss(logit: Tensor, true: Tensor) -> Tensor:
    """Soft Dice plus cross-entropy of a structure against everything else.

    Parameters
    ----------
    logit : Tensor, shape (B, H·W)
        Of `structure_logit`.
    true : Tensor, shape (B, H, W)
        1 on the structure, else 0.

    Returns
    -------
    Tensor, shape (B,)
    """
    drawn = true.flatten(1).float()  # (B, H·W)
    chance = logit.sigmoid()
    both = 2 * (chance * drawn).sum(1) + SMOOTHING
    missed = 1 - both / (chance.sum(1) + drawn.sum(1) + SMOOTHING)
    surprise = functional.binary_cross_entropy_with_logits(logit, drawn, reduction="none")
    return missed + surprise.mean(1)

"""Where vertebrae lie along the body: one network on the whole picture, one on a part of it."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from shared.networks.unet import SegmentationNetwork

#: Logit of a row that the second network did not look at: below all that a network gives.
UNSEEN: Final = -1e4


class LevelNetwork(nn.Module):
    """Two U-Nets; ``forward(image (B, C, H, W), covariates (B, 1)) -> row logits (B, 1 + N, H)``.

    The first finds one landmark on the whole image, the second N others on the `near` rows
    around it. A row's logit is the logarithm of the sum over its pixels, less that of their
    number; beside it stands a logit of 0 for "nowhere in the image" (`with_nowhere`).

    Parameters
    ----------
    channels : int
        C.
    landmarks : int
        N, what the second network finds.
    near : (int, int)
        Rows of the part: how many before the first landmark (nearer to row 0), and in all.
    size : str
        Key of `shared.networks.unet.SIZES[2]`.
    """

    def __init__(self, channels: int, landmarks: int, near: tuple[int, int], size: str) -> None:
        super().__init__()
        self.near = near
        self.first = SegmentationNetwork(channels, [[True]], size)
        self.second = SegmentationNetwork(channels, [[True] * landmarks], size)

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        """Find the landmarks.

        Parameters
        ----------
        image : Tensor, shape (B, C, H, W)
        covariates : Tensor, shape (B, 1)
            Row around which the second network looks; negative = where the first one found its
            landmark.
        """
        ones = torch.ones_like(covariates)
        whole = rows_of(self.first(image, ones))  # (B, 1, H)
        found = whole[:, 0].argmax(1).to(covariates.dtype)
        middle = torch.where(covariates[:, 0] < 0, found, covariates[:, 0])
        before, many = self.near
        start = (middle.round().long() - before).clamp(0, image.shape[2] - many)
        rows = start[:, None] + torch.arange(many, device=image.device)  # (B, many)
        taken = rows[:, None, :, None].expand(-1, image.shape[1], -1, image.shape[3])
        near = rows_of(self.second(image.gather(2, taken), ones))  # (B, N, many)
        unseen = torch.full(
            (near.shape[0], near.shape[1], image.shape[2]), UNSEEN,
            dtype=near.dtype, device=near.device,
        )  # fmt: skip
        placed = unseen.scatter(2, rows[:, None].expand_as(near), near)
        return torch.cat([whole, placed], dim=1)


def rows_of(logits: Tensor) -> Tensor:
    """One logit a row of pixels' logits, (B, N, H, W) -> (B, N, H)."""
    return logits.logsumexp(3) - math.log(logits.shape[3])


def with_nowhere(logits: Tensor) -> Tensor:
    """Add the logit of "nowhere in the image" as a last row, (..., H) -> (..., H + 1)."""
    return torch.cat([logits, torch.zeros_like(logits[..., :1])], dim=-1)

"""Segmentation: MONAI's residual U-Net that knows which view it looks at, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.networks.monai_parts import Conv, UNet, pixelunshuffle
from shared.networks.ready import (
    ACTIVATION,
    Dimensions,
    constant_planes,
    count_place_planes,
    group_norm,
    make_ready,
    place_planes,
)


@dataclass(frozen=True)
class UNetSize:
    """How large: channels and strides per level, features before the head, groups.

    `folding` 2 lays 2×2 pixels (of a volume 2×2×2) into channels first and draws logits on
    the coarser grid: a third of the time, edges still between pixels by interpolation.
    """

    folding: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    features: int
    residual_units: int
    groups: int


#: By the axes of an image.
SIZES: Final[Mapping[int, Mapping[str, UNetSize]]] = MappingProxyType(
    {
        2: {
            "small": UNetSize(
                2, (16, 24, 32, 40, 40), (1, 2, 2, 2), features=24, residual_units=1, groups=4
            ),
            "published": UNetSize(
                1, (32, 64, 128, 256, 512), (2, 2, 2, 2), features=32, residual_units=2, groups=8
            ),
        },
        3: {
            "small": UNetSize(
                2, (8, 16, 24, 32), (1, 2, 2), features=16, residual_units=1, groups=4
            ),
            # As MONAI's tutorial segments the spleen in CT.
            "published": UNetSize(
                1, (16, 32, 64, 128, 256), (2, 2, 2, 2), features=16, residual_units=2, groups=8
            ),
        },
    }
)

#: How logits are brought to the grid of the image, by the axes of a batch.
MODES: Final = {4: "bilinear", 5: "trilinear"}
#: Added to the logit of a class that cannot occur in a view.
EXCLUDED_LOGIT: Final = -20.0


class SegmentationNetwork(nn.Module):
    """U-Net; ``forward(image (B, C, H, W), covariates (B, F)) -> logits (B, classes, H, W)``.

    With three dimensions the image is a volume (B, C, D, H, W), the logits likewise. Every
    side must be a multiple of 16 (of 8 for a small network of volumes). Covariates become
    constant planes; more planes say where a pixel is, for a vertebra's name depends on it.

    Parameters
    ----------
    image_channels : int
        Channels of the image.
    possible : sequence of sequence of bool, shape (F, classes)
        Classes that can occur where covariate f is 1 (and the others 0): a view
        of the hip shows no vertebra. The others' logits are pushed down.
    size : str
        Key of `SIZES[dimensions]`.
    dimensions : int
        2 for images, 3 for volumes.
    """

    excluded: Tensor

    def __init__(
        self,
        image_channels: int,
        possible: Sequence[Sequence[bool]],
        size: str,
        dimensions: Dimensions = 2,
    ) -> None:
        super().__init__()
        chosen = SIZES[dimensions][size]
        covariates, classes = len(possible), len(possible[0])
        excluded = EXCLUDED_LOGIT * (1.0 - torch.tensor(possible, dtype=torch.float32))
        self.register_buffer("excluded", excluded, persistent=False)
        self.folding = chosen.folding
        planes = image_channels * chosen.folding**dimensions
        self.body = UNet(
            spatial_dims=dimensions,
            in_channels=planes + covariates + count_place_planes(dimensions),
            out_channels=chosen.features,
            channels=chosen.channels,
            strides=chosen.strides,
            num_res_units=chosen.residual_units,
            act=ACTIVATION,
            norm=group_norm(chosen.groups),
        )
        make_ready(self.body, chosen.groups)
        self.head = nn.Sequential(
            nn.GroupNorm(chosen.groups, chosen.features),
            nn.LeakyReLU(0.05),
            Conv[Conv.CONV, dimensions](chosen.features, classes, kernel_size=1),
        )

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        """Give class logits for every pixel."""
        folded = fold_pixels(image, self.folding)  # (B, C·f², H/f, W/f)
        where = place_planes(folded)
        what = constant_planes(covariates, folded)
        features: Tensor = self.body(torch.cat([folded, what, where], dim=1))
        logits: Tensor = self.head(features)  # (B, classes, H/f, W/f)
        if self.folding > 1:
            logits = functional.interpolate(
                logits, scale_factor=self.folding, mode=MODES[image.dim()], align_corners=False
            )
        return logits + constant_planes(covariates @ self.excluded, logits)


def fold_pixels(image: Tensor, factor: int) -> Tensor:
    """Lay pixels into channels, (B, C, H, W) -> (B, C·f², H/f, W/f); a volume's likewise."""
    if image.dim() == 4:
        return functional.pixel_unshuffle(image, factor)
    return pixelunshuffle(image, image.dim() - 2, factor)

"""Grading and measuring of small crops: MONAI's ResNet with sums that are not made in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

from shared.networks.monai_parts import ResNet, ResNetBlock, ResNetBottleneck
from shared.networks.ready import Dimensions, constant_planes, coordinate_planes, make_ready
from shared.networks.whitening import Whitening, whiten_input


class PlainBlock(ResNetBlock):
    """MONAI's basic block, but the shortcut is added out of place."""

    def forward(self, x: Tensor) -> Tensor:
        """Two convolutions and the shortcut, as `ResNetBlock` does."""
        out = self.act(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        summed: Tensor = self.act(out + shortcut)
        return summed


class PlainBottleneck(ResNetBottleneck):
    """MONAI's bottleneck, but the shortcut is added out of place."""

    def forward(self, x: Tensor) -> Tensor:
        """Three convolutions and the shortcut, as `ResNetBottleneck` does."""
        out = self.act(self.bn1(self.conv1(x)))
        out = self.act(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        summed: Tensor = self.act(out + shortcut)
        return summed


@dataclass(frozen=True)
class ResNetSize:
    """How large: kind of block, blocks and planes of the four stages, stem, groups."""

    block: type[ResNetBlock | ResNetBottleneck]
    blocks: tuple[int, int, int, int]
    planes: tuple[int, int, int, int]
    stem_kernel: int
    stem_stride: int
    skip_pooling: bool
    groups: int


#: By the axes of an image.
SIZES: Final[Mapping[int, Mapping[str, ResNetSize]]] = MappingProxyType(
    {
        2: {
            "small": ResNetSize(PlainBlock, (1, 1, 1, 1), (8, 16, 32, 40), 5, 1, True, 4),
            # ResNet-50
            "published": ResNetSize(
                PlainBottleneck, (3, 4, 6, 3), (64, 128, 256, 512), 7, 2, False, 16
            ),
        },
        3: {
            "small": ResNetSize(PlainBlock, (1, 1, 1, 1), (8, 16, 24, 32), 3, 1, True, 4),
            # ResNet-50
            "published": ResNetSize(
                PlainBottleneck, (3, 4, 6, 3), (64, 128, 256, 512), 7, 2, False, 16
            ),
        },
    }
)
#: Averages over a whole crop differ little from crop to crop; multiplied by this, the
#: head becomes sure of its answers in the few steps that there are.
FEATURE_GAIN: Final = 5.0
#: See `Whitening`. A fracture shows in directions in which few crops differ.
FLOOR: Final = 0.03


class GradingNetwork(nn.Module):
    """ResNet; ``forward(image (B, C, H, W), covariates (B, F)) -> logits (B, outputs)``.

    With three dimensions the image is a volume (B, C, D, H, W). A logit is a number without
    bounds, so the same network learns a regression.

    Parameters
    ----------
    image_channels, covariates, outputs : int
        C, F, and how many logits.
    size : str
        Key of `SIZES[dimensions]`.
    dimensions : int
        2 for images, 3 for volumes.
    """

    def __init__(
        self,
        image_channels: int,
        covariates: int,
        outputs: int,
        size: str,
        dimensions: Dimensions = 2,
    ) -> None:
        super().__init__()
        chosen = SIZES[dimensions][size]
        self.body = ResNet(
            block=chosen.block,
            layers=list(chosen.blocks),
            block_inplanes=list(chosen.planes),
            spatial_dims=dimensions,
            n_input_channels=image_channels + covariates + dimensions,
            conv1_t_size=chosen.stem_kernel,
            conv1_t_stride=chosen.stem_stride,
            no_max_pool=chosen.skip_pooling,
            feed_forward=False,
        )
        make_ready(self.body, chosen.groups)
        features = chosen.planes[-1] * chosen.block.expansion
        self.whitened = Whitening(features + covariates, FLOOR)
        self.head = nn.Linear(features + covariates, outputs)

    def measure(self, image: Tensor, covariates: Tensor) -> Tensor:
        """Describe every crop: (B, features + covariates)."""
        planes = [image, constant_planes(covariates, image), coordinate_planes(image)]
        features: Tensor = self.body(torch.cat(planes, dim=1))  # (B, features)
        return torch.cat([FEATURE_GAIN * features, covariates], dim=1)

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        """Give logits for every crop."""
        logits: Tensor = self.head(self.whitened(self.measure(image, covariates)))
        return logits

    def whiten(self, measured: Tensor) -> None:
        """Whiten what the head is given by what `measure` gave of public patients' crops.

        The head changes with it, so that the logits stay as they are.
        """
        whiten_input(self.whitened, self.head, measured)

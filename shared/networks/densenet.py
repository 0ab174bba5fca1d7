"""Bone density from grey levels: MONAI's DenseNet says where to look, not how bright it is.

Group normalisation takes the absolute grey level out of every feature, and bone
mineral density *is* an absolute grey level. The features therefore only steer an
attention; what is measured is the mean of the raw pixels under it, the way a
scanner averages over a region of interest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.networks.monai_parts import DenseNet
from shared.networks.ready import ACTIVATION, coordinate_planes, group_norm, make_ready
from shared.networks.whitening import Whitening


@dataclass(frozen=True)
class DenseNetSize:
    """How large: first features, growth, layers per block, looks per image, groups."""

    first_features: int
    growth: int
    layers: tuple[int, ...]
    bottleneck: int
    looks: int
    groups: int


SIZES: Final[Mapping[str, DenseNetSize]] = MappingProxyType(
    {
        "small": DenseNetSize(16, 12, (2, 3, 3), bottleneck=2, looks=8, groups=4),
        # DenseNet-121
        "published": DenseNetSize(64, 32, (6, 12, 24, 16), bottleneck=4, looks=16, groups=16),
    }
)

#: Features of the whole picture that reach the head beside the measured grey levels.
CONTEXT: Final = 8


#: Middle and spread of the grey levels of bone, in [0, 1]: a fixed change of unit, so
#: that slopes and offsets are learnt at the same pace whoever's scanner it is.
GREY_MIDDLE: Final = 0.5
GREY_SPREAD: Final = 0.2
#: How much a look prefers its own place, in logits per squared half side of the frame.
PLACE_STRENGTH: Final = 4.0
#: A scanner's own line is learnt by this squared times as fast as the line of all, so
#: that one vendor's offset does not first move everybody's.
COVARIATE_GAIN: Final = 2.0


def _middles(parts: int, device: torch.device) -> Tensor:
    """Middles of equal parts of [-1, 1], shape (parts,)."""
    return (torch.arange(parts, device=device) + 0.5) * 2 / parts - 1


def _block_widths(size: DenseNetSize) -> list[int]:
    """Channels that each dense block gives; a transition halves them."""
    widths, channels = [], size.first_features
    for layers in size.layers:
        channels += layers * size.growth
        widths.append(channels)
        channels //= 2
    return widths


class DensityNetwork(nn.Module):
    """DenseNet; ``forward(image (B, C, H, W), covariates (B, F)) -> (B, outputs)``.

    Every image channel gets `looks` soft regions, drawn from the features of every
    dense block, coarse to fine; mean grey level and mean square
    under each are measured on the raw pixels. The head is linear in these, with a
    slope of its own for every covariate (a scanner's calibration is a line).

    Parameters
    ----------
    image_channels, covariates : int
        Channels of the image, numbers beside it.
    centres, scales : sequence of float
        Middle and spread of every output, in the output's unit: the network
        gives `centre + scale · (what it learnt)`.
    size : str
        Key of `SIZES`.
    """

    centres: Tensor
    scales: Tensor

    def __init__(
        self,
        image_channels: int,
        covariates: int,
        centres: Sequence[float],
        scales: Sequence[float],
        size: str,
    ) -> None:
        super().__init__()
        chosen = SIZES[size]
        dense = DenseNet(
            spatial_dims=2,
            in_channels=image_channels + 2,
            out_channels=1,
            init_features=chosen.first_features,
            growth_rate=chosen.growth,
            block_config=chosen.layers,
            bn_size=chosen.bottleneck,
            act=ACTIVATION,
            norm=group_norm(chosen.groups),
        )
        self.body: nn.Module = dense.features
        make_ready(self.body, chosen.groups)
        widths = _block_widths(chosen)
        features = widths[-1]
        self.looks = chosen.looks
        maps = image_channels * chosen.looks
        self.coarse_looks = nn.ModuleList(nn.Conv2d(width, maps, kernel_size=1) for width in widths)
        self.fine_look = nn.Conv2d(image_channels, maps, kernel_size=5, padding=2, bias=False)
        self.context = nn.Linear(features, CONTEXT)
        measured = 2 * maps
        self.measured = Whitening(measured)
        self.surroundings = Whitening(CONTEXT)
        self.head = nn.Linear(measured * (1 + covariates) + CONTEXT + covariates, len(centres))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("centres", torch.tensor(list(centres)), persistent=False)
        self.register_buffer("scales", torch.tensor(list(scales)), persistent=False)

    def places(self, size: Sequence[int]) -> Tensor:
        """Say where each look begins: logits (C·looks, H, W), highest at its own place.

        The looks of an image channel begin in rows and columns over the frame. Begun all
        over it, some networks never find the neck of the femur, whatever is trained.
        """
        columns = 2 ** (int(math.log2(self.looks)) // 2)
        rows = self.looks // columns
        height, width = size
        device = self.centres.device
        y = torch.linspace(-1.0, 1.0, height, device=device)
        x = torch.linspace(-1.0, 1.0, width, device=device)
        down = (y - _middles(rows, device)[:, None]).square()  # (rows, H)
        across = (x - _middles(columns, device)[:, None]).square()  # (columns, W)
        square = down[:, None, :, None] + across[None, :, None, :]
        maps = -PLACE_STRENGTH * square.flatten(0, 1)
        return maps.repeat(self.fine_look.out_channels // self.looks, 1, 1)

    def attention(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Say where to look: weights (B, C·looks, H·W) that sum to one, and features."""
        size = image.shape[-2:]
        features = torch.cat([image, coordinate_planes(image)], dim=1)
        looks = self.fine_look(image) + self.places(size)  # (B, C·looks, H, W)
        blocks = iter(self.coarse_looks)
        for name, stage in self.body.named_children():
            features = stage(features)
            if name.startswith("denseblock"):
                coarse = next(blocks)(functional.leaky_relu(features, 0.05))
                looks = looks + functional.interpolate(
                    coarse, size=size, mode="bilinear", align_corners=False
                )
        features = functional.leaky_relu(features, 0.05)  # (B, features, h, w)
        return torch.softmax(looks.flatten(2), dim=2), features

    def measure(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and mean square of the grey levels by look, (B, 2·C·looks); context (B, 8)."""
        weights, features = self.attention(image)
        grey = (image.flatten(2) - GREY_MIDDLE) / GREY_SPREAD
        pixels = grey.repeat_interleave(self.looks, dim=1)  # (B, C·looks, H·W)
        mean = (weights * pixels).sum(dim=2)
        square = (weights * pixels.square()).sum(dim=2)
        context = torch.tanh(self.context(features.mean(dim=(2, 3))))
        return torch.cat([mean, square], dim=1), context

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        """Measure and give the outputs in their unit."""
        measured, context = self.measure(image)
        measured, context = self.measured(measured), self.surroundings(context)
        scanner = COVARIATE_GAIN * covariates
        by_scanner = (scanner[:, :, None] * measured[:, None, :]).flatten(1)
        everything = torch.cat([measured, by_scanner, context, scanner], dim=1)
        learnt: Tensor = self.head(everything)
        return self.centres + self.scales * learnt

    @torch.no_grad()
    def whiten(self, measured: Tensor, context: Tensor) -> None:
        """Whiten what the head is given by what `measure` gave of public patients.

        The head changes with it, so that the outputs stay as they are.
        """
        weight, bias = self.head.weight, self.head.bias
        width, lines = measured.shape[1], len(weight[0]) // measured.shape[1]
        moved, context_moved = self.measured.fit(measured), self.surroundings.fit(context)
        first = lines * width  # columns before it are slopes: of all, then by covariate
        slopes = weight[:, :first].unflatten(1, (lines, width))  # (outputs, lines, width)
        offsets: Tensor = slopes @ moved.middle  # (outputs, lines)
        around = weight[:, first : first + CONTEXT]
        bias.add_(offsets[:, 0] + around @ context_moved.middle)
        weight[:, first + CONTEXT :] += offsets[:, 1:]
        weight[:, :first] = (slopes @ moved.matrix.T).flatten(1)
        weight[:, first : first + CONTEXT] = around @ context_moved.matrix.T

"""Bone density from an outlined bone: sums over it, whole and by parts that a network tells apart.

Areal density is mineral by projected area, so what is measured are sums of attenuation over the
outlined pixels, and of those pixels, as they stand: no normalisation takes the level of
Hounsfield units out of them. Convolutions only say to which part of the bone a pixel belongs.
The parts begin as ranges of attenuation, from marrow to cortex. What is outside of the outline is
not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.networks.ready import coordinate_planes
from shared.networks.whitening import Whitening


@dataclass(frozen=True)
class BoneSumsSize:
    """How large: features of each convolution, groups of the later ones, hidden numbers."""

    features: tuple[int, ...]
    groups: int
    hidden: int


SIZES: Final[Mapping[str, BoneSumsSize]] = MappingProxyType(
    {
        "small": BoneSumsSize((12, 12), groups=4, hidden=12),
        "published": BoneSumsSize((32, 64, 64, 64), groups=16, hidden=32),
    }
)
#: Where the parts begin, in the image's unit (500 HU), and how sharply one ends at the next.
BEGIN: Final = (0.1, 0.5, 1.0, 1.6)
SHARPNESS: Final = 8.0
#: Kept away from zero: shares of a pixel, and of the image.
LEAST_SHARE: Final = 0.05
LEAST_AREA: Final = 1e-3
#: Middle and spread of what is measured of 48 digital patients' vertebrae in crops of 147 mm,
#: rounded: a fixed change of unit, so that all is learnt at about the same pace. Shares of parts
#: and their sums have one each.
WHOLE_MIDDLE: Final = (0.61, 0.069, 0.16, 0.17, 0.24)
WHOLE_SPREAD: Final = (0.12, 0.009, 0.034, 0.016, 0.04)
PART_MIDDLE: Final = (0.25, 0.15)
PART_SPREAD: Final = (0.06, 0.05)
SLOPE: Final = 0.05


class BoneSumsNetwork(nn.Module):
    """``forward(image (B, 2, H, W), covariates (B, F)) -> (B, 1)``.

    Image channel 0 is attenuation inside of the outline and 0 outside, channel 1 the share of a
    pixel that is outlined. The image is a mosaic of two by two crops of one size.

    Parameters
    ----------
    covariates : int
        F.
    centre, scale : float
        Middle and spread of the output, in its unit: the network gives
        ``centre + scale · (what it learnt)``.
    size : str
        Key of `SIZES`.
    """

    middle: Tensor
    spread: Tensor
    begin: Tensor

    def __init__(self, covariates: int, centre: float, scale: float, size: str) -> None:
        super().__init__()
        chosen = SIZES[size]
        self.centre, self.scale = centre, scale
        widths = (4, *chosen.features)
        self.body = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(chosen.groups, width) for width in widths[2:])
        self.parts = nn.Conv2d(widths[-1], len(BEGIN), 1)
        many = len(WHOLE_MIDDLE) + 2 * len(BEGIN)
        self.whitened = Whitening(many + covariates)
        self.hidden = nn.Linear(many + covariates, chosen.hidden)
        self.head = nn.Linear(many + covariates + chosen.hidden, 1)
        for layer in (self.parts, self.head):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        units = [
            torch.tensor([*whole, *(one for one in parts for _ in BEGIN)])
            for whole, parts in ((WHOLE_MIDDLE, PART_MIDDLE), (WHOLE_SPREAD, PART_SPREAD))
        ]
        self.register_buffer("middle", units[0], persistent=False)
        self.register_buffer("spread", units[1], persistent=False)
        self.register_buffer("begin", torch.tensor(BEGIN), persistent=False)

    def tell(self, image: Tensor) -> Tensor:
        """Say to which part each pixel belongs: (B, parts, H, W), at every pixel 1 together."""
        features = torch.cat([image, coordinate_planes(image)], dim=1)
        for place, layer in enumerate(self.body):
            features = layer(features)
            if place:
                features = self.norms[place - 1](features)
            features = functional.leaky_relu(features, SLOPE)
        pure = image[:, :1] / image[:, 1:2].clamp(min=LEAST_SHARE)
        ranges = -SHARPNESS * (pure - self.begin[:, None, None]).square()
        return torch.softmax(self.parts(features) + ranges, dim=1)

    def measure(self, image: Tensor, covariates: Tensor) -> Tensor:
        """Describe every bone, (B, 5 + 2 · parts + F).

        Mean attenuation, area, sum by the root of area, spread across and from front to back;
        each part's share of the area and of the sum; covariates.
        """
        bone, mask = image[:, :1], image[:, 1:2].clamp(min=0)  # a share, whatever is given
        parts = self.tell(image)
        areas, sums = (parts * mask).mean((2, 3)), (parts * bone).mean((2, 3))
        area = areas.sum(1, keepdim=True) + LEAST_AREA
        total = sums.sum(1, keepdim=True)
        wide = [((mask * one).mean((2, 3)) / area + LEAST_AREA).sqrt() for one in _squares(image)]
        whole = [total / area, area, total / area.sqrt(), *wide]
        measured = torch.cat([*whole, areas / area, sums / area], dim=1)
        return torch.cat([(measured - self.middle) / self.spread, covariates], dim=1)

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        """Measure, and give the output in its unit."""
        measured = self.whitened(self.measure(image, covariates))
        hidden = torch.tanh(self.hidden(measured))
        learnt: Tensor = self.head(torch.cat([measured, hidden], dim=1))
        return self.centre + self.scale * learnt

    @torch.no_grad()
    def whiten(self, measured: Tensor) -> None:
        """Whiten what both linear layers are given by what `measure` gave of public patients.

        The layers change with it, so that the output stays as it is.
        """
        moved = self.whitened.fit(measured)
        many = measured.shape[1]
        for layer in (self.hidden, self.head):
            weight = layer.weight[:, :many].clone()
            layer.bias.add_(weight @ moved.middle)
            layer.weight[:, :many] = weight @ moved.matrix.T


def _squares(image: Tensor) -> tuple[Tensor, Tensor]:
    """Squared way from a crop's middle, across (1, W) and down (H, 1), in half its sides."""
    height, width = image.shape[-2:]
    down, across = (
        torch.linspace(-1.0, 1.0, side // 2, dtype=image.dtype, device=image.device).repeat(2)
        for side in (height, width)
    )
    return across.square()[None, :], down.square()[:, None]

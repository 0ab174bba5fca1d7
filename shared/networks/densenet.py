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
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.networks.monai_parts import DenseNet
from shared.networks.ready import (
    ACTIVATION,
    constant_planes,
    coordinate_planes,
    group_norm,
    make_ready,
)
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
#: Whitening stretches no context that varies less, in [-1, 1]: a hyperbolic tangent that is
#: saturated for every patient varies by a millionth, and half precision rounds to 2⁻¹².
LEAST_WIDTH: Final = 0.05


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


class ViewHead(nn.Module):
    """What is read from one view; ``forward(measured (B, D), context (B, 8), scanner (B, F))``.

    Linear in what was measured, with a slope of its own for every covariate (a scanner's
    calibration is a line). It gives (B, outputs), and nothing but zeros before it has learnt.

    Parameters
    ----------
    measured, covariates, outputs : int
        Numbers measured, D, and beside the view, F; numbers to give.
    """

    def __init__(self, measured: int, covariates: int, outputs: int) -> None:
        super().__init__()
        self.measured = Whitening(measured)
        self.surroundings = Whitening(CONTEXT, least=LEAST_WIDTH)
        self.linear = nn.Linear(measured * (1 + covariates) + CONTEXT + covariates, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, measured: Tensor, context: Tensor, scanner: Tensor) -> Tensor:
        """Read the view."""
        measured, context = self.measured(measured), self.surroundings(context)
        scanner = COVARIATE_GAIN * scanner
        by_scanner = (scanner[:, :, None] * measured[:, None, :]).flatten(1)
        learnt: Tensor = self.linear(torch.cat([measured, by_scanner, context, scanner], dim=1))
        return learnt

    @torch.no_grad()
    def whiten(self, measured: Tensor, context: Tensor) -> None:
        """Whiten what comes in by what `DensityNetwork.measure` gave of **public** patients.

        The linear layer changes with it, so that the outputs stay as they are.
        """
        weight, bias = self.linear.weight, self.linear.bias
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


class DensityNetwork(nn.Module):
    """DenseNet; ``forward(image (B, V·C, H, W), covariates (B, V·F)) -> (B, outputs)``.

    One body looks at every view alone, told which it is. Each channel of a view gets `looks`
    soft regions, drawn from the features of every dense block, coarse to fine; mean grey level
    and mean square under each are measured on its raw pixels. A view's own head is linear in
    these, with a slope of its own for every covariate (a scanner's calibration is a line). So
    nothing that one view shows reaches what is read from another.

    Parameters
    ----------
    outputs : sequence of int
        How many numbers are read from each view, V views in the order of the image's channels.
    channels : int
        Channels of each view, C, which are looked at together.
    covariates : int
        Numbers beside each view, F.
    centres, scales : sequence of float
        Middle and spread of every output, view by view, in the output's unit: the network
        gives `centre + scale · (what it learnt)`.
    size : str
        Key of `SIZES`.
    """

    centres: Tensor
    scales: Tensor

    def __init__(
        self,
        outputs: Sequence[int],
        covariates: int,
        centres: Sequence[float],
        scales: Sequence[float],
        size: str,
        channels: int = 1,
    ) -> None:
        super().__init__()
        chosen = SIZES[size]
        views = len(outputs)
        self.channels = channels
        dense = DenseNet(
            spatial_dims=2,
            in_channels=channels + 2 + views - 1,  # grey levels, coordinates, which view
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
        self.looks = chosen.looks
        maps = views * channels * chosen.looks
        self.coarse_looks = nn.ModuleList(
            nn.Conv2d(views * width, maps, kernel_size=1, groups=views) for width in widths
        )
        self.fine_look = nn.Conv2d(
            views * channels, maps, kernel_size=5, padding=2, groups=views, bias=False
        )
        self.context = nn.ModuleList(nn.Linear(widths[-1], CONTEXT) for _ in outputs)
        self.heads = nn.ModuleList(
            ViewHead(2 * channels * chosen.looks, covariates, number) for number in outputs
        )
        self.register_buffer("centres", torch.tensor(list(centres)), persistent=False)
        self.register_buffer("scales", torch.tensor(list(scales)), persistent=False)

    @property
    def views(self) -> int:
        """How many views there are, V."""
        return len(self.heads)

    def places(self, size: Sequence[int]) -> Tensor:
        """Say where each look begins: logits (V·C·looks, H, W), highest at its own place.

        The looks of a channel begin in rows and columns over the frame. Begun all
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
        return maps.repeat(self.views * self.channels, 1, 1)

    def attention(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Say where to look, each view by itself.

        Returns
        -------
        (Tensor, Tensor)
            Weights (B, V·C·looks, H·W) that sum to one, and the body's features
            (B, V, features, h, w).
        """
        features = self._alone(image)
        coarse = []  # logits by dense block, (B, V·C·looks, h, w)
        blocks = iter(self.coarse_looks)
        for name, stage in self.body.named_children():
            features = stage(features)
            if name.startswith("denseblock"):
                shown = functional.leaky_relu(features, 0.05)
                coarse.append(next(blocks)(shown.unflatten(0, (-1, self.views)).flatten(1, 2)))
        fine = self.fine_look(image) + self.places(image.shape[-2:])  # (B, V·C·looks, H, W)
        looks = coarse.pop()
        for finer in (*reversed(coarse), fine):
            looks = finer + functional.interpolate(
                looks, size=finer.shape[-2:], mode="bilinear", align_corners=False
            )
        features = functional.leaky_relu(features, 0.05).unflatten(0, (-1, self.views))
        return torch.softmax(looks.flatten(2), dim=2), features

    def _alone(self, image: Tensor) -> Tensor:
        """Make an image of its own of each view, (B, V·C, H, W) -> (B·V, channels, H, W)."""
        which = torch.eye(self.views, device=image.device, dtype=image.dtype)[:, 1:]
        which = which.repeat(image.shape[0], 1)  # (B·V, V - 1), all zeros for the first view
        alone = image.unflatten(1, (self.views, self.channels)).flatten(0, 1)
        return torch.cat([alone, coordinate_planes(alone), constant_planes(which, alone)], dim=1)

    def measure(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Measure each view.

        Returns
        -------
        (Tensor, Tensor)
            Mean and mean square of the grey levels by look, (B, V, C·2·looks); context
            (B, V, 8).
        """
        weights, features = self.attention(image)
        grey = (image.flatten(2) - GREY_MIDDLE) / GREY_SPREAD  # (B, V·C, H·W)
        weights = weights.unflatten(1, (-1, self.looks))
        found = weights @ torch.stack([grey, grey.square()], dim=3)  # (B, V·C, looks, 2)
        by_view = found.transpose(2, 3).unflatten(1, (self.views, self.channels))
        measured = by_view.flatten(2)
        around = features.mean(dim=(3, 4)).unbind(1)
        context = [layer(one) for layer, one in zip(self.context, around, strict=True)]
        return measured, torch.tanh(torch.stack(context, dim=1))

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        """Measure and give the outputs in their unit, view by view."""
        measured, context = self.measure(image)
        given = (measured, context, covariates.unflatten(1, (self.views, -1)))
        views = zip(*(part.unbind(1) for part in given), strict=True)
        learnt = [head(*view) for head, view in zip(self.heads, views, strict=True)]
        return self.centres + self.scales * torch.cat(learnt, dim=1)

    @torch.no_grad()
    def whiten(self, measured: Tensor, context: Tensor, shown: Tensor | None = None) -> None:
        """Whiten what the heads are given by what `measure` gave of **public** patients.

        Parameters
        ----------
        measured, context : Tensor, shapes (N, V, C·2·looks) and (N, V, 8)
        shown : Tensor of bool, shape (N, V), optional
            Whether a patient has the view, two of them at least; by default all have it.
        """
        if shown is None:
            shown = torch.ones(measured.shape[:2], dtype=torch.bool)
        for view, head in enumerate(self.heads):
            there = shown[:, view]
            cast("ViewHead", head).whiten(measured[there, view], context[there, view])

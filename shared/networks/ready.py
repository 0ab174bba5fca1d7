"""What a network must not have when every patient's gradient is to be known alone.

A layer that mixes samples (batch normalisation) keeps statistics of them, which neither
clipping nor noise hides. A layer that works in place overwrites what another has kept for the
backward pass. How every patient's gradient is taken: `shared.training.one_patient`.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

#: Activation of every network here: never in place.
ACTIVATION: Final[tuple[str, dict[str, Any]]] = (
    "leakyrelu",
    {"negative_slope": 0.05, "inplace": False},
)
#: Half waves over the height of an image.
ROW_WAVES: Final = (1, 2, 4)


#: Axes of an image: 2, or of a volume: 3.
Dimensions = Literal[2, 3]


def group_norm(groups: int) -> tuple[str, dict[str, Any]]:
    """Name group normalisation the way MONAI's factories want it."""
    return ("group", {"num_groups": groups})


def make_ready(module: nn.Module, groups: int) -> None:
    """Replace what gradients per patient cannot have, in the module itself.

    Parameters
    ----------
    module : Module
        Changed: batch normalisation becomes group normalisation with fresh
        weights, activations stop working in place.
    groups : int
        Groups of the normalisation; must divide the channels of every layer.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d | nn.BatchNorm3d):
            setattr(module, name, nn.GroupNorm(groups, child.num_features))
        else:
            make_ready(child, groups)
    if getattr(module, "inplace", False):
        module.__dict__["inplace"] = False


def coordinate_planes(image: Tensor) -> Tensor:
    """Make planes that say where a pixel is, one an axis, in [-1, 1].

    Parameters
    ----------
    image : Tensor
        Shape (B, C, H, W) or (B, C, D, H, W).

    Returns
    -------
    Tensor
        Shape (B, 2, H, W) or (B, 3, D, H, W), in the order of the axes, of the image's
        dtype and device.
    """
    axes = [
        torch.linspace(-1.0, 1.0, size, dtype=image.dtype, device=image.device)
        for size in image.shape[2:]
    ]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))  # (axes, ...)
    return grid.unsqueeze(0).expand(image.shape[0], *grid.shape)


def place_planes(image: Tensor) -> Tensor:
    """Make planes from which a row is easily told: coordinates, and waves over the rows.

    Thirteen vertebrae lie above one another; from a plain coordinate a network
    learns thirteen bands but slowly. Rows are those of the first axis, which runs along
    the spine in an image and in a volume.

    Returns
    -------
    Tensor
        Shape (B, P, ...), P as `count_place_planes` says.
    """
    coordinates = coordinate_planes(image)
    row = coordinates[:, :1]
    waves = [
        wave(math.pi * number * row) for number in ROW_WAVES for wave in (torch.sin, torch.cos)
    ]
    return torch.cat([coordinates, *waves], dim=1)


def count_place_planes(dimensions: int) -> int:
    """Count the planes of `place_planes`."""
    return dimensions + 2 * len(ROW_WAVES)


def constant_planes(values: Tensor, image: Tensor) -> Tensor:
    """Spread values over the image, (B, F) -> (B, F, H, W) or (B, F, D, H, W)."""
    pixels = image.shape[2:]
    return values[(..., *[None] * len(pixels))].expand(-1, -1, *pixels)

"""What a network must not have when every patient's gradient is to be known alone.

A layer that mixes samples (batch normalisation) makes a patient's gradient depend
on the others, so that clipping bounds nothing. A layer that works in place
overwrites what another has kept for the backward pass. Which layers can be trained
privately: `shared.training.per_patient_gradients`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, nn

#: Activation of every network here: never in place.
ACTIVATION: Final[tuple[str, dict[str, Any]]] = (
    "leakyrelu",
    {"negative_slope": 0.05, "inplace": False},
)
#: Half waves over the height of an image.
ROW_WAVES: Final = (1, 2, 4)
PLACE_PLANES: Final = 2 + 2 * len(ROW_WAVES)


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
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.GroupNorm(groups, child.num_features))
        else:
            make_ready(child, groups)
    if getattr(module, "inplace", False):
        module.__dict__["inplace"] = False


def coordinate_planes(image: Tensor) -> Tensor:
    """Make two planes that say where a pixel is, row and column in [-1, 1].

    Parameters
    ----------
    image : Tensor
        Shape (B, C, H, W).

    Returns
    -------
    Tensor
        Shape (B, 2, H, W), of the image's dtype and device.
    """
    height, width = image.shape[-2:]
    rows = torch.linspace(-1.0, 1.0, height, dtype=image.dtype, device=image.device)
    columns = torch.linspace(-1.0, 1.0, width, dtype=image.dtype, device=image.device)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))  # (2, H, W)
    return grid.unsqueeze(0).expand(image.shape[0], -1, -1, -1)


def place_planes(image: Tensor) -> Tensor:
    """Make planes from which a row is easily told: coordinates, and waves over the rows.

    Thirteen vertebrae lie above one another; from a plain coordinate a network
    learns thirteen bands but slowly.

    Returns
    -------
    Tensor
        Shape (B, PLACE_PLANES, H, W).
    """
    coordinates = coordinate_planes(image)
    row = coordinates[:, :1]
    waves = [
        wave(math.pi * number * row) for number in ROW_WAVES for wave in (torch.sin, torch.cos)
    ]
    return torch.cat([coordinates, *waves], dim=1)


def constant_planes(values: Tensor, image: Tensor) -> Tensor:
    """Spread values over the image, (B, F) -> (B, F, H, W)."""
    return values[:, :, None, None].expand(-1, -1, image.shape[-2], image.shape[-1])

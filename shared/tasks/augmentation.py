"""Variation of scanners and positioning, by MONAI's transforms with a generator of ours.

An image and a volume are varied alike; a volume is turned, moved and stretched along each
of its three axes, and counts its voxels as cubes.

All units of a patient are moved together as channels of one image: it is one call
instead of K, and a patient who lies askew does so in every unit.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Variation:
    """How much is varied.

    Attributes
    ----------
    rotation : float
        Radians, either way; of a volume about each axis.
    shift : float
        Pixels, either way.
    zoom : float
        Relative, either way; of an image its rows, of a volume each axis for itself.
    noise : float
        Standard deviation of pixel noise, in the image's unit; 0 = none.
    gamma : float
        Contrast exponents lie in [1 − gamma, 1 + gamma]; 0 = none.
    blur : float
        Largest sigma of a Gaussian blur in pixels; 0 = none.
    """

    rotation: float
    shift: float
    zoom: float
    noise: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0

    def enlarged(self, factor: float) -> Variation:
        """Give the same variation of the same body in an image of so many pixels more a side."""
        return replace(self, shift=self.shift * factor, blur=self.blur * factor)


@lru_cache(maxsize=256)
def _transforms(variation: Variation, dimensions: int, _thread: int) -> tuple[Any, tuple[Any, ...]]:
    """Make MONAI's transforms once a thread; their random state is set before each use."""
    from shared.networks.monai_parts import (
        RandAdjustContrast,
        RandAffine,
        RandGaussianNoise,
        RandGaussianSmooth,
    )

    turned = 1 if dimensions == 2 else 3  # an image turns about one axis
    move = RandAffine(
        prob=0.9,
        rotate_range=(variation.rotation,) * turned,
        translate_range=(variation.shift,) * dimensions,
        scale_range=(variation.zoom,) * turned,
        padding_mode="zeros",
        cache_grid=False,
    )
    shade: list[Any] = []
    if variation.gamma > 0:
        span = (1 - variation.gamma, 1 + variation.gamma)
        shade.append(RandAdjustContrast(prob=0.5, gamma=span))
    if variation.blur > 0:
        span = (0.2, variation.blur)
        shade.append(RandGaussianSmooth(prob=0.25, sigma_x=span, sigma_y=span, sigma_z=span))
    if variation.noise > 0:
        shade.append(RandGaussianNoise(prob=0.5, std=variation.noise))
    return move, tuple(shade)


def vary(
    image: Tensor, regions: Tensor | None, variation: Variation, generator: np.random.Generator
) -> tuple[Tensor, Tensor | None]:
    """Vary an image or a volume, and move its region map with it.

    Parameters
    ----------
    image : Tensor of float32, shape (C, H, W) or (C, D, H, W)
        Every channel is moved alike.
    regions : Tensor of int64, of the image's dimensions, or None
        Moved with the image, nearest neighbour, grey levels untouched.
    variation : Variation
        How much.
    generator : Generator
        Where all randomness comes from.

    Returns
    -------
    (Tensor, Tensor or None)
        New tensors; what was given is left alone.

    Raises
    ------
    ValueError
        If the image has neither two nor three dimensions beside its channels.
    """
    if image.dim() not in {3, 4}:
        raise ValueError(
            f"an image of shape {tuple(image.shape)} cannot be varied "
            "(must be (C, H, W) or (C, D, H, W))"
        )
    move, shade = _transforms(variation, image.dim() - 1, threading.get_ident())
    state = np.random.RandomState(generator.integers(2**32))
    place = int(generator.integers(2**32))
    move.set_random_state(state=np.random.RandomState(place))
    moved = move(image, mode="bilinear")
    moved_regions = None
    if regions is not None:
        move.set_random_state(state=np.random.RandomState(place))
        moved_regions = _plain(move(regions.float(), mode="nearest")).round().long()
    for transform in shade:
        transform.set_random_state(state=state)
        moved = transform(moved)
    return _plain(moved), moved_regions


def _plain(tensor: Any) -> Tensor:
    """Take MONAI's metadata off a tensor."""
    return torch.as_tensor(tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor).float()
